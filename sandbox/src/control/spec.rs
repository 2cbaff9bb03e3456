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
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
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
            tags: BTreeMap::new(),
        }
    }
}

/// A step of the clock, in JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Step {
    #[serde(rename = "millis", with = "millis")]
    pub(crate) by: Duration,
}
