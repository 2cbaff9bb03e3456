//! An instance as EC2 knows it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::caller::AccountId;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    Pending,
    Running,
    ShuttingDown,
    Terminated,
    Stopping,
    Stopped,
}

impl InstanceState {
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }

    pub fn code(self) -> u8 {
        match self {
            Self::Pending => 0,
            Self::Running => 16,
            Self::ShuttingDown => 32,
            Self::Terminated => 48,
            Self::Stopping => 64,
            Self::Stopped => 80,
        }
    }

    /// Neither ended nor ending.
    pub fn is_alive(self) -> bool {
        match self {
            Self::Pending | Self::Running | Self::Stopping | Self::Stopped => true,
            Self::ShuttingDown | Self::Terminated => false,
        }
    }

    /// Takes up capacity.
    pub(crate) fn is_placed(self) -> bool {
        match self {
            Self::Pending | Self::Running | Self::Stopping | Self::ShuttingDown => true,
            Self::Stopped | Self::Terminated => false,
        }
    }
}

impl fmt::Display for InstanceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What time alone brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transition {
    Run,
    Stop,
    /// The notice that a spot instance got has passed.
    Reclaim,
    Terminate,
    FadeTags,
    Vanish,
    Forget,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Market {
    #[default]
    OnDemand,
    Spot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShutdownBehavior {
    #[default]
    Stop,
    Terminate,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StateReason {
    /// E.g. `Client.UserInitiatedShutdown`.
    pub code: String,
    pub message: String,
}

impl StateReason {
    pub(crate) fn new(code: &str, message: &str) -> Self {
        Self { code: code.to_owned(), message: format!("{code}: {message}") }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetadataOptions {
    pub tokens_required: bool,
    pub hop_limit: u8,
    pub endpoint_enabled: bool,
    pub ipv6_enabled: bool,
    pub tags_enabled: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockDevice {
    pub device_name: String,
    pub volume_id: String,
    pub size_gib: u32,
    pub volume_type: String,
    pub encrypted: bool,
    pub delete_on_termination: bool,
    pub tags: BTreeMap<String, String>,
}

/// What a status check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthStatus {
    Ok,
    Impaired,
    Initializing,
    InsufficientData,
    NotApplicable,
}

impl HealthStatus {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Impaired => "impaired",
            Self::Initializing => "initializing",
            Self::InsufficientData => "insufficient-data",
            Self::NotApplicable => "not-applicable",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecurityGroupRef {
    pub id: String,
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    pub id: String,
    pub account: AccountId,
    pub region: String,
    pub reservation_id: String,
    pub image_id: String,
    pub instance_type: String,
    pub architecture: String,
    pub state: InstanceState,
    pub state_reason: Option<StateReason>,
    /// `User initiated (2026-01-31 23:59:59 GMT)`, or empty.
    pub transition_reason: String,
    pub zone: String,
    pub zone_id: String,
    pub vpc_id: String,
    pub subnet_id: String,
    pub security_groups: Vec<SecurityGroupRef>,
    pub network_interface_id: String,
    pub private_ip: Ipv4Addr,
    pub public_ip: Option<Ipv4Addr>,
    pub key_name: Option<String>,
    /// Base64, as sent.
    pub user_data: Option<String>,
    /// The ARN of the instance profile.
    pub instance_profile: Option<String>,
    /// The name of the profile's role.
    pub instance_role: Option<String>,
    pub launch_index: u32,
    pub launch_time: Timestamp,
    pub running_since: Option<Timestamp>,
    pub tags: BTreeMap<String, String>,
    pub client_token: Option<String>,
    pub market: Market,
    pub spot_request_id: Option<String>,
    pub metadata_options: MetadataOptions,
    pub shutdown_behavior: ShutdownBehavior,
    pub root_device_name: String,
    pub block_devices: Vec<BlockDevice>,
    pub monitoring: bool,
    pub ebs_optimized: bool,
    pub termination_protection: bool,
    /// When EC2 told a spot instance to expect its end.
    pub rebalance_recommended: Option<Timestamp>,
    /// When EC2 will take a spot instance back.
    pub interruption_at: Option<Timestamp>,
    /// How often it was started again after its launch.
    pub restarts: u32,
    /// Set through control: what the status checks say instead of what they would.
    pub system_status: Option<HealthStatus>,
    pub instance_status: Option<HealthStatus>,
    /// The group that launched it.
    pub auto_scaling_group: Option<String>,
    /// The position in the order of launches of the whole sandbox.
    #[serde(skip)]
    pub(crate) sequence: u64,
    /// Whether it gets a public address at each start.
    #[serde(skip)]
    pub(crate) wants_public_ip: bool,
    #[serde(skip)]
    pub(crate) next: Option<(Timestamp, Transition)>,
    /// Until then describe calls see this instead (`None`: nothing at all).
    #[serde(skip)]
    pub(crate) stale: Option<(Timestamp, Option<Box<Instance>>)>,
    /// The row has gone. It is kept for the replay of its client token.
    #[serde(skip)]
    pub(crate) vanished: bool,
}

impl Instance {
    /// The user data as the instance's IMDS gives it.
    pub fn decoded_user_data(&self) -> Option<Vec<u8>> {
        // Checked when it was accepted.
        self.user_data.as_deref().and_then(|text| BASE64_STANDARD.decode(text).ok())
    }

    pub fn arn(&self) -> String {
        format!("arn:aws:ec2:{}:{}:instance/{}", self.region, self.account, self.id)
    }

    pub fn private_dns_name(&self) -> String {
        let host = format!("ip-{}", self.private_ip.to_string().replace('.', "-"));
        match self.region.as_str() {
            "us-east-1" => format!("{host}.ec2.internal"),
            region => format!("{host}.{region}.compute.internal"),
        }
    }

    pub fn mac_address(&self) -> String {
        let [a, b, c, d] = self.private_ip.octets();
        format!("02:42:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
    }

    /// What describe calls see at this moment.
    pub(crate) fn visible(&self, now: Timestamp) -> Option<&Self> {
        match &self.stale {
            Some((until, before)) if now < *until => before.as_deref(),
            Some(_) | None => (!self.vanished).then_some(self),
        }
    }
}
