//! The template of a worker in a spec.
//!
//! The schema has no defaults here: they are filled in when a request is rendered.

mod base;
mod disk;
mod image;
mod metadata;
mod network;
mod tags;
mod user_data;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub(in crate::crd) use crate::crd::template::tags::selector_tags_schema;
pub use crate::crd::{
    parameters::OnChange,
    template::{
        base::LaunchTemplate,
        disk::{BlockDeviceMapping, Ebs, VolumeType},
        image::{Ami, AmiSelector},
        metadata::{HttpTokens, InstanceMetadataTags, MetadataOptions},
        network::{Placement, SecurityGroups, Subnets},
        user_data::{ConfigMapKeyRef, UserData},
    },
};

/// What each worker is launched with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "has(self.ami) || has(self.launchTemplate)",
        "message": "template needs an image: add ami with id, ssmParameter or selector, or a launchTemplate that has an image",
    },
    {
        "rule": "has(self.instanceTypes) || has(self.launchTemplate)",
        "message": "template needs an instance type: add instanceTypes, like [m6i.large], or a launchTemplate that has one",
    },
    {
        "rule": "has(self.subnets) || has(self.launchTemplate)",
        "message": "template needs subnets: add subnets with ids or tags, or a launchTemplate that has a subnet",
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
    /// The machine image. Default: the image of the launch template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ami: Option<Ami>,
    /// A launch template to build on. Fields that are set here override it. Fields that are not set here keep its
    /// values: with a launch template, muster adds no defaults of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch_template: Option<LaunchTemplate>,
    /// The instance types to use, in order of preference. The next one is used where EC2 has no capacity for the
    /// previous one. Default: the instance type of the launch template.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 20),
        inner(length(min = 3, max = 64), pattern(r"^[a-z0-9-]+\.[a-z0-9-]+$")),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub instance_types: Vec<String>,
    /// The purchasing option: `OnDemand` (the default), or `Spot`, which is cheaper and which EC2 can interrupt with
    /// two minutes' notice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_type: Option<CapacityType>,
    /// The name of the EC2 key pair for SSH. The AwsAccount must grant it to this namespace. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub key_name: Option<String>,
    /// The name of the IAM instance profile. The AwsAccount must grant it to this namespace. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), extend("x-kubernetes-validations" = [{
        "rule": "self.matches('^[A-Za-z0-9+=,.@_-]+$')",
        "message": "write the name of the instance profile, not its ARN or path",
    }]))]
    pub instance_profile: Option<String>,
    /// The subnets to launch into. The AwsAccount must grant all of them to this namespace. Default: the subnet of the
    /// launch template, or, if it has none, the default subnets of the region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnets: Option<Subnets>,
    /// How workers are placed: `Spread` (the default) distributes them evenly over the zones of the subnets; `Ordered`
    /// uses the first subnet, and the next one when EC2 has no capacity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// The security groups. The AwsAccount must grant all of them to this namespace. Default: the default security group
    /// of the VPC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_groups: Option<SecurityGroups>,
    /// Whether each worker gets a public IPv4 address. Default: the setting of the subnet.
    #[serde(rename = "associatePublicIPAddress", default, skip_serializing_if = "Option::is_none")]
    pub associate_public_ip_address: Option<bool>,
    /// The EBS volumes, in addition to those of the image. A mapping with the same device name overrides that of the
    /// image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 26),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["deviceName"])
    )]
    pub block_device_mappings: Vec<BlockDeviceMapping>,
    /// The instance metadata service (IMDS).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_options: Option<MetadataOptions>,
    /// The user data: a script or cloud-config that the worker runs at its first boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<UserData>,
    /// Tags for the instances, their volumes and network interfaces, in addition to the tags of muster
    /// (`muster.dev:...`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "tags::tags_schema")]
    pub tags: BTreeMap<String, String>,
}

impl WorkerTemplate {
    /// The template without the fields that only say what happens to running workers.
    pub fn of_workers(&self) -> Self {
        let mut template = self.clone();
        template.ami.iter_mut().for_each(|ami| ami.on_change = None);
        template.launch_template.iter_mut().for_each(|base| base.on_change = None);
        template
    }

    /// What tells whether two templates say the same about the workers themselves.
    pub fn digest(&self) -> TemplateDigest {
        // This cannot fail: maps have text for keys.
        TemplateDigest(Sha256::digest(serde_json::to_vec(&self.of_workers()).unwrap_or_default()).into())
    }
}

/// Identifies [`WorkerTemplate::of_workers`], in place of a template that may be long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TemplateDigest([u8; 32]);

/// The purchasing option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CapacityType {
    OnDemand,
    Spot,
}
