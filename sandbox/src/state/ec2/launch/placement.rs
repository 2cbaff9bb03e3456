//! Where the instances of a launch go, and how they begin.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::request::LaunchRequest;
use super::resolve::{Place, Resolved};
use crate::caller::Caller;
use crate::error::ApiError;
use crate::state::ec2::event::InstanceEvent;
use crate::state::ec2::image::Image;
use crate::state::ec2::instance::{BlockDevice, Instance, InstanceState, Market, StateReason, Transition};
use crate::state::ec2::network::{self, Subnet};
use crate::state::ec2::world::World;
use crate::state::ec2::{ids, tags};

/// The first place with room for the minimum, and how many fit there.
pub(super) fn choose<'r>(
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
        let addresses = subnet.map_or(0, Subnet::free_addresses);
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

pub(super) fn place_instances(
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
        let Some(private_ip) = estate.subnets.get_mut(&place.subnet_id).and_then(Subnet::take_address) else {
            break;
        };
        let instance = Instance {
            id: ids::random("i"),
            account: account.clone(),
            region: region.clone(),
            reservation_id: reservation_id.clone(),
            image_id: resolved.image.id.clone(),
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
            public_ip: place.public_ip.then(|| network::public_address(sequence)),
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
            auto_scaling_group: None,
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
