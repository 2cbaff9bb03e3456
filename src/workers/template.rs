//! The part of a spec that says what a worker is. These types are the schema; [`super::request`] renders them.
//!
//! The schema has no defaults in here: they are filled in when a request is rendered.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

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

/// Which machine image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ami {
    /// The id of the image.
    #[schemars(length(max = 21), extend("x-kubernetes-validations" = [{
        "rule": "self.matches('^ami-([0-9a-f]{8}|[0-9a-f]{17})$')",
        "message": "write the id of an image, like ami-0123456789abcdef0",
    }]))]
    pub id: String,
}

/// Which subnets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Subnets {
    /// The ids of the subnets, all of one VPC.
    #[schemars(
        length(min = 1, max = 32),
        inner(length(max = 24)),
        extend("x-kubernetes-list-type" = "atomic", "x-kubernetes-validations" = [{
            "rule": "self.all(s, s.matches('^subnet-([0-9a-f]{8}|[0-9a-f]{17})$'))",
            "message": "write ids of subnets, like subnet-0123456789abcdef0",
        }])
    )]
    pub ids: Vec<String>,
}

/// How workers are placed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Placement {
    #[default]
    Spread,
    Ordered,
}

/// Which security groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecurityGroups {
    /// The ids of the security groups, of the subnets' VPC.
    #[schemars(
        length(min = 1, max = 16),
        inner(length(max = 20)),
        extend("x-kubernetes-list-type" = "atomic", "x-kubernetes-validations" = [{
            "rule": "self.all(s, s.matches('^sg-([0-9a-f]{8}|[0-9a-f]{17})$'))",
            "message": "write ids of security groups, like sg-0123456789abcdef0",
        }])
    )]
    pub ids: Vec<String>,
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlockDeviceMapping {
    /// The device name that the image or the operating system expects, like `/dev/xvda`.
    #[schemars(length(min = 1, max = 32))]
    pub device_name: String,
    /// The EBS volume.
    pub ebs: Ebs,
}

/// An EBS volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!has(self.iops) || (has(self.volumeType) && self.volumeType in ['gp3', 'io1', 'io2'])",
        "message": "iops can be set for volumeType gp3, io1 and io2 only: set volumeType, or remove iops",
    },
    {
        "rule": "!has(self.volumeType) || !(self.volumeType in ['io1', 'io2']) || has(self.iops)",
        "message": "volumeType io1 and io2 need iops: set it, or use gp3",
    },
    {
        "rule": "!has(self.throughput) || (has(self.volumeType) && self.volumeType == 'gp3')",
        "message": "throughput can be set for volumeType gp3 only: set volumeType to gp3, or remove throughput",
    },
    {
        "rule": "!has(self.kmsKeyID) || (has(self.encrypted) && self.encrypted)",
        "message": "a kmsKeyID needs encrypted: true",
    },
]))]
pub struct Ebs {
    /// The size, in whole GiB: `100Gi` or `2Ti`. That of the image's snapshot when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8), extend("x-kubernetes-validations" = [{
        "rule": "self.matches('^[1-9][0-9]*(Gi|Ti)$')",
        "message": "write the size in whole GiB or TiB, like 100Gi or 2Ti",
    }]))]
    pub volume_size: Option<String>,
    /// The kind of volume. `gp3` when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_type: Option<VolumeType>,
    /// Whether the volume is encrypted. What the account's default says when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<bool>,
    /// The KMS key to encrypt with: id, alias or ARN. The account's default key when not given.
    #[serde(rename = "kmsKeyID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub kms_key_id: Option<String>,
    /// I/O operations per second, for `gp3`, `io1` and `io2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 256_000))]
    pub iops: Option<i32>,
    /// Throughput in MiB/s, for `gp3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 125, max = 2_000))]
    pub throughput: Option<i32>,
    /// Whether the volume goes when the machine does. True when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_on_termination: Option<bool>,
}

/// The kind of an EBS volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VolumeType {
    Gp2,
    Gp3,
    Io1,
    Io2,
    St1,
    Sc1,
    Standard,
}

impl VolumeType {
    /// As EC2 writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gp2 => "gp2",
            Self::Gp3 => "gp3",
            Self::Io1 => "io1",
            Self::Io2 => "io2",
            Self::St1 => "st1",
            Self::Sc1 => "sc1",
            Self::Standard => "standard",
        }
    }
}

/// The instance metadata service (IMDS).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetadataOptions {
    /// `required` allows IMDSv2 only. `required` when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_tokens: Option<HttpTokens>,
    /// How many network hops an answer may travel. 1 when not given, which keeps containers on a bridge network out;
    /// raise it to 2 for those that need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub http_put_response_hop_limit: Option<i32>,
    /// Whether the worker can read its own tags. `enabled` when not given. EC2 refuses some tag keys while it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_metadata_tags: Option<InstanceMetadataTags>,
}

/// Whether IMDSv1 is shut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HttpTokens {
    #[default]
    Required,
    Optional,
}

/// Whether a worker can read its own tags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum InstanceMetadataTags {
    #[default]
    Enabled,
    Disabled,
}

/// What the worker runs at its first boot. Whoever may describe instances may read it: never a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserData {
    /// The text itself, for example a shell script or cloud-config. At most 16 KB, which is EC2's limit.
    #[schemars(length(min = 1, max = 65_536))]
    pub inline: String,
}
