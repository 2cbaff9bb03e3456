//! The part of a RunInstances request that a revision stores.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{LaunchTemplateId, SecurityGroupId};

/// The fields of RunInstances that are the same for all launches of a revision. The other fields (token, subnet,
/// instance type, image, version of the launch template, count) are in each intent. No field depends on a default of
/// EC2 or of muster that could change between a call and its repetition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LaunchRequest {
    /// The launch template that the request overrides. Absent fields keep its values.
    #[serde(rename = "launchTemplateID", default, skip_serializing_if = "Option::is_none")]
    pub launch_template_id: Option<LaunchTemplateId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_profile: Option<String>,
    #[serde(default, skip_serializing_if = "Network::is_arguments")]
    pub network: Network,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<SecurityGroupId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub associate_public_ip_address: Option<bool>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<Device>,
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
    /// Launches Spot instances.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub spot: bool,
    /// In base64, as in the API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
    /// What a shutdown from inside does to the instance. If absent, it stops, which is the default of EC2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shutdown_behavior: Option<ShutdownBehavior>,
    /// The tags of the instance, its volumes and its network interfaces.
    pub tags: BTreeMap<String, String>,
}

/// Where the request sets the subnet and the security groups. EC2 accepts them as arguments, but only in an interface
/// if the request sets a public address or the launch template has interfaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    #[default]
    Arguments,
    /// In interface 0, which overrides that of the launch template.
    Interface,
    /// Nowhere: the launch template sets them.
    LaunchTemplate,
}

impl Network {
    fn is_arguments(&self) -> bool {
        *self == Self::Arguments
    }
}

/// What a shutdown from inside does to an instance (`InstanceInitiatedShutdownBehavior`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShutdownBehavior {
    Stop,
    Terminate,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Device {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_gib: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iops: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throughput: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_on_termination: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_tokens_required: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hop_limit: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_tags: Option<bool>,
}

impl Metadata {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
