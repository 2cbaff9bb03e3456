//! What tests and the control API ask for.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::caller::AccountId;
use crate::config::Lifecycle;
use crate::duration::millis;
use crate::state::ec2::image::ImageState;
use crate::state::ec2::instance::Market;

/// Settings that can be changed while the sandbox runs. An omitted field keeps its value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Settings {
    pub throttling: Option<bool>,
    #[serde(rename = "describeLagMillis")]
    pub describe_lag: Option<u64>,
    pub lifecycle: Option<Lifecycle>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CapacitySpec {
    /// `None`: of all accounts together.
    #[serde(default)]
    pub account: Option<AccountId>,
    pub zone: String,
    pub instance_type: String,
    /// `None`: of both markets together.
    #[serde(default)]
    pub market: Option<Market>,
    /// The number of instances that may exist at a time. `None` removes the limit.
    pub limit: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubnetSpec {
    pub account: AccountId,
    pub region: String,
    /// The last letter or the full name of the zone.
    pub zone: String,
    /// `None`: the default VPC.
    #[serde(default)]
    pub vpc_id: Option<String>,
    pub cidr: String,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecurityGroupSpec {
    pub account: AccountId,
    pub region: String,
    #[serde(default)]
    pub vpc_id: Option<String>,
    pub name: String,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImageSpec {
    pub owner: AccountId,
    pub region: String,
    pub name: String,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default = "x86_64")]
    pub architecture: String,
    #[serde(default)]
    pub state: ImageState,
    #[serde(default)]
    pub public: bool,
    /// `None`: now.
    #[serde(default)]
    pub created: Option<Timestamp>,
    #[serde(default)]
    pub deprecated_at: Option<Timestamp>,
    /// How long after now a pending image becomes available, as one that a backup makes. `None`: it stays as it is.
    #[serde(default)]
    pub available_after_millis: Option<u64>,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// What is on its disk, by path. `$ROOT` in it is the folder of the worker.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
}

fn x86_64() -> String {
    "x86_64".to_owned()
}

impl ImageSpec {
    pub fn new(owner: &AccountId, region: &str, name: &str) -> Self {
        Self {
            owner: owner.clone(),
            region: region.to_owned(),
            name: name.to_owned(),
            description: None,
            architecture: x86_64(),
            state: ImageState::Available,
            public: false,
            created: None,
            deprecated_at: None,
            available_after_millis: None,
            tags: BTreeMap::new(),
            files: BTreeMap::new(),
        }
    }
}

/// A launch template with one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LaunchTemplateSpec {
    pub account: AccountId,
    pub region: String,
    pub name: String,
    /// By their names in a request, e.g. `ImageId` or `SecurityGroupId.1`.
    pub data: BTreeMap<String, String>,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

impl LaunchTemplateSpec {
    /// One that launches an image on t3.micro.
    pub fn new(account: &AccountId, region: &str, name: &str, image: &str) -> Self {
        let data = [("ImageId", image), ("InstanceType", "t3.micro")];
        Self {
            account: account.clone(),
            region: region.to_owned(),
            name: name.to_owned(),
            data: data.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            tags: BTreeMap::new(),
        }
    }
}

/// An Auto Scaling group over a launch template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GroupSpec {
    pub account: AccountId,
    pub region: String,
    pub name: String,
    /// Its id.
    pub launch_template: String,
    /// A number, `$Latest` or `$Default`.
    #[serde(default = "default_version")]
    pub version: String,
    pub min: u32,
    pub max: u32,
    pub desired: u32,
    /// Empty: all default subnets.
    #[serde(default)]
    pub subnets: Vec<String>,
    /// Of the group, and of its instances.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

fn default_version() -> String {
    "$Default".to_owned()
}

impl GroupSpec {
    pub fn new(account: &AccountId, region: &str, name: &str, launch_template: &str, desired: u32) -> Self {
        Self {
            account: account.clone(),
            region: region.to_owned(),
            name: name.to_owned(),
            launch_template: launch_template.to_owned(),
            version: default_version(),
            min: 0,
            max: desired * 2,
            desired,
            subnets: Vec::new(),
            tags: BTreeMap::new(),
        }
    }
}

/// A topic. Its name says whether it is FIFO.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TopicSpec {
    pub account: AccountId,
    pub region: String,
    pub name: String,
    /// As CreateTopic takes them, e.g. `ContentBasedDeduplication`.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

impl TopicSpec {
    pub fn new(account: &AccountId, region: &str, name: &str) -> Self {
        Self { account: account.clone(), region: region.to_owned(), name: name.to_owned(), attributes: BTreeMap::new() }
    }
}

/// A step of the clock, in JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Step {
    #[serde(rename = "millis", with = "millis")]
    pub(crate) by: Duration,
}
