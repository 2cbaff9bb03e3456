//! The part of a spec that says what a worker is. These types are the schema; [`super::request`] renders them.
//!
//! The schema has no defaults in here: they are filled in when a request is rendered.

mod base;
mod disk;
mod image;
mod metadata;
mod network;
mod user_data;

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

pub use self::{
    base::LaunchTemplate,
    disk::{BlockDeviceMapping, Ebs, VolumeType},
    image::{Ami, AmiSelector},
    metadata::{HttpTokens, InstanceMetadataTags, MetadataOptions},
    network::{Placement, SecurityGroups, Subnets},
    user_data::{ConfigMapKeyRef, UserData},
};

use crate::aws_account::Claim;

/// EC2 takes 50 tags a machine; the rest is for muster's own.
const MAX_TAGS: usize = 40;

/// What each worker is launched with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "has(self.ami) || has(self.launchTemplate)",
        "message": "say which image: add ami with id, ssmParameter or selector, or a launchTemplate that has an image",
    },
    {
        "rule": "has(self.instanceTypes) || has(self.launchTemplate)",
        "message": "say which machines: add instanceTypes, like [m6i.large], or a launchTemplate that has an instance type",
    },
    {
        "rule": "has(self.subnets) || has(self.launchTemplate)",
        "message": "say where: add subnets with ids or tags, or a launchTemplate that has a subnet",
    },
    {
        "rule": "!has(self.tags) || (has(self.metadataOptions) && has(self.metadataOptions.instanceMetadataTags) \
                 && self.metadataOptions.instanceMetadataTags == 'disabled') \
                 || self.tags.all(k, k.matches('^[A-Za-z0-9+=.,_:@-]+$') && !(k in ['.', '..', '_index']))",
        "message": "tag keys may hold only letters, digits and + - = . , _ : @ while \
                    metadataOptions.instanceMetadataTags is enabled, which is the default: rename the key, or set \
                    instanceMetadataTags to disabled",
    },
]))]
pub struct WorkerTemplate {
    /// The machine image. That of the launch template when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ami: Option<Ami>,
    /// A launch template to build on. What is set here goes before what it says, and what is left out here is as it says:
    /// muster fills in no defaults of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch_template: Option<LaunchTemplate>,
    /// The instance types to use, the preferred one first. The next one is used where EC2 has no capacity for the one
    /// before. That of the launch template when not given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 20),
        inner(length(min = 3, max = 64), pattern(r"^[a-z0-9-]+\.[a-z0-9-]+$")),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub instance_types: Vec<String>,
    /// How the capacity is bought: `OnDemand`, or `Spot`, which is cheaper and can be taken back at two minutes' notice.
    /// `OnDemand` when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_type: Option<CapacityType>,
    /// The name of the EC2 key pair for SSH. None when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub key_name: Option<String>,
    /// The name of the IAM instance profile. The AwsAccount must grant it to this namespace. None when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), extend("x-kubernetes-validations" = [{
        "rule": "self.matches('^[A-Za-z0-9+=,.@_-]+$')",
        "message": "write the name of the instance profile, not its ARN or path",
    }]))]
    pub instance_profile: Option<String>,
    /// The subnets to launch into. That of the launch template when not given, and where it has none, the default subnets
    /// of the region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnets: Option<Subnets>,
    /// How workers are placed: `Spread` evens them out over the zones of the subnets; `Ordered` fills the first subnet and
    /// goes on where EC2 has no capacity. `Spread` when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// The security groups. The VPC's default group when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_groups: Option<SecurityGroups>,
    /// Whether each worker gets a public IPv4 address. What the subnet says when not given.
    #[serde(rename = "associatePublicIPAddress", default, skip_serializing_if = "Option::is_none")]
    pub associate_public_ip_address: Option<bool>,
    /// The disks, over those of the image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 26),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["deviceName"])
    )]
    pub block_device_mappings: Vec<BlockDeviceMapping>,
    /// The instance metadata service (IMDS).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_options: Option<MetadataOptions>,
    /// What the worker runs at its first boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<UserData>,
    /// Tags for the machines, their disks and network interfaces, beside those of muster (`muster.dev:...`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "tags_schema")]
    pub tags: BTreeMap<String, String>,
}

impl WorkerTemplate {
    /// What the AwsAccount must grant.
    pub fn claims(&self) -> Vec<Claim> {
        let profile = self.instance_profile.iter().cloned().map(Claim::InstanceProfile);
        let base = self.launch_template.iter().map(|base| Claim::LaunchTemplate(base.reference().to_owned()));
        profile.chain(base).collect()
    }

    /// What the user wrote about the workers themselves: without what only says what becomes of running ones.
    pub fn of_workers(&self) -> Self {
        let mut template = self.clone();
        template.ami.iter_mut().for_each(|ami| ami.on_change = None);
        template.launch_template.iter_mut().for_each(|base| base.on_change = None);
        template
    }
}

/// How the capacity is bought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CapacityType {
    OnDemand,
    Spot,
}

/// What becomes of running workers when something that they were launched with came to something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum OnChange {
    Keep,
    Replace,
}

fn tags_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": MAX_TAGS,
        "additionalProperties": {"type": "string", "maxLength": 256},
        "x-kubernetes-validations": [
            {
                "rule": "self.all(k, size(k) >= 1 && size(k) <= 128)",
                "message": "tag keys must have 1 to 128 characters",
            },
            {
                "rule": "!self.exists(k, k.lowerAscii().startsWith('aws:'))",
                "message": "tag keys must not start with aws:, which AWS keeps for itself",
            },
            {
                "rule": "!self.exists(k, k.lowerAscii().startsWith('muster.dev:'))",
                "message": "tag keys must not start with muster.dev:, which muster uses to know its own machines",
            },
        ],
    })
}

/// Tags to find things by.
fn selector_tags_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "minProperties": 1,
        "maxProperties": 10,
        "additionalProperties": {"type": "string", "maxLength": 256},
        "x-kubernetes-validations": [{
            "rule": "self.all(k, size(k) >= 1 && size(k) <= 128)",
            "message": "tag keys must have 1 to 128 characters",
        }],
    })
}
