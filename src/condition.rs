//! Conditions: types and reasons as enums, and a merge that keeps transition times.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::text::visible;

macro_rules! names {
    ($(#[$doc:meta])* $enum:ident { $($(#[$vdoc:meta])* $variant:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $enum { $($(#[$vdoc])* $variant),* }

        impl $enum {
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant)),* }
            }
        }
    };
}

names! {
    /// The type of a condition.
    ConditionType {
        /// The summary: the object is as its spec asks.
        Ready,
        /// A change is in progress. Present only while True.
        Reconciling,
        /// The object needs a change by a user. Present only while True.
        Stalled,
        /// `spec.suspend` is true. Present only while True.
        Suspended,
        Available,
        Progressing,
        ParametersSynced,
        AmiResolved,
        CapacityAvailable,
        Healthy,
        OrphansFound,
        /// Instances of `spec.adopt` cannot be adopted. Present only while True.
        AdoptionBlocked,
        /// The CPU utilization of the workers is not known. Present only while True.
        CpuUnknown,
        Collected,
        Degraded,
        UpToDate,
        Truncated,
        /// The launch template has a version with the wanted image, and it is the default.
        TemplateUpdated,
        GroupsFollowing,
        Refreshing,
        /// Versions that should be deleted are in use. Present only while True.
        PruneBlocked,
        /// `rollbackTo` is in effect. Present only while True.
        RolledBack,
        /// Somebody else manages the same thing. Present only while True.
        Conflict,
        /// Notifications cannot be sent. Present only while True.
        NotifyFailed,
        /// All indexes of a job succeeded.
        Complete,
        /// The job finished without success.
        Failed,
    }
}

impl ConditionType {
    /// kstatus only checks whether the first two are present.
    fn only_while_true(self) -> bool {
        match self {
            Self::Reconciling
            | Self::Stalled
            | Self::Suspended
            | Self::AdoptionBlocked
            | Self::CpuUnknown
            | Self::PruneBlocked
            | Self::RolledBack
            | Self::Conflict
            | Self::NotifyFailed => true,
            Self::Ready
            | Self::Available
            | Self::Progressing
            | Self::ParametersSynced
            | Self::AmiResolved
            | Self::CapacityAvailable
            | Self::Healthy
            | Self::OrphansFound
            | Self::Collected
            | Self::Degraded
            | Self::UpToDate
            | Self::Truncated
            | Self::TemplateUpdated
            | Self::GroupsFollowing
            | Self::Refreshing
            | Self::Complete
            | Self::Failed => false,
        }
    }
}

names! {
    /// The reason of a condition. It is shown in a column, so it names the cause.
    Reason {
        // All kinds
        Ready, Reconciling, Suspended, PlanOnly, InvalidSpec, AwsAccountNotFound, AwsAccountNotReady,
        NotGranted, AccountChanged, AwsDenied, AwsInvalid, AwsNotFound, AwsThrottled, AwsUnavailable,
        KubernetesError, Deleting, DeletionBlocked,
        // AwsAccount
        IdentityVerified, WrongAccount, InUse,
        // WorkerFleet
        AllReady, WorkersNotReady, FleetReportNotFound, WorkersMissing, Launching, Terminating, ScalingDown,
        MinimumAvailable, MinimumUnavailable, UpToDate, AmiFound, AmiNotFound, AmiNotAvailable,
        TemplateUnresolved, CapacityFound, NoCapacity, OrphansFound, NoOrphans, ForeignInstancesFound, TagsLost, TagsChanged,
        NotAdoptable, TagsRefused, TerminationRefused, Updating, ProgressDeadlineExceeded, AllHealthy,
        SomeUnhealthy, TooManyUnhealthy, ReplacementLimitReached, ClusterNameChanged, RevisionConflict,
        NoDataYet,
        // Kinds with parameters
        ParametersWritten, NoParameters, ValueMissing, ParameterTaken, StoreChanged,
        // WorkerJob
        Running, CompletionsReached, FailedIndexes, MaxFailedIndexesExceeded, DeadlineExceeded, ResultsReadable,
        // FleetReport
        AllSourcesCollected, SomeSourcesFailed, NoSourceCollected, NeverCollected, SomeObjectsUnreadable,
        AllAsExpected, VersionsOutdated, InstancesMissing, InstancesUnknown, NoFreshReports, NothingExpected, WithinLimits,
        ListsTruncated,
        // LaunchTemplatePin
        TemplateChanged, TemplateTaken, VersionMade, VersionPending, VersionNotFound, AmiGone, AmiRejected,
        AwaitingApproval, WindowClosed, OtherWriter, CallRefused, AllGroupsFollow, NoGroups, GroupsNotFollowing,
        GroupsMoving, NoRefresh, RefreshInProgress, RefreshFailed, RefreshBlocked, VersionsInUse, DeletionRefused,
        PinnedByRollback, NotDelivered,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    True,
    False,
    Unknown,
}

impl Truth {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

/// A condition as a reconcile sees it now, without the transition time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub condition: ConditionType,
    pub truth: Truth,
    pub reason: Reason,
    /// For people: what the state is, of which object, and what to do.
    pub message: String,
}

impl Verdict {
    pub fn new(condition: ConditionType, truth: impl Into<Truth>, reason: Reason, message: impl Into<String>) -> Self {
        Self { condition, truth: truth.into(), reason, message: message.into() }
    }
}

/// In bytes. Kubernetes allows 32 KiB; a longer message than this is not readable.
const MESSAGE_LIMIT: usize = 2048;

/// The conditions to store: `stored`, updated by `verdicts`. A type without a verdict is kept, because another version
/// may have written it, unless it exists only while True.
pub fn merge(stored: &[Condition], verdicts: &[Verdict], generation: i64, now: Timestamp) -> Vec<Condition> {
    let mut merged: Vec<Condition> = stored
        .iter()
        .filter(|c| !ConditionType::ALL.iter().any(|t| t.only_while_true() && t.as_str() == c.type_))
        .cloned()
        .collect();
    for verdict in verdicts {
        if verdict.condition.only_while_true() && verdict.truth != Truth::True {
            continue;
        }
        let before = stored.iter().find(|c| c.type_ == verdict.condition.as_str());
        let since = before.filter(|c| c.status == verdict.truth.as_str()).map(|c| c.last_transition_time.clone());
        let condition = Condition {
            type_: verdict.condition.as_str().into(),
            status: verdict.truth.as_str().into(),
            reason: verdict.reason.as_str().into(),
            message: visible(&verdict.message, MESSAGE_LIMIT),
            observed_generation: Some(generation),
            last_transition_time: since.unwrap_or_else(|| Time(second(now))),
        };
        match merged.iter_mut().find(|c| c.type_ == condition.type_) {
            Some(slot) => *slot = condition,
            None => merged.push(condition),
        }
    }
    merged.sort_by_key(|c| ConditionType::ALL.iter().position(|t| t.as_str() == c.type_).unwrap_or(usize::MAX));
    merged
}

/// Kubernetes stores times in seconds. A finer time would differ from the stored one and be written again each time.
pub fn second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn ready(truth: bool, reason: Reason) -> Verdict {
        Verdict::new(ConditionType::Ready, truth, reason, "m")
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let first = merge(&[], &[ready(false, Reason::Launching)], 1, at(100));
        let second = merge(&first, &[ready(false, Reason::NoCapacity)], 2, at(200));
        assert_eq!(second[0].last_transition_time, Time(at(100)));
        assert_eq!(second[0].reason, "NoCapacity");
        assert_eq!(second[0].observed_generation, Some(2));
        let third = merge(&second, &[ready(true, Reason::AllReady)], 2, at(300));
        assert_eq!(third[0].last_transition_time, Time(at(300)));
    }

    #[test]
    fn stalled_is_removed_when_it_no_longer_applies_and_other_conditions_are_kept() {
        let stalled = Verdict::new(ConditionType::Stalled, true, Reason::InvalidSpec, "fix it");
        let mut stored = merge(&[], &[ready(false, Reason::InvalidSpec), stalled], 1, at(1));
        stored.push(Condition { type_: "FromTomorrow".into(), ..stored[0].clone() });
        let merged = merge(&stored, &[ready(true, Reason::AllReady)], 1, at(2));
        let types: Vec<_> = merged.iter().map(|c| c.type_.as_str()).collect();
        assert_eq!(types, ["Ready", "FromTomorrow"]);
    }

    #[test]
    fn merging_the_same_verdicts_again_changes_nothing() {
        let verdicts = [ready(true, Reason::AllReady)];
        let once = merge(&[], &verdicts, 3, "2026-01-01T00:00:00.123Z".parse().unwrap());
        assert_eq!(merge(&once, &verdicts, 3, at(9_000_000_000)), once);
    }
}
