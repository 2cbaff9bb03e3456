//! The calls that change AWS.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    aws::autoscaling::is_over,
    crd::launch_template_pin::{LaunchTemplatePinStatus, PinIntent, PinOperation},
    ids::{ImageId, Uid},
    kinds::launch_template_pin::{observed::Observed, plan::target::recent},
};

/// A call that changes AWS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Call {
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
pub(in super::super) enum Subject {
    Template,
    Group(String),
}

/// What a plan needs besides spec, AWS and record.
pub(in super::super) struct PlanContext<'a> {
    pub(in super::super) uid: &'a Uid,
    pub(in super::super) now: Timestamp,
    pub(in super::super) holder: &'a str,
    pub(in super::super) nonce: &'a mut dyn FnMut() -> u64,
    /// What was refused and is not tried again yet.
    pub(in super::super) waits: &'a BTreeSet<Subject>,
    /// Versions whose deletion was refused and is not tried again yet.
    pub(in super::super) refused: &'a BTreeSet<i64>,
    /// Whether refreshes that did not succeed are started again.
    pub(in super::super) retries: bool,
}

impl std::fmt::Debug for PlanContext<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlanContext").field("uid", &self.uid).field("now", &self.now).finish_non_exhaustive()
    }
}

/// What the call of `intent` changes.
pub(in super::super) fn subject(intent: &PinIntent) -> Subject {
    intent.group.clone().map_or(Subject::Template, Subject::Group)
}

impl Call {
    pub(in super::super) fn subject(&self) -> Subject {
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
    pub(in super::super) fn intent(&self, context: &mut PlanContext<'_>) -> PinIntent {
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
    pub(in super::super) fn is_as(&self, intent: &PinIntent) -> bool {
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
    pub(in super::super) fn note(&self, record: &mut LaunchTemplatePinStatus, observed: &Observed, now: Timestamp) {
        match self {
            // What somebody else has set in the meantime is no version to go back to.
            Self::SetDefault(version) if record.default_version != Some(*version) => {
                record.previous_version = Some(observed.template.default);
            }
            // The refresh that runs has launched instances of another version, so it does not have the last word.
            Self::UpdateGroup { group, .. } => {
                let row = record.groups.iter_mut().find(|row| row.name == *group && row.refresh_id.is_some());
                if let Some(row) = row.filter(|row| !is_over(row.refresh_status.as_deref())) {
                    row.left = Some(0);
                }
            }
            _ => {}
        }
        if let Self::CreateVersion { foreign: true, .. } = self {
            let times = recent(record, now).into_iter().chain([crate::condition::second(now)]);
            record.overridden_at = times.map(Time).collect();
        }
    }

    /// In words.
    pub(in super::super) fn describe(&self, template: &str) -> String {
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
