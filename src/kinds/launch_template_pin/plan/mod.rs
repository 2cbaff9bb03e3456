//! What to do next: pure functions of the spec, of what AWS shows, and of the record.

pub(super) mod forecast;
pub(super) mod groups;
pub(super) mod retention;
pub(super) mod settle;
pub(super) mod target;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    crd::launch_template_pin::{LaunchTemplatePinStatus, PinIntent, PinOperation},
    ids::{ImageId, Uid},
    kinds::launch_template_pin::{
        desired::Desired,
        observed::Observed,
        plan::{
            groups::{Finding, GroupState, finding},
            retention::{Retention, retention},
            target::{Target, recent, target},
        },
    },
};

/// How many calls are open at the same time.
const AT_ONCE: usize = 20;

/// A call that changes AWS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// Tags the launch template with the uid of the object.
    Claim,
    CreateVersion {
        source: i64,
        image: ImageId,
        foreign: bool,
    },
    SetDefault(i64),
    DeleteVersions(Vec<i64>),
    UpdateGroup {
        group: String,
        follow: String,
        version: i64,
    },
    /// `after` is the last refresh before it. `pins`: the group gets the version when it succeeds.
    StartRefresh {
        group: String,
        version: i64,
        after: Option<String>,
        pins: bool,
    },
    CancelRefresh {
        group: String,
        refresh: String,
    },
}

/// What only one call at a time may change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Subject {
    Template,
    Group(String),
}

/// What a plan needs besides spec, AWS and record.
pub(super) struct PlanContext<'a> {
    pub(super) uid: &'a Uid,
    pub(super) now: Timestamp,
    pub(super) holder: &'a str,
    pub(super) nonce: &'a mut dyn FnMut() -> u64,
    /// What was refused and is not tried again yet.
    pub(super) waits: &'a BTreeSet<Subject>,
    /// Versions whose deletion was refused and is not tried again yet.
    pub(super) refused: &'a BTreeSet<i64>,
    /// Whether refreshes that did not succeed are started again.
    pub(super) retries: bool,
}

impl std::fmt::Debug for PlanContext<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlanContext").field("uid", &self.uid).field("now", &self.now).finish_non_exhaustive()
    }
}

/// What was found, for the plan and for the status.
#[derive(Clone, Debug)]
pub(super) struct Assessment {
    pub(super) target: Target,
    pub(super) findings: BTreeMap<String, Finding>,
    pub(super) retention: Retention,
    /// The uid of another object that the launch template is tagged with.
    pub(super) taken_by: Option<String>,
}

impl Assessment {
    pub(super) fn of(
        desired: &Desired,
        observed: &Observed,
        record: &LaunchTemplatePinStatus,
        context: &PlanContext<'_>,
    ) -> Self {
        let target = target(desired, observed, record, context.uid, context.now);
        let found = |group| finding(desired, observed, record, &target, group, context.retries);
        let findings = observed.groups.iter().map(|(name, group)| (name.clone(), found(group))).collect();
        let retention = retention(desired, observed, record, &target, context.uid, context.now);
        let taken_by = observed.claimed_by().filter(|uid| *uid != context.uid.as_str()).map(str::to_owned);
        Self { target, findings, retention, taken_by }
    }

    /// The default version that is wanted, if it is not the default yet.
    pub(super) fn new_default(&self, desired: &Desired, observed: &Observed) -> Option<i64> {
        let wanted = desired.set_default || desired.rollback_to.is_some();
        Some(self.target.version).filter(|version| wanted && *version != observed.template.default)
    }
}

/// The calls to make now, without those whose subject has an open intent.
pub(super) fn calls(
    desired: &Desired,
    observed: &Observed,
    record: &LaunchTemplatePinStatus,
    found: &Assessment,
    context: &PlanContext<'_>,
) -> Vec<Call> {
    if found.taken_by.is_some() || found.target.missing.is_some() {
        return vec![];
    }
    if observed.claimed_by().is_none() {
        return free(vec![Call::Claim], record, context);
    }
    let Target { create, hold, foreign, .. } = &found.target;
    if let (Some((source, image)), None) = (create, hold) {
        let foreign = *foreign == Some(*source);
        return free(vec![Call::CreateVersion { source: *source, image: image.clone(), foreign }], record, context);
    }
    let is_making = |intent: &PinIntent| intent.operation == PinOperation::CreateVersion;
    // To go back does not wait for a version that is perhaps being made.
    if record.intents.iter().any(is_making) && desired.rollback_to.is_none() {
        return vec![];
    }
    let held = found.target.is_closed && desired.rollback_to.is_none();
    let default = found.new_default(desired, observed).filter(|_| !held).map(Call::SetDefault);
    // What follows the default is refreshed once it has moved.
    let is_early = |call: &Call| default.is_some() && matches!(call, Call::StartRefresh { .. });
    let groups = found.findings.values().filter_map(|finding| finding.call.clone());
    let groups: Vec<_> = groups.filter(|call| !is_early(call)).collect();
    let moves = default.is_some() || !groups.is_empty();
    let busy = found.findings.values().any(|finding| finding.state == GroupState::Refreshing);
    let mut calls: Vec<_> = default.into_iter().collect();
    let room = AT_ONCE.saturating_sub(record.intents.len());
    calls.extend(free(groups, record, context).into_iter().take(room));
    // Last: what is about to run must not lose its way back.
    let known = observed.running.is_some() && observed.of_fleets.is_some();
    if !moves && !busy && known && record.intents.is_empty() {
        let surplus: Vec<_> =
            found.retention.surplus.iter().filter(|version| !context.refused.contains(version)).copied().collect();
        calls.extend(Some(Call::DeleteVersions(surplus)).filter(|call| *call != Call::DeleteVersions(vec![])));
    }
    free(calls, record, context)
}

/// Those of `calls` whose subject has no open intent and was not just refused.
fn free(calls: Vec<Call>, record: &LaunchTemplatePinStatus, context: &PlanContext<'_>) -> Vec<Call> {
    let open: BTreeSet<_> = record.intents.iter().map(subject).collect();
    let is_free = |call: &Call| !open.contains(&call.subject()) && !context.waits.contains(&call.subject());
    calls.into_iter().filter(is_free).collect()
}

/// What the call of `intent` changes.
pub(super) fn subject(intent: &PinIntent) -> Subject {
    intent.group.clone().map_or(Subject::Template, Subject::Group)
}

impl Call {
    pub(super) fn subject(&self) -> Subject {
        match self {
            Self::Claim | Self::CreateVersion { .. } | Self::SetDefault(_) | Self::DeleteVersions(_) => {
                Subject::Template
            }
            Self::UpdateGroup { group, .. } | Self::StartRefresh { group, .. } | Self::CancelRefresh { group, .. } => {
                Subject::Group(group.clone())
            }
        }
    }

    /// The intent to record before the call.
    pub(super) fn intent(&self, context: &mut PlanContext<'_>) -> PinIntent {
        let mut intent = PinIntent {
            nonce: format!("{:016x}", (context.nonce)()),
            operation: PinOperation::Claim,
            holder: context.holder.to_owned(),
            started_at: Time(crate::condition::second(context.now)),
            version: None,
            image_id: None,
            versions: vec![],
            group: None,
            follow: None,
            refresh_id: None,
            created_version: None,
        };
        match self.clone() {
            Self::Claim => {}
            Self::CreateVersion { source, image, foreign: _ } => {
                intent.operation = PinOperation::CreateVersion;
                (intent.version, intent.image_id) = (Some(source), Some(image));
            }
            Self::SetDefault(version) => {
                intent.operation = PinOperation::SetDefault;
                intent.version = Some(version);
            }
            Self::DeleteVersions(versions) => {
                intent.operation = PinOperation::DeleteVersions;
                intent.versions = versions;
            }
            Self::UpdateGroup { group, follow, version } => {
                intent.operation = PinOperation::UpdateGroup;
                (intent.group, intent.follow, intent.version) = (Some(group), Some(follow), Some(version));
            }
            Self::StartRefresh { group, version, after, pins } => {
                intent.operation = PinOperation::StartRefresh;
                (intent.group, intent.version, intent.refresh_id) = (Some(group), Some(version), after);
                intent.follow = pins.then(|| version.to_string());
            }
            Self::CancelRefresh { group, refresh } => {
                intent.operation = PinOperation::CancelRefresh;
                (intent.group, intent.refresh_id) = (Some(group), Some(refresh));
            }
        }
        intent
    }

    /// Whether `intent` is of this call.
    pub(super) fn is_as(&self, intent: &PinIntent) -> bool {
        let group = |name: &String| intent.group.as_ref() == Some(name);
        match (self, intent.operation) {
            (Self::Claim, PinOperation::Claim) => true,
            (Self::CreateVersion { source, image, .. }, PinOperation::CreateVersion) => {
                intent.version == Some(*source) && intent.image_id.as_ref() == Some(image)
            }
            (Self::SetDefault(version), PinOperation::SetDefault) => intent.version == Some(*version),
            (Self::DeleteVersions(versions), PinOperation::DeleteVersions) => intent.versions == *versions,
            (Self::UpdateGroup { group: name, follow, .. }, PinOperation::UpdateGroup) => {
                group(name) && intent.follow.as_ref() == Some(follow)
            }
            (Self::StartRefresh { group: name, version, .. }, PinOperation::StartRefresh) => {
                group(name) && intent.version == Some(*version)
            }
            (Self::CancelRefresh { group: name, refresh }, PinOperation::CancelRefresh) => {
                group(name) && intent.refresh_id.as_ref() == Some(refresh)
            }
            _ => false,
        }
    }

    /// What the record remembers of the call, beside the intent.
    pub(super) fn note(&self, record: &mut LaunchTemplatePinStatus, now: Timestamp) {
        match self {
            Self::CreateVersion { foreign: true, .. } => {
                let times = recent(record, now).into_iter().chain([crate::condition::second(now)]);
                record.overridden_at = times.map(Time).collect();
            }
            // It does not count as failed, should the group go to the same version again.
            Self::CancelRefresh { group, .. } => {
                let group = record.groups.iter_mut().find(|row| row.name == *group);
                group.into_iter().for_each(|group| group.refresh_version = None);
            }
            _ => {}
        }
    }

    /// In words.
    pub(super) fn describe(&self, template: &str) -> String {
        match self {
            Self::Claim => format!("tag launch template {template} as managed by this object"),
            Self::CreateVersion { source, image, .. } => {
                format!("create a version of launch template {template} from version {source} with image {image}")
            }
            Self::SetDefault(version) => format!("make version {version} the default of launch template {template}"),
            Self::DeleteVersions(versions) => {
                let versions: Vec<_> = versions.iter().map(ToString::to_string).collect();
                format!("delete the versions {} of launch template {template}", versions.join(", "))
            }
            Self::UpdateGroup { group, follow, .. } => format!("set Auto Scaling group {group} to version {follow}"),
            Self::StartRefresh { group, version, .. } => {
                format!("start an instance refresh of Auto Scaling group {group} to version {version}")
            }
            Self::CancelRefresh { group, refresh } => {
                format!("cancel the instance refresh {refresh} of Auto Scaling group {group}")
            }
        }
    }
}
