//! The EBS volumes of a worker.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A device of the instance, and the EBS volume that is attached to it.
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
    /// The size in whole GiB or TiB: `100Gi` or `2Ti`. Default: the size of the snapshot of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8), extend("x-kubernetes-validations" = [{
        "rule": "self.matches('^[1-9][0-9]*(Gi|Ti)$')",
        "message": "write the size in whole GiB or TiB, like 100Gi or 2Ti",
    }]))]
    pub volume_size: Option<String>,
    /// The volume type. Default: `gp3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_type: Option<VolumeType>,
    /// Whether the volume is encrypted. Default: the setting of the AWS account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<bool>,
    /// The KMS key to encrypt with: id, alias or ARN. The AwsAccount must grant it, written in the same way. Default:
    /// the default key of the AWS account.
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
    /// Whether the volume is deleted when the instance is terminated. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_on_termination: Option<bool>,
}

/// The type of an EBS volume.
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
