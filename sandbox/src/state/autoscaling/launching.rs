//! How a group launches an instance.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::config::{Choice, LaunchSource};
use super::group::{AutoScalingGroup, LaunchedFrom, Member, MemberState};
use crate::caller::{AccountId, Caller, CallerId};
use crate::error::ApiError;
use crate::protocol::params::Params;
use crate::state::ec2::instance::Market;
use crate::state::ec2::launch::Prepared;
use crate::state::ec2::launch::request::LaunchRequest;
use crate::state::ec2::seed::AMAZON_LINUX_X86_64;
use crate::state::ec2::tags::Tags;
use crate::state::ec2::world::World;

type Form = BTreeMap<String, String>;

const GROUP_TAG: &str = "aws:autoscaling:groupName";

/// Where an instance may go.
#[derive(Debug)]
enum Place {
    Subnet(String),
    Zone(String),
}

struct Launched {
    sequence: u64,
    template: Option<LaunchedFrom>,
}

/// Launches one instance, in the first way and place that has room. Gives its id.
pub(super) fn launch(
    world: &mut World,
    (account, region): (&AccountId, &str),
    group: &mut AutoScalingGroup,
    now: Timestamp,
) -> Result<String, ApiError> {
    let caller = service_role(account, region);
    let source = group.launches_from().clone();
    let choices = choices(&source);
    let asked = asked(group, wants_spot(group, &source));
    let mut refusal = None;
    for place in places(world, &caller, group, now) {
        for choice in &choices {
            match launch_at(world, &caller, asked.clone(), &place, choice.as_ref(), now) {
                Ok(launched) => {
                    let image_id = choice.and_then(|choice| choice.image_id).map(str::to_owned);
                    return Ok(join(world, &caller, group, launched, image_id));
                }
                Err(error) => refusal = Some(error),
            }
        }
    }
    let nowhere = || ApiError::new("ValidationError", "The group has neither subnets nor Availability Zones.");
    Err(refusal.unwrap_or_else(nowhere))
}

/// Whether a group could launch from a source, as EC2 would say it of a launch. Nothing is launched.
pub(crate) fn try_launch(
    world: &mut World,
    (account, region): (&AccountId, &str),
    group: &AutoScalingGroup,
    source: &LaunchSource,
    now: Timestamp,
) -> Result<(), ApiError> {
    let caller = service_role(account, region);
    let Some(place) = places(world, &caller, group, now).into_iter().next() else { return Ok(()) };
    for choice in choices(source) {
        let (params, tags, _) = complete(world, &caller, asked(group, false), &place, choice.as_ref(), now)?;
        Prepared::new(world, &caller, &LaunchRequest::read(&params.root())?, tags, now)?;
    }
    Ok(())
}

/// The ways to launch. `None`: as the launch configuration says.
fn choices(source: &LaunchSource) -> Vec<Option<Choice<'_>>> {
    match source {
        LaunchSource::Configuration(_) => vec![None],
        LaunchSource::Template(_) | LaunchSource::Mixed(_) => source.choices().into_iter().map(Some).collect(),
    }
}

fn service_role(account: &AccountId, region: &str) -> Caller {
    let id = CallerId {
        account: account.clone(),
        principal_arn: format!("arn:aws:sts::{account}:assumed-role/AWSServiceRoleForAutoScaling/AutoScaling"),
        user_id: "AROASANDBOXAUTOSCALE:AutoScaling".to_owned(),
        access_key: String::new(),
    };
    Caller { id, region: region.to_owned() }
}

fn wants_spot(group: &AutoScalingGroup, source: &LaunchSource) -> bool {
    let LaunchSource::Mixed(policy) = source else { return false };
    let active = || group.members.values().filter(|member| member.is_active());
    let on_demand = active().filter(|member| !member.spot).count();
    let next = u32::try_from(active().count() + 1).unwrap_or(u32::MAX);
    on_demand >= policy.distribution.on_demand_of(next) as usize
}

/// What a launch asks for beside its template.
fn asked(group: &AutoScalingGroup, spot: bool) -> Form {
    let mut form = Form::from([("MinCount".to_owned(), "1".to_owned()), ("MaxCount".to_owned(), "1".to_owned())]);
    if spot {
        form.insert("InstanceMarketOptions.MarketType".to_owned(), "spot".to_owned());
    }
    let propagated = group.tags.iter().filter(|(_, tag)| tag.propagate_at_launch);
    for (index, (key, tag)) in propagated.enumerate() {
        form.insert("TagSpecification.1.ResourceType".to_owned(), "instance".to_owned());
        form.insert(format!("TagSpecification.1.Tag.{}.Key", index + 1), key.clone());
        form.insert(format!("TagSpecification.1.Tag.{}.Value", index + 1), tag.value.clone());
    }
    form
}

/// The places, those with the fewest instances of the group first.
fn places(world: &mut World, caller: &Caller, group: &AutoScalingGroup, now: Timestamp) -> Vec<Place> {
    let estate = world.estate(&caller.id.account, &caller.region, now);
    let taken = |zone: &str| group.members.values().filter(|member| member.is_active() && member.zone == zone).count();
    let mut found: Vec<(usize, Place)> = if group.subnets.is_empty() {
        group.zones.iter().map(|zone| (taken(zone), Place::Zone(zone.clone()))).collect()
    } else {
        let zone = |id: &String| estate.subnets.get(id).map(|subnet| subnet.zone.clone()).unwrap_or_default();
        group.subnets.iter().map(|id| (taken(&zone(id)), Place::Subnet(id.clone()))).collect()
    };
    found.sort_by_key(|(taken, _)| *taken);
    found.into_iter().map(|(_, place)| place).collect()
}

fn launch_at(
    world: &mut World,
    caller: &Caller,
    form: Form,
    place: &Place,
    choice: Option<&Choice<'_>>,
    now: Timestamp,
) -> Result<Launched, ApiError> {
    let (params, template_tags, template) = complete(world, caller, form, place, choice, now)?;
    let request = LaunchRequest::read(&params.root())?;
    let launched = Prepared::new(world, caller, &request, template_tags, now)?.launch(world, caller, now)?;
    let nothing = || ApiError::new("InternalError", "Nothing was launched.");
    Ok(Launched { sequence: launched.first().copied().ok_or_else(nothing)?, template })
}

/// Puts a launch together from template, choice and place.
fn complete(
    world: &mut World,
    caller: &Caller,
    mut form: Form,
    place: &Place,
    choice: Option<&Choice<'_>>,
    now: Timestamp,
) -> Result<(Params, Tags, Option<LaunchedFrom>), ApiError> {
    let (mut template_tags, mut template) = (Tags::new(), None);
    if let Some(choice) = choice {
        form.extend(choice.instance_type.map(|kind| ("InstanceType".to_owned(), kind.to_owned())));
        form.extend(choice.image_id.map(|id| ("ImageId".to_owned(), id.to_owned())));
        let templates = &world.estate(&caller.id.account, &caller.region, now).launch_templates;
        let (found, version) = choice.template.resolve(templates)?;
        form = version.data.under(&form);
        template_tags = found.tags_of_instances(version.number);
        template = Some(LaunchedFrom { id: found.id.clone(), name: found.name.clone(), version: version.number });
    } else {
        form.extend([
            ("ImageId".to_owned(), AMAZON_LINUX_X86_64.to_owned()),
            ("InstanceType".to_owned(), "t3.micro".to_owned()),
        ]);
    }
    put(&mut form, place);
    Ok((Params::new(&form), template_tags, template))
}

/// The subnet goes into the template's interface where it has one.
fn put(form: &mut Form, place: &Place) {
    let interface = form.keys().find_map(|name| name.strip_prefix("NetworkInterface.")?.split('.').next());
    let (name, value) = match (place, interface) {
        (Place::Subnet(id), Some(index)) => (format!("NetworkInterface.{index}.SubnetId"), id),
        (Place::Subnet(id), None) => ("SubnetId".to_owned(), id),
        (Place::Zone(zone), _) => ("Placement.AvailabilityZone".to_owned(), zone),
    };
    form.insert(name, value.clone());
}

/// Makes what was launched an instance of the group.
fn join(
    world: &mut World,
    caller: &Caller,
    group: &mut AutoScalingGroup,
    Launched { sequence, template }: Launched,
    image_id: Option<String>,
) -> String {
    let Some(instance) = world.instance_mut(&caller.id.account, &caller.region, sequence) else { return String::new() };
    instance.tags.insert(GROUP_TAG.to_owned(), group.name.clone());
    instance.auto_scaling_group = Some(group.name.clone());
    let member = Member {
        instance_id: instance.id.clone(),
        instance_type: instance.instance_type.clone(),
        zone: instance.zone.clone(),
        zone_id: instance.zone_id.clone(),
        template,
        image_id,
        spot: instance.market == Market::Spot,
        state: MemberState::Pending,
        healthy: true,
        protected_from_scale_in: group.new_instances_protected,
        in_service_since: None,
    };
    group.members.insert(sequence, member);
    instance.id.clone()
}
