//! Launching: resolves a request against the account, honours its token, places the instances.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use jiff::Timestamp;

use super::estate::{Estate, TokenUse, Zone};
use super::event::InstanceEvent;
use super::ids;
use super::image::{Image, ImageState};
use super::instance::{BlockDevice, Instance, InstanceState, Market, MetadataOptions, SecurityGroupRef, StateReason};
use super::instance_types;
use super::launch_request::{InstanceProfile, LaunchRequest};
use super::lifecycle::Transition;
use super::sent_request::{Completed, SentRequest};
use super::tags::{self, Tags};
use super::world::World;
use super::{DryRun, Ec2Call};
use crate::caller::{AccountId, Caller};
use crate::error::ApiError;
use crate::throttle::{Charge, RUN_INSTANCES_RESOURCES};

/// A request whose names were all found.
struct Resolved {
    image: Image,
    /// Where the instances may go, in order of preference. More than one only when the request names no place.
    subnets: Vec<Place>,
    groups: Vec<SecurityGroupRef>,
    profile: Option<Profile>,
    metadata: MetadataOptions,
    template_tags: Tags,
}

struct Profile {
    arn: String,
    role: String,
}

struct Place {
    subnet_id: String,
    vpc_id: String,
    zone: Zone,
    public_ip: bool,
}

/// Launches, or answers a repeated token. Gives the instances' sequence numbers.
pub(crate) fn launch(world: &mut World, call: &Ec2Call<'_>, sent: &SentRequest<'_>) -> Result<Vec<u64>, ApiError> {
    let Ec2Call { caller, now, .. } = *call;
    let estate = world.estate(&caller.id.account, &caller.region, now);
    let token_key = sent.token_key(estate);
    if let Some(used) = token_key.as_ref().and_then(|key| estate.tokens.get(key)) {
        if used.fingerprint != sent.fingerprint {
            return Err(ApiError::new(
                "IdempotentParameterMismatch",
                "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
            ));
        }
        charge(call, used.instances.len())?;
        DryRun(sent.dry_run).end()?;
        return Ok(used.instances.clone());
    }

    let Completed { params, template_tags } = sent.complete(&estate.launch_templates)?;
    let request = LaunchRequest::read(&params.root())?;
    let dry_run = DryRun::finish(&params)?;
    charge(call, request.max as usize)?;
    let resolved = resolve(world, caller, &request, template_tags, now)?;
    dry_run.end()?;
    let (place, count) = choose(world, caller, &request, &resolved, now)?;
    let launched = place_instances(world, caller, &request, &resolved, place, count, now);
    if let Some(key) = token_key {
        let used = TokenUse { fingerprint: sent.fingerprint.clone(), instances: launched.clone(), used_at: now };
        world.estate(&caller.id.account, &caller.region, now).tokens.insert(key, used);
    }
    Ok(launched)
}

fn charge(call: &Ec2Call<'_>, instances: usize) -> Result<(), ApiError> {
    let tokens = u32::try_from(instances).unwrap_or(u32::MAX);
    call.charge("RunInstances", Charge { bucket: "RunInstances/resources", size: RUN_INSTANCES_RESOURCES, tokens })
}

fn resolve(
    world: &mut World,
    caller: &Caller,
    request: &LaunchRequest<'_>,
    template_tags: Tags,
    now: Timestamp,
) -> Result<Resolved, ApiError> {
    let (account, region) = (&caller.id.account, &caller.region);
    let image = resolve_image(world, caller, request, now)?;
    check_root_volume(request, &image)?;
    let profile = request.instance_profile.as_ref().map(|named| resolve_profile(world, account, named)).transpose()?;
    let estate = world.estate(account, region, now);
    let subnets = resolve_places(estate, request)?;
    let vpc = subnets.first().map(|place| place.vpc_id.clone()).unwrap_or_default();
    let groups = resolve_groups(estate, request, &vpc)?;
    if let Some(key) = request.key_name.filter(|key| !estate.key_pairs.contains(*key)) {
        return Err(ApiError::new("InvalidKeyPair.NotFound", format!("The key pair '{key}' does not exist")));
    }
    let tags_enabled = request.metadata.tags_enabled.unwrap_or(estate.metadata_tags_default);
    if tags_enabled {
        tags::check_for_metadata(request.instance_tags.keys())?;
    }
    let metadata = MetadataOptions {
        tokens_required: request.metadata.tokens_required.unwrap_or(image.imds_v2),
        hop_limit: request.metadata.hop_limit,
        endpoint_enabled: request.metadata.endpoint_enabled,
        ipv6_enabled: request.metadata.ipv6_enabled,
        tags_enabled,
    };
    Ok(Resolved { image, subnets, groups, profile, metadata, template_tags })
}

fn resolve_profile(world: &World, account: &AccountId, named: &InstanceProfile<'_>) -> Result<Profile, ApiError> {
    let arns = format!("arn:aws:iam::{account}:instance-profile/");
    let (field, value, name) = match *named {
        // A path may stand before the name.
        InstanceProfile::Arn(arn) => ("arn", arn, arn.strip_prefix(&arns).and_then(|path| path.rsplit('/').next())),
        InstanceProfile::Name(name) => ("name", name, Some(name)),
    };
    let invalid = || {
        let what = if field == "arn" { "ARN" } else { "name" };
        let message = format!(
            "Value ({value}) for parameter iamInstanceProfile.{field} is invalid. Invalid IAM Instance Profile {what}"
        );
        ApiError::new("InvalidParameterValue", message)
    };
    let role = name.and_then(|name| world.role_of_profile(account, name)).ok_or_else(invalid)?;
    let arn = if field == "arn" { value.to_owned() } else { format!("{arns}{value}") };
    Ok(Profile { arn, role })
}

fn resolve_image(
    world: &mut World,
    caller: &Caller,
    request: &LaunchRequest<'_>,
    now: Timestamp,
) -> Result<Image, ApiError> {
    let id = request.image_id;
    let image = world.images(&caller.region, now).get(id).ok_or_else(|| ids::images_not_found(&[id]))?;
    if !image.is_visible_to(&caller.id.account) {
        return Err(ApiError::new("AuthFailure", format!("Not authorized for images: [{id}]"))
            .with_status(http::StatusCode::FORBIDDEN));
    }
    if image.state != ImageState::Available {
        return Err(ApiError::new("InvalidAMIID.Unavailable", format!("The image ID '{id}' is not available")));
    }
    let architecture = instance_types::architecture(request.instance_type);
    if image.architecture != architecture {
        return Err(ApiError::new(
            "InvalidParameterValue",
            format!(
                "The architecture '{architecture}' of the specified instance type does not match the architecture '{}' \
                 of the specified AMI. Specify an instance type and an AMI that have matching architectures, and try \
                 again.",
                image.architecture
            ),
        ));
    }
    Ok(image.clone())
}

fn check_root_volume(request: &LaunchRequest<'_>, image: &Image) -> Result<(), ApiError> {
    let asked = request.devices.iter().filter(|device| device.name == image.root_device_name);
    match asked.filter_map(|device| device.size_gib).find(|size| *size < image.root_volume_gib) {
        Some(size) => Err(ApiError::new(
            "InvalidBlockDeviceMapping",
            format!(
                "Volume of size {size}GB is smaller than the image's snapshot, expect size >= {}GB",
                image.root_volume_gib
            ),
        )),
        None => Ok(()),
    }
}

fn resolve_places(estate: &Estate, request: &LaunchRequest<'_>) -> Result<Vec<Place>, ApiError> {
    let place = |subnet: &super::network::Subnet| Place {
        subnet_id: subnet.id.clone(),
        vpc_id: subnet.vpc_id.clone(),
        zone: Zone { name: subnet.zone.clone(), id: subnet.zone_id.clone() },
        public_ip: request.network.public_ip.unwrap_or(subnet.map_public_ip),
    };
    if let Some(id) = request.network.subnet {
        let subnet = estate.subnets.get(id).ok_or_else(|| subnet_not_found(id))?;
        if let Some(zone) = request.network.zone.filter(|zone| *zone != subnet.zone) {
            let message = format!("The availability zone '{zone}' does not match the subnet '{id}'.");
            return Err(ApiError::new("InvalidParameterValue", message));
        }
        return Ok(vec![place(subnet)]);
    }
    if let Some(zone) = request.network.zone
        && !estate.zones.iter().any(|known| known.name == zone)
    {
        return Err(ApiError::new("InvalidParameterValue", format!("Invalid availability zone: [{zone}]")));
    }
    let defaults = estate.subnets.values().filter(|subnet| subnet.default_for_zone);
    let mut places: Vec<Place> =
        defaults.filter(|subnet| request.network.zone.is_none_or(|zone| zone == subnet.zone)).map(place).collect();
    places.sort_by(|a, b| a.zone.name.cmp(&b.zone.name));
    if places.is_empty() {
        return Err(ApiError::new("MissingInput", "No subnets found for the default VPC. Please specify a subnet."));
    }
    Ok(places)
}

pub(crate) fn subnet_not_found(id: &str) -> ApiError {
    ApiError::new("InvalidSubnetID.NotFound", format!("The subnet ID '{id}' does not exist"))
}

pub(crate) fn group_not_found(id: &str) -> ApiError {
    ApiError::new("InvalidGroup.NotFound", format!("The security group '{id}' does not exist"))
}

fn resolve_groups(estate: &Estate, request: &LaunchRequest<'_>, vpc: &str) -> Result<Vec<SecurityGroupRef>, ApiError> {
    let network = &request.network;
    let mut found = Vec::new();
    for id in &network.group_ids {
        let group = estate.security_groups.get(*id).ok_or_else(|| group_not_found(id))?;
        if group.vpc_id != vpc {
            let subnet = network.subnet.unwrap_or("of the default VPC");
            let message = format!("Security group {id} and subnet {subnet} belong to different networks.");
            return Err(ApiError::new("InvalidParameter", message));
        }
        found.push(group);
    }
    for name in &network.group_names {
        let named = |group: &&super::network::SecurityGroup| group.name == *name && group.vpc_id == vpc;
        found.push(estate.security_groups.values().find(named).ok_or_else(|| group_not_found(name))?);
    }
    if found.is_empty() {
        found.extend(estate.security_groups.values().find(|group| group.name == "default" && group.vpc_id == vpc));
    }
    Ok(found.into_iter().map(|group| SecurityGroupRef { id: group.id.clone(), name: group.name.clone() }).collect())
}

/// The first place with room for the minimum, and how many fit there.
fn choose<'r>(
    world: &mut World,
    caller: &Caller,
    request: &LaunchRequest<'_>,
    resolved: &'r Resolved,
    now: Timestamp,
) -> Result<(&'r Place, u32), ApiError> {
    let account = &caller.id.account;
    let mut refusal = None;
    for place in &resolved.subnets {
        let capacity = world.free_capacity(account, &place.zone.name, request.instance_type, request.market);
        let capacity = capacity.unwrap_or(u32::MAX);
        let subnet = world.estate(account, &caller.region, now).subnets.get(&place.subnet_id);
        let addresses = subnet.map_or(0, super::network::Subnet::free_addresses);
        let count = request.max.min(capacity).min(addresses);
        if count >= request.min {
            return Ok((place, count));
        }
        refusal = Some(if capacity < request.min {
            no_capacity(request.instance_type, request.market, &place.zone.name)
        } else {
            ApiError::new(
                "InsufficientFreeAddressesInSubnet",
                format!(
                    "There are not enough free addresses in subnet '{}' to satisfy the requested number of instances.",
                    place.subnet_id
                ),
            )
        });
    }
    Err(refusal.unwrap_or_else(|| no_capacity(request.instance_type, request.market, &caller.region)))
}

pub(crate) fn no_capacity(instance_type: &str, market: Market, zone: &str) -> ApiError {
    let message = match market {
        Market::OnDemand => format!(
            "We currently do not have sufficient {instance_type} capacity in the Availability Zone you requested \
             ({zone}). Our system will be working on provisioning additional capacity."
        ),
        Market::Spot => "There is no Spot capacity available that matches your request.".to_owned(),
    };
    ApiError::new("InsufficientInstanceCapacity", message)
}

fn place_instances(
    world: &mut World,
    caller: &Caller,
    request: &LaunchRequest<'_>,
    resolved: &Resolved,
    place: &Place,
    count: u32,
    now: Timestamp,
) -> Vec<u64> {
    let (account, region) = (&caller.id.account, &caller.region);
    let reservation_id = ids::random("r");
    let (lag, pending) = (world.describe_lag, world.lifecycle.pending);
    let mut launched = Vec::new();
    for launch_index in 0..count {
        let sequence = world.next_sequence();
        let estate = world.estate(account, region, now);
        // `choose` counted the free addresses.
        let Some(private_ip) = estate.subnets.get_mut(&place.subnet_id).and_then(super::network::Subnet::take_address)
        else {
            break;
        };
        let instance = Instance {
            id: ids::random("i"),
            account: account.clone(),
            region: region.clone(),
            reservation_id: reservation_id.clone(),
            image_id: request.image_id.to_owned(),
            instance_type: request.instance_type.to_owned(),
            architecture: resolved.image.architecture.clone(),
            state: InstanceState::Pending,
            state_reason: Some(StateReason { code: "pending".to_owned(), message: "pending".to_owned() }),
            transition_reason: String::new(),
            zone: place.zone.name.clone(),
            zone_id: place.zone.id.clone(),
            vpc_id: place.vpc_id.clone(),
            subnet_id: place.subnet_id.clone(),
            security_groups: resolved.groups.clone(),
            network_interface_id: ids::random("eni"),
            private_ip,
            public_ip: place.public_ip.then(|| public_address(sequence)),
            key_name: request.key_name.map(str::to_owned),
            user_data: request.user_data.map(str::to_owned),
            instance_profile: resolved.profile.as_ref().map(|profile| profile.arn.clone()),
            instance_role: resolved.profile.as_ref().map(|profile| profile.role.clone()),
            launch_index,
            launch_time: now,
            running_since: None,
            tags: request.instance_tags.iter().chain(&resolved.template_tags).map(tags::owned).collect(),
            client_token: request.client_token.map(str::to_owned),
            market: request.market,
            spot_request_id: (request.market == Market::Spot).then(|| ids::random("sir").replace("sir-", "sir-sbx")),
            metadata_options: resolved.metadata.clone(),
            shutdown_behavior: request.shutdown_behavior,
            root_device_name: resolved.image.root_device_name.clone(),
            block_devices: block_devices(request, &resolved.image),
            monitoring: request.monitoring,
            ebs_optimized: request.ebs_optimized,
            termination_protection: request.termination_protection,
            rebalance_recommended: None,
            interruption_at: None,
            restarts: 0,
            system_status: None,
            instance_status: None,
            sequence,
            wants_public_ip: place.public_ip,
            next: None,
            stale: (!lag.is_zero()).then(|| (now + lag, None)),
            vanished: false,
        };
        let event = InstanceEvent {
            account: account.clone(),
            region: region.clone(),
            instance_id: instance.id.clone(),
            state: InstanceState::Pending,
            at: now,
        };
        estate.sequences.insert(instance.id.clone(), sequence);
        estate.instances.insert(sequence, instance);
        world.announce(event);
        world.expect(sequence, account, region, now + pending, Transition::Run);
        launched.push(sequence);
    }
    launched
}

/// From TEST-NET-3 and the other blocks that are nobody's (RFC 5737, RFC 2544).
pub(crate) fn public_address(sequence: u64) -> Ipv4Addr {
    let [.., b, c, d] = sequence.to_be_bytes();
    Ipv4Addr::new(198, 18 + (b & 1), c, d)
}

/// The image's root volume with what the request changes of it, and the request's further volumes.
fn block_devices(request: &LaunchRequest<'_>, image: &Image) -> Vec<BlockDevice> {
    let root = BlockDevice {
        device_name: image.root_device_name.clone(),
        volume_id: ids::random("vol"),
        size_gib: image.root_volume_gib,
        volume_type: "gp3".to_owned(),
        encrypted: false,
        delete_on_termination: true,
        tags: request.volume_tags.clone(),
    };
    let mut devices = BTreeMap::from([(image.root_device_name.clone(), root)]);
    for device in &request.devices {
        if device.removed {
            devices.remove(device.name);
        } else if !device.ephemeral {
            let base = devices.get(device.name).map(|device| device.size_gib);
            let volume = BlockDevice {
                device_name: device.name.to_owned(),
                volume_id: ids::random("vol"),
                size_gib: device.size_gib.or(base).unwrap_or(8),
                volume_type: device.volume_type.to_owned(),
                encrypted: device.encrypted,
                delete_on_termination: device.delete_on_termination,
                tags: request.volume_tags.clone(),
            };
            devices.insert(device.name.to_owned(), volume);
        }
    }
    devices.into_values().collect()
}
