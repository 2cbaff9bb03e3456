//! A launch's names looked up in the account: image, places, security groups, key pair, instance profile.

use jiff::Timestamp;

use super::instance_types;
use super::request::{InstanceProfile, LaunchRequest};
use crate::caller::{AccountId, Caller};
use crate::error::ApiError;
use crate::state::ec2::estate::{Estate, Zone};
use crate::state::ec2::ids::{self, group_not_found, subnet_not_found};
use crate::state::ec2::image::{Image, ImageState};
use crate::state::ec2::instance::{MetadataOptions, SecurityGroupRef};
use crate::state::ec2::network::{SecurityGroup, Subnet};
use crate::state::ec2::tags::{self, Tags};
use crate::state::ec2::world::World;

/// A request whose names were all found.
pub(super) struct Resolved {
    pub(super) image: Image,
    /// Where the instances may go, in order of preference. More than one only when the request names no place.
    pub(super) subnets: Vec<Place>,
    pub(super) groups: Vec<SecurityGroupRef>,
    pub(super) profile: Option<Profile>,
    pub(super) metadata: MetadataOptions,
    pub(super) template_tags: Tags,
}

pub(super) struct Profile {
    pub(super) arn: String,
    pub(super) role: String,
}

pub(super) struct Place {
    pub(super) subnet_id: String,
    pub(super) vpc_id: String,
    pub(super) zone: Zone,
    pub(super) public_ip: bool,
}

pub(super) fn resolve(
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
    let id = world.resolve_alias(&caller.id.account, &caller.region, request.image_id)?;
    let id = id.as_str();
    ids::check_image_id(id)?;
    world.check_launches(&caller.region, id)?;
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
    let place = |subnet: &Subnet| Place {
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
        let named = |group: &&SecurityGroup| group.name == *name && group.vpc_id == vpc;
        found.push(estate.security_groups.values().find(named).ok_or_else(|| group_not_found(name))?);
    }
    if found.is_empty() {
        found.extend(estate.security_groups.values().find(|group| group.name == "default" && group.vpc_id == vpc));
    }
    Ok(found.into_iter().map(|group| SecurityGroupRef { id: group.id.clone(), name: group.name.clone() }).collect())
}
