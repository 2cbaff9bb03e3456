//! The part of a spec that says what a worker is. These types are the schema; [`super::request`] renders them.
//!
//! The schema has no defaults in here: they are filled in when a request is rendered.

mod disk;
mod image;
mod metadata;
mod network;
mod user_data;

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

pub use self::{
    disk::{BlockDeviceMapping, Ebs, VolumeType},
    image::Ami,
    metadata::{HttpTokens, InstanceMetadataTags, MetadataOptions},
    network::{Placement, SecurityGroups, Subnets},
    user_data::UserData,
};

/// EC2 takes 50 tags a machine; the rest is for muster's own.
const MAX_TAGS: usize = 40;

/// What each worker is launched with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.tags) || (has(self.metadataOptions) && has(self.metadataOptions.instanceMetadataTags) \
             && self.metadataOptions.instanceMetadataTags == 'disabled') \
             || self.tags.all(k, k.matches('^[A-Za-z0-9+=.,_:@-]+$') && !(k in ['.', '..', '_index']))",
    "message": "tag keys may hold only letters, digits and + - = . , _ : @ while metadataOptions.instanceMetadataTags is \
                enabled, which is the default: rename the key, or set instanceMetadataTags to disabled",
}]))]
pub struct WorkerTemplate {
    /// The machine image.
    pub ami: Ami,
    /// The instance types to use, the preferred one first. The next one is used where EC2 has no capacity for the one
    /// before.
    #[schemars(
        length(min = 1, max = 20),
        inner(length(min = 3, max = 64), pattern(r"^[a-z0-9-]+\.[a-z0-9-]+$")),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub instance_types: Vec<String>,
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
    /// The subnets to launch into.
    pub subnets: Subnets,
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
