//! CreateAutoScalingGroup

use std::collections::BTreeMap;

use super::call::{GroupCall, Operation, invalid, null, required};
use super::settings::Settings;
use super::source::{self, AskedSource};
use super::tags;
use crate::error::ApiError;
use crate::protocol::xml::Xml;
use crate::state::autoscaling::activity::Activities;
use crate::state::autoscaling::group::AutoScalingGroup;
use crate::state::throttle::MUTATING;

pub(super) const OPERATION: Operation = Operation { name: "CreateAutoScalingGroup", requests: MUTATING, run };

const LONGEST_NAME: usize = 255;
/// Seconds, where a request gives none.
const COOLDOWN: u32 = 300;

fn run(call: &GroupCall<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let name = required(&root, "AutoScalingGroupName")?;
    let source = AskedSource::read(&root)?;
    let settings = Settings::read(&root)?;
    let asked_tags = tags::read(&root)?;
    call.params.finish()?;
    if name.chars().count() > LONGEST_NAME || name.contains(':') {
        return Err(invalid(format!(
            "The name of an Auto Scaling group has at most {LONGEST_NAME} characters, and no colon."
        )));
    }
    if !settings.names_sizes() {
        return Err(null("MinSize"));
    }
    let source = source.ok_or_else(source::one_of_them)?;
    if !settings.names_places() {
        return Err(invalid("At least one Availability Zone or VPC Subnet is required."));
    }
    let id = &call.caller.id;
    let region = &call.caller.region;
    call.with(|world| {
        let estate = world.estate(&id.account, region, call.now);
        if estate.groups.contains_key(name) {
            let message = "AutoScalingGroup by this name already exists - A group with the name";
            return Err(ApiError::new("AlreadyExists", format!("{message} {name} already exists")));
        }
        let launch = source.resolve(call, &estate.launch_templates)?;
        let mut group = AutoScalingGroup {
            name: name.to_owned(),
            arn: format!(
                "arn:aws:autoscaling:{region}:{}:autoScalingGroup:{}:autoScalingGroupName/{name}",
                id.account,
                uuid::Uuid::new_v4()
            ),
            created: call.now,
            launch,
            min_size: 0,
            max_size: 0,
            desired_capacity: 0,
            default_cooldown: COOLDOWN,
            zones: Vec::new(),
            subnets: Vec::new(),
            health_check_type: "EC2".to_owned(),
            health_check_grace_period: 0,
            default_instance_warmup: None,
            termination_policies: vec!["Default".to_owned()],
            new_instances_protected: false,
            maintenance_policy: None,
            tags: asked_tags.iter().map(|asked| (asked.key.to_owned(), asked.tag.clone())).collect(),
            suspended: BTreeMap::new(),
            operator: None,
            members: BTreeMap::new(),
            refreshes: Vec::new(),
            activities: Activities::default(),
            deleting: false,
            retry: None,
        };
        tags::check_count(&group.tags)?;
        settings.apply(&mut group, estate)?;
        source::check(call, world, &group, &group.launch)?;
        world.estate(&id.account, region, call.now).groups.insert(name.to_owned(), group);
        world.keep_group(&id.account, region, name, call.now);
        Ok(Xml::default())
    })
}
