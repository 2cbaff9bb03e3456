//! RunInstances' parameters, checked as far as they can be without looking at the account.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::instance_types;
use crate::error::ApiError;
use crate::protocol::params::{Scope, invalid, missing};
use crate::state::ec2::ids;
use crate::state::ec2::instance::{Market, ShutdownBehavior};
use crate::state::ec2::tags::{self, Tags};

const USER_DATA_LIMIT: usize = 16 * 1024;
const TOKEN_LIMIT: usize = 64;
const LARGEST_VOLUME_GIB: u32 = 65_536;

#[derive(Debug)]
pub(crate) struct LaunchRequest<'a> {
    pub(crate) image_id: &'a str,
    pub(crate) instance_type: &'a str,
    pub(crate) min: u32,
    pub(crate) max: u32,
    pub(crate) client_token: Option<&'a str>,
    pub(crate) network: Network<'a>,
    pub(crate) key_name: Option<&'a str>,
    pub(crate) user_data: Option<&'a str>,
    pub(crate) instance_profile: Option<InstanceProfile<'a>>,
    pub(crate) market: Market,
    pub(crate) metadata: Metadata,
    pub(crate) shutdown_behavior: ShutdownBehavior,
    pub(crate) devices: Vec<Device<'a>>,
    pub(crate) instance_tags: Tags,
    pub(crate) volume_tags: Tags,
    pub(crate) monitoring: bool,
    pub(crate) ebs_optimized: bool,
    pub(crate) termination_protection: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Network<'a> {
    pub(crate) subnet: Option<&'a str>,
    pub(crate) zone: Option<&'a str>,
    pub(crate) group_ids: Vec<&'a str>,
    pub(crate) group_names: Vec<&'a str>,
    pub(crate) public_ip: Option<bool>,
}

#[derive(Debug)]
pub(crate) enum InstanceProfile<'a> {
    Arn(&'a str),
    Name(&'a str),
}

#[derive(Debug)]
pub(crate) struct Metadata {
    pub(crate) tokens_required: Option<bool>,
    pub(crate) hop_limit: u8,
    pub(crate) endpoint_enabled: bool,
    pub(crate) ipv6_enabled: bool,
    pub(crate) tags_enabled: Option<bool>,
}

#[derive(Debug)]
pub(crate) struct Device<'a> {
    pub(crate) name: &'a str,
    pub(crate) size_gib: Option<u32>,
    pub(crate) volume_type: &'a str,
    pub(crate) encrypted: bool,
    pub(crate) delete_on_termination: bool,
    /// Leaves out a device that the image has.
    pub(crate) removed: bool,
    pub(crate) ephemeral: bool,
}

impl<'a> LaunchRequest<'a> {
    pub(crate) fn read(root: &Scope<'a>) -> Result<Self, ApiError> {
        let image_id = root.required("ImageId")?;
        if !image_id.starts_with("resolve:ssm:") {
            ids::check_image_id(image_id)?;
        }
        let count = |field: &str| root.integer::<i64>(field)?.ok_or_else(|| missing(field));
        let (min, max) = (count("MinCount")?, count("MaxCount")?);
        let (min, max) = check_counts(min, max)?;
        let (instance_tags, volume_tags) = read_tags(root)?;
        let request = Self {
            image_id,
            instance_type: read_instance_type(root)?,
            min,
            max,
            client_token: read_token(root)?,
            network: read_network(root)?,
            key_name: root.text("KeyName"),
            user_data: read_user_data(root)?,
            instance_profile: read_profile(root)?,
            market: read_market(root)?,
            metadata: read_metadata(root)?,
            shutdown_behavior: root
                .one_of(
                    "InstanceInitiatedShutdownBehavior",
                    &[("stop", ShutdownBehavior::Stop), ("terminate", ShutdownBehavior::Terminate)],
                )?
                .unwrap_or_default(),
            devices: root.items("BlockDeviceMapping").iter().map(read_device).collect::<Result<_, _>>()?,
            instance_tags,
            volume_tags,
            monitoring: root.child("Monitoring").map(|m| m.boolean("Enabled")).transpose()?.flatten().unwrap_or(false),
            ebs_optimized: root.boolean("EbsOptimized")?.unwrap_or(false),
            termination_protection: root.boolean("DisableApiTermination")?.unwrap_or(false),
        };
        Ok(request)
    }
}

/// All parameters but the token: what a repeated token must repeat.
pub(crate) fn fingerprint(mut form: BTreeMap<String, String>) -> BTreeMap<String, String> {
    form.remove("ClientToken");
    form.remove("DryRun");
    form
}

fn check_counts(min: i64, max: i64) -> Result<(u32, u32), ApiError> {
    let count = |name: &str, value: i64| {
        u32::try_from(value)
            .ok()
            .filter(|count| *count > 0)
            .ok_or_else(|| invalid(format!("Invalid value '{value}' for {name}. Value must be a positive integer.")))
    };
    let (min, max) = (count("minCount", min)?, count("maxCount", max)?);
    if min > max {
        return Err(invalid(format!("'minCount' ({min}) must be less than or equal to 'maxCount' ({max}).")));
    }
    Ok((min, max))
}

pub(crate) fn read_token<'a>(root: &Scope<'a>) -> Result<Option<&'a str>, ApiError> {
    let token = root.text("ClientToken").filter(|token| !token.is_empty());
    match token {
        Some(token) if token.len() > TOKEN_LIMIT || !token.is_ascii() => Err(invalid(format!(
            "Invalid value '{token}' for ClientToken. It must have at most {TOKEN_LIMIT} ASCII characters."
        ))),
        Some(_) | None => Ok(token),
    }
}

fn read_instance_type<'a>(root: &Scope<'a>) -> Result<&'a str, ApiError> {
    let instance_type = root.text("InstanceType").unwrap_or("m1.small");
    if instance_types::exists(instance_type) {
        return Ok(instance_type);
    }
    Err(invalid(format!("Invalid value '{instance_type}' for InstanceType.")))
}

fn read_user_data<'a>(root: &Scope<'a>) -> Result<Option<&'a str>, ApiError> {
    let Some(text) = root.text("UserData").filter(|text| !text.is_empty()) else { return Ok(None) };
    let decoded = BASE64_STANDARD
        .decode(text)
        .map_err(|_not_base64| ApiError::new("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data."))?;
    if decoded.len() > USER_DATA_LIMIT {
        return Err(invalid(format!("User data is limited to {USER_DATA_LIMIT} bytes")));
    }
    Ok(Some(text))
}

fn read_network<'a>(root: &Scope<'a>) -> Result<Network<'a>, ApiError> {
    let placement = root.child("Placement");
    if let Some(placement) = &placement {
        placement.one_of("Tenancy", &[("default", ())])?;
    }
    let mut network = Network {
        subnet: root.text("SubnetId"),
        zone: placement.and_then(|placement| placement.text("AvailabilityZone")),
        group_ids: root.list("SecurityGroupId"),
        group_names: root.list("SecurityGroup"),
        public_ip: None,
    };
    let interfaces = root.items("NetworkInterface");
    if interfaces.is_empty() {
        return Ok(network);
    }
    for (given, what) in [
        (network.subnet.is_some(), "an instance-level subnet ID"),
        (!network.group_ids.is_empty() || !network.group_names.is_empty(), "instance-level security groups"),
    ] {
        if given {
            let message = format!("Network interfaces and {what} may not be specified on the same request");
            return Err(ApiError::new("InvalidParameterCombination", message));
        }
    }
    for interface in &interfaces {
        let index = interface.integer::<u32>("DeviceIndex")?.ok_or_else(|| missing(&interface.name("DeviceIndex")))?;
        if index != 0 {
            let message = "The sandbox's instances have one network interface, at device index 0.";
            return Err(ApiError::new("UnsupportedOperation", message));
        }
        interface.boolean("DeleteOnTermination")?;
        interface.text("Description");
        interface.text("InterfaceType");
        interface.integer::<u32>("NetworkCardIndex")?;
        network.subnet = interface.text("SubnetId");
        network.group_ids = interface.list("SecurityGroupId");
        network.public_ip = interface.boolean("AssociatePublicIpAddress")?;
    }
    Ok(network)
}

fn read_profile<'a>(root: &Scope<'a>) -> Result<Option<InstanceProfile<'a>>, ApiError> {
    let Some(profile) = root.child("IamInstanceProfile") else { return Ok(None) };
    match (profile.text("Arn"), profile.text("Name")) {
        (Some(_), Some(_)) => Err(ApiError::new(
            "InvalidParameterCombination",
            "The parameter 'iamInstanceProfile.name' may not be used in combination with 'iamInstanceProfile.arn'",
        )),
        (Some(arn), None) => Ok(Some(InstanceProfile::Arn(arn))),
        (None, Some(name)) => Ok(Some(InstanceProfile::Name(name))),
        (None, None) => Ok(None),
    }
}

fn read_market(root: &Scope<'_>) -> Result<Market, ApiError> {
    let Some(options) = root.child("InstanceMarketOptions") else { return Ok(Market::OnDemand) };
    let market = options.one_of("MarketType", &[("spot", Market::Spot)])?.unwrap_or_default();
    if let Some(spot) = options.child("SpotOptions") {
        if market != Market::Spot {
            return Err(ApiError::new("InvalidParameterCombination", "SpotOptions need the market type 'spot'."));
        }
        spot.text("MaxPrice");
        spot.one_of("SpotInstanceType", &[("one-time", ())])?;
        spot.one_of("InstanceInterruptionBehavior", &[("terminate", ())])?;
    }
    Ok(market)
}

fn read_metadata(root: &Scope<'_>) -> Result<Metadata, ApiError> {
    let mut metadata = Metadata {
        tokens_required: None,
        hop_limit: 1,
        endpoint_enabled: true,
        ipv6_enabled: false,
        tags_enabled: None,
    };
    let Some(options) = root.child("MetadataOptions") else { return Ok(metadata) };
    let switch = [("enabled", true), ("disabled", false)];
    metadata.tokens_required = options.one_of("HttpTokens", &[("required", true), ("optional", false)])?;
    metadata.endpoint_enabled = options.one_of("HttpEndpoint", &switch)?.unwrap_or(true);
    metadata.ipv6_enabled = options.one_of("HttpProtocolIpv6", &switch)?.unwrap_or(false);
    metadata.tags_enabled = options.one_of("InstanceMetadataTags", &switch)?;
    if let Some(hops) = options.integer::<i64>("HttpPutResponseHopLimit")? {
        metadata.hop_limit = u8::try_from(hops).ok().filter(|hops| (1..=64).contains(hops)).ok_or_else(|| {
            invalid(format!("Value ({hops}) for parameter HttpPutResponseHopLimit is invalid. It must be 1 to 64."))
        })?;
    }
    Ok(metadata)
}

fn read_device<'a>(scope: &Scope<'a>) -> Result<Device<'a>, ApiError> {
    let name = scope.required("DeviceName")?;
    let mut device = Device {
        name,
        size_gib: None,
        volume_type: "gp2",
        encrypted: false,
        delete_on_termination: true,
        removed: scope.text("NoDevice").is_some(),
        ephemeral: scope.text("VirtualName").is_some(),
    };
    let Some(ebs) = scope.child("Ebs") else { return Ok(device) };
    device.size_gib = ebs.integer("VolumeSize")?;
    if let Some(size) = device.size_gib.filter(|size| !(1..=LARGEST_VOLUME_GIB).contains(size)) {
        return Err(invalid(format!("Volume size {size} is invalid. It must be from 1 to {LARGEST_VOLUME_GIB} GiB.")));
    }
    device.encrypted = ebs.boolean("Encrypted")?.unwrap_or(false);
    device.delete_on_termination = ebs.boolean("DeleteOnTermination")?.unwrap_or(true);
    let types = ["gp2", "gp3", "io1", "io2", "st1", "sc1", "standard"].map(|name| (name, name));
    device.volume_type = ebs.one_of("VolumeType", &types)?.unwrap_or("gp2");
    let iops = ebs.integer::<u32>("Iops")?;
    let throughput = ebs.integer::<u32>("Throughput")?;
    ebs.text("SnapshotId");
    ebs.text("KmsKeyId");
    let unsupported = |parameter: &str| {
        let message = format!("The parameter {parameter} is not supported for {} volumes.", device.volume_type);
        Err(ApiError::new("InvalidParameterCombination", message))
    };
    match device.volume_type {
        "io1" | "io2" if iops.is_none() => return Err(missing(&ebs.name("Iops"))),
        "gp2" | "st1" | "sc1" | "standard" if iops.is_some() => return unsupported("iops"),
        "gp3" => {}
        _other if throughput.is_some() => return unsupported("throughput"),
        _other => {}
    }
    Ok(device)
}

/// The tags for instances, and those for volumes.
fn read_tags(root: &Scope<'_>) -> Result<(Tags, Tags), ApiError> {
    let (mut instance, mut volume) = (Tags::new(), Tags::new());
    let mut seen = Vec::new();
    for specification in root.items("TagSpecification") {
        let resource = specification.required("ResourceType")?;
        if seen.contains(&resource) {
            return Err(invalid(format!("Duplicate resource type '{resource}' in TagSpecifications.")));
        }
        seen.push(resource);
        let tags = tags::read(&specification)?;
        if tags.is_empty() {
            return Err(invalid("Tag specification must have at least one tag"));
        }
        match resource {
            "instance" => instance = tags,
            "volume" => volume = tags,
            // The sandbox shows no network interfaces and spot requests of their own.
            "network-interface" | "spot-instances-request" => {}
            other => {
                return Err(invalid(format!("'{other}' is not a valid taggable resource type for this operation.")));
            }
        }
    }
    Ok((instance, volume))
}
