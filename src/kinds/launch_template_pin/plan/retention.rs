//! Which versions are kept, and why. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::{
    crd::launch_template_pin::{LaunchTemplatePinStatus, Protection, RetainedVersions},
    ids::Uid,
    kinds::launch_template_pin::{
        desired::Desired,
        observed::{Observed, marker},
        plan::target::Target,
    },
};

/// What DeleteLaunchTemplateVersions takes at once.
const AT_ONCE: usize = 200;

/// Which versions are deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Retention {
    /// What protects each version.
    pub(in super::super) protected: BTreeMap<i64, BTreeSet<Protection>>,
    /// Beyond the number that is kept, and not protected, the oldest first.
    pub(in super::super) surplus: Vec<i64>,
    /// Beyond the number that is kept, and in use.
    pub(in super::super) blocked: Vec<i64>,
}

pub(in super::super) fn retention(
    desired: &Desired,
    observed: &Observed,
    record: &LaunchTemplatePinStatus,
    target: &Target,
    uid: &Uid,
    now: Timestamp,
) -> Retention {
    let marker = marker(uid);
    let mut found = Retention::default();
    for row in &observed.versions {
        let age = |keep: crate::kinds::launch_template_pin::desired::Keep| {
            row.created_at.is_none_or(|made| now.duration_since(made).unsigned_abs() < keep.min_age || made > now)
        };
        let by = [
            (Protection::Default, row.version == observed.template.default),
            (Protection::Latest, row.version == observed.template.latest),
            (Protection::Group, observed.of_groups.contains(&row.version)),
            (Protection::Instance, observed.running.as_ref().is_some_and(|all| all.contains(&row.version))),
            (Protection::Fleet, observed.of_fleets.as_ref().is_some_and(|all| all.contains(&row.version))),
            (
                Protection::Rollback,
                [desired.rollback_to, record.previous_version, Some(target.version)].contains(&Some(row.version)),
            ),
            (Protection::Age, desired.keep.is_some_and(age)),
        ];
        let by = by.into_iter().filter(|(_, holds)| *holds).map(|(protection, _)| protection);
        found.protected.insert(row.version, by.collect());
    }
    let Some(keep) = desired.keep else { return found };
    let counted = observed.versions.iter().filter(|row| match keep.of {
        RetainedVersions::Managed => row.description.starts_with(&marker),
        RetainedVersions::All => true,
    });
    for row in counted.skip(keep.newest) {
        let by = &found.protected[&row.version];
        let in_use = [Protection::Group, Protection::Instance, Protection::Fleet];
        if by.is_empty() {
            found.surplus.push(row.version);
        } else if by.iter().any(|protection| in_use.contains(protection)) {
            found.blocked.push(row.version);
        }
    }
    found.surplus.reverse();
    found.surplus.truncate(AT_ONCE);
    found
}
