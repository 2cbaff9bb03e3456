//! An instance refresh: what was asked for, and how far it is.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::config::LaunchSource;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum RefreshStatus {
    Pending,
    InProgress,
    Baking,
    Successful,
    Failed,
    Cancelling,
    Cancelled,
    RollbackInProgress,
    RollbackSuccessful,
    RollbackFailed,
}

impl RefreshStatus {
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::InProgress => "InProgress",
            Self::Baking => "Baking",
            Self::Successful => "Successful",
            Self::Failed => "Failed",
            Self::Cancelling => "Cancelling",
            Self::Cancelled => "Cancelled",
            Self::RollbackInProgress => "RollbackInProgress",
            Self::RollbackSuccessful => "RollbackSuccessful",
            Self::RollbackFailed => "RollbackFailed",
        }
    }

    pub fn has_ended(self) -> bool {
        match self {
            Self::Successful | Self::Failed | Self::Cancelled | Self::RollbackSuccessful | Self::RollbackFailed => true,
            Self::Pending | Self::InProgress | Self::Baking | Self::Cancelling | Self::RollbackInProgress => false,
        }
    }
}

/// What a refresh does with instances that are protected from scale-in, or in standby.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub enum Reluctant {
    /// Replaced like the others.
    Replace,
    Ignore,
    #[default]
    Wait,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RefreshPreferences {
    pub min_healthy_percentage: Option<u32>,
    pub max_healthy_percentage: Option<u32>,
    pub instance_warmup: Option<u32>,
    pub checkpoint_percentages: Vec<u32>,
    pub checkpoint_delay: Option<u32>,
    pub skip_matching: bool,
    pub auto_rollback: bool,
    pub scale_in_protected: Reluctant,
    pub standby: Reluctant,
    pub alarms: Vec<String>,
    pub bake_time: Option<u32>,
}

/// In seconds.
const CHECKPOINT_DELAY: u32 = 3600;

impl RefreshPreferences {
    pub(crate) fn delay(&self) -> SignedDuration {
        SignedDuration::from_secs(i64::from(self.checkpoint_delay.unwrap_or(CHECKPOINT_DELAY)))
    }

    pub(crate) fn bake(&self) -> Option<SignedDuration> {
        self.bake_time.filter(|seconds| *seconds > 0).map(|seconds| SignedDuration::from_secs(i64::from(seconds)))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollback {
    pub reason: String,
    pub started: Timestamp,
    pub percentage_complete: u32,
    pub instances_to_update: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refresh {
    pub id: String,
    pub status: RefreshStatus,
    pub status_reason: Option<String>,
    pub started: Option<Timestamp>,
    pub ended: Option<Timestamp>,
    pub percentage_complete: Option<u32>,
    pub instances_to_update: Option<usize>,
    pub preferences: RefreshPreferences,
    pub desired: Option<LaunchSource>,
    pub rollback: Option<Rollback>,
    #[serde(skip)]
    pub(crate) plan: Plan,
}

/// What a refresh has still to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) requested: Timestamp,
    /// The instances that are still to be replaced.
    pub(crate) targets: Vec<u64>,
    /// How many there were.
    pub(crate) total: usize,
    /// Instances that were launched later are new.
    pub(crate) last_old: u64,
    /// How many checkpoints were passed.
    pub(crate) checkpoints_passed: usize,
    /// A checkpoint or the bake time holds it until then.
    pub(crate) hold_until: Option<Timestamp>,
    /// Whether a cancelled refresh waits for instances that come and go.
    pub(crate) ends_with_transitions: bool,
    /// How many instances beyond the desired capacity it wants now.
    pub(crate) surge: usize,
    pub(crate) last_progress: Timestamp,
    /// Something else here, and there was progress.
    pub(crate) mark: (usize, usize, usize),
}

impl Refresh {
    pub(crate) fn new(preferences: RefreshPreferences, desired: Option<LaunchSource>, now: Timestamp) -> Self {
        Self {
            id: uuid::Uuid::new_v4().to_string(),
            status: RefreshStatus::Pending,
            status_reason: None,
            started: None,
            ended: None,
            percentage_complete: None,
            instances_to_update: None,
            preferences,
            desired,
            rollback: None,
            plan: Plan {
                requested: now,
                targets: Vec::new(),
                total: 0,
                last_old: u64::MAX,
                checkpoints_passed: 0,
                hold_until: None,
                ends_with_transitions: true,
                surge: 0,
                last_progress: now,
                mark: (0, 0, 0),
            },
        }
    }

    pub(crate) fn end(&mut self, status: RefreshStatus, reason: Option<String>, at: Timestamp) {
        self.status = status;
        self.status_reason = reason.or(self.status_reason.take());
        self.ended = Some(at);
        self.plan.surge = 0;
        self.plan.hold_until = None;
    }
}
