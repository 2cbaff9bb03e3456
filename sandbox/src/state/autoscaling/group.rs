//! A group and its instances.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::activity::Activities;
use super::config::LaunchSource;
use super::refresh::Refresh;

/// What a group does by itself. Each can be suspended.
pub(crate) const PROCESSES: &[&str] = &[
    "Launch",
    "Terminate",
    "AddToLoadBalancer",
    "AlarmNotification",
    "AZRebalance",
    "HealthCheck",
    "InstanceRefresh",
    "ReplaceUnhealthy",
    "ScheduledActions",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum MemberState {
    Pending,
    InService,
    Terminating,
    Standby,
}

impl MemberState {
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::InService => "InService",
            Self::Terminating => "Terminating",
            Self::Standby => "Standby",
        }
    }
}

/// The template that an instance was launched from, with the number of its version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LaunchedFrom {
    pub id: String,
    pub name: String,
    pub version: u64,
}

/// An instance of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    pub instance_id: String,
    pub instance_type: String,
    pub zone: String,
    pub zone_id: String,
    pub template: Option<LaunchedFrom>,
    /// The image of an override, where one gave it.
    pub image_id: Option<String>,
    pub spot: bool,
    pub state: MemberState,
    pub healthy: bool,
    pub protected_from_scale_in: bool,
    pub in_service_since: Option<Timestamp>,
}

impl Member {
    /// Counts towards the desired capacity.
    pub(crate) fn is_active(&self) -> bool {
        matches!(self.state, MemberState::Pending | MemberState::InService)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupTag {
    pub value: String,
    pub propagate_at_launch: bool,
}

/// Percentages of the desired capacity. -1 on both: none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MaintenancePolicy {
    pub min_healthy_percentage: i32,
    pub max_healthy_percentage: i32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AutoScalingGroup {
    pub name: String,
    pub arn: String,
    pub created: Timestamp,
    pub launch: LaunchSource,
    pub min_size: u32,
    pub max_size: u32,
    pub desired_capacity: u32,
    pub default_cooldown: u32,
    pub zones: Vec<String>,
    pub subnets: Vec<String>,
    pub health_check_type: String,
    pub health_check_grace_period: u32,
    pub default_instance_warmup: Option<u32>,
    pub termination_policies: Vec<String>,
    pub new_instances_protected: bool,
    pub maintenance_policy: Option<MaintenancePolicy>,
    pub tags: BTreeMap<String, GroupTag>,
    /// Process and reason.
    pub suspended: BTreeMap<String, String>,
    /// The service that alone may change the group.
    pub operator: Option<String>,
    /// By the order of launches.
    #[serde(serialize_with = "values")]
    pub members: BTreeMap<u64, Member>,
    /// The oldest first.
    pub refreshes: Vec<Refresh>,
    pub activities: Activities,
    pub deleting: bool,
    /// When launches are tried again that fail, how often they failed, and since when.
    #[serde(skip)]
    pub(crate) retry: Option<Retry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retry {
    pub(crate) at: Timestamp,
    pub(crate) failures: u32,
    pub(crate) since: Timestamp,
}

fn values<S: serde::Serializer>(members: &BTreeMap<u64, Member>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(members.values())
}

impl AutoScalingGroup {
    pub(crate) fn is_suspended(&self, process: &str) -> bool {
        self.suspended.contains_key(process)
    }

    pub(crate) fn active(&self) -> usize {
        self.members.values().filter(|member| member.is_active()).count()
    }

    pub(crate) fn desired(&self) -> usize {
        self.desired_capacity as usize
    }

    pub(crate) fn grace(&self) -> SignedDuration {
        SignedDuration::from_secs(i64::from(self.health_check_grace_period))
    }

    pub(crate) fn sequence_of(&self, instance_id: &str) -> Option<u64> {
        self.members.iter().find(|(_, member)| member.instance_id == instance_id).map(|(sequence, _)| *sequence)
    }

    /// The refresh that has not ended. There is one at most.
    pub(crate) fn active_refresh(&self) -> Option<&Refresh> {
        self.refreshes.last().filter(|refresh| !refresh.status.has_ended())
    }

    pub(crate) fn active_refresh_mut(&mut self) -> Option<&mut Refresh> {
        self.refreshes.last_mut().filter(|refresh| !refresh.status.has_ended())
    }

    /// What new instances are launched from: the goal of a refresh while it runs.
    pub(crate) fn launches_from(&self) -> &LaunchSource {
        let goal = self.active_refresh().filter(|refresh| refresh.rollback.is_none());
        goal.and_then(|refresh| refresh.desired.as_ref()).unwrap_or(&self.launch)
    }
}
