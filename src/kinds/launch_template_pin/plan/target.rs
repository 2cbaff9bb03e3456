//! Which version should run, and whether a new one is needed. Pure.

use jiff::{SignedDuration, Timestamp};

use crate::{
    aws::ec2::{ImageRow, NewestImages, template_versions::VersionRow},
    crd::launch_template_pin::LaunchTemplatePinStatus,
    ids::{ImageId, Uid},
    kinds::launch_template_pin::{
        desired::Desired,
        observed::{Observed, marker},
    },
};

/// Within this time, so many versions on top of those of others are a fight.
const FIGHT: SignedDuration = SignedDuration::from_hours(1);
const ROUNDS: usize = 3;

/// Which image the launch template should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Wanted {
    /// The spec has no image: the newest version counts, whoever made it.
    Any,
    Image(ImageRow),
    /// There is no image to move to. The launch template stays as it is.
    Nothing(Nothing),
}

/// Why there is no image to move to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Nothing {
    /// The selector matches no image that can be launched.
    Unmatched { pending: Option<ImageId>, young: Option<ImageId>, unusable: Vec<ImageId>, unusable_total: usize },
    /// All images are rejected.
    Rejected,
    /// The current image is gone, and all others are older.
    Older { gone: ImageId, newest: ImageId },
}

/// Why a version is not made now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Hold {
    Approval(ImageId),
    /// Until the window opens.
    Window(Option<Timestamp>),
    /// Somebody else makes versions too.
    Fight,
}

/// What should run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Target {
    pub(in super::super) wanted: Wanted,
    /// The version that should run now.
    pub(in super::super) version: i64,
    /// The source and the image of the version to make.
    pub(in super::super) create: Option<(i64, ImageId)>,
    /// The source was made by somebody else after a version of this object.
    pub(in super::super) foreign: Option<i64>,
    pub(in super::super) hold: Option<Hold>,
    /// The window is closed, so no roll-out begins.
    pub(in super::super) is_closed: bool,
    /// The newest version has an image that is rejected, waits for approval, or is not wanted any more, so nothing may
    /// follow `$Latest`.
    pub(in super::super) latest_is_barred: bool,
    /// `rollbackTo` names a version that does not exist.
    pub(in super::super) missing: Option<i64>,
}

pub(in super::super) fn target(
    desired: &Desired,
    observed: &Observed,
    record: &LaunchTemplatePinStatus,
    uid: &Uid,
    now: Timestamp,
) -> Target {
    let wanted = wanted(desired, observed, record);
    let window = desired.window.as_ref().filter(|window| !window.is_open(now));
    let window = window.map(|window| Hold::Window(window.next(now)));
    // To go back does not wait.
    let is_closed = window.is_some() && desired.rollback_to.is_none();
    // A version with a rejected image never runs, and is never the source of another one.
    let accepted = |row: &&VersionRow| !is_rejected(desired, row);
    let latest_is_barred = observed.versions.first().is_some_and(|latest| !accepted(&latest));
    let target = Target {
        wanted,
        version: observed.template.default,
        create: None,
        foreign: None,
        hold: None,
        is_closed,
        latest_is_barred,
        missing: None,
    };
    if let Some(to) = desired.rollback_to {
        return match observed.version(to) {
            Some(_) => Target { version: to, ..target },
            None => Target { missing: Some(to), ..target },
        };
    }
    let base = observed.versions.iter().find(accepted);
    let image = match &target.wanted {
        Wanted::Any => {
            let version = base.map_or(observed.template.default, |base| base.version);
            return Target { version, ..target };
        }
        Wanted::Image(row) => Some(&row.id),
        Wanted::Nothing(_) => None,
    };
    let marker = marker(uid);
    let is_ours = |row: &VersionRow| row.description.starts_with(&marker);
    let has = |row: &VersionRow| image.is_some_and(|id| row.image.as_deref() == Some(id.as_str()));
    // Nothing moves to a version only because of its description, which anybody can write who can make versions.
    let stands = |row: &VersionRow| is_ours(row) || row.version == observed.template.default;
    let settled = observed.versions.iter().filter(accepted).find(|row| {
        let is_current = runs(record, observed, row) && stands(row);
        is_current || (has(row) && image.is_some_and(|id| is_approved(desired, id)))
    });
    let default = observed.version(observed.template.default).filter(accepted);
    // An image that has a version already gets no other one, unless somebody else has made one on top of it.
    let known = observed.versions.iter().filter(accepted).find(|row| has(row));
    let is_covered = |known: &VersionRow| {
        let newer = observed.versions.iter().filter(accepted).take_while(|row| row.version > known.version);
        newer.into_iter().any(|row| !is_ours(row))
    };
    let known = known.filter(|known| !is_covered(known));
    let wanted = known.filter(|_| image.is_some_and(|id| is_approved(desired, id)));
    let version = wanted.or(settled).or(default).or(base).map_or(observed.template.default, |row| row.version);
    let create = base.filter(|_| known.is_none()).and_then(|base| Some((base.version, image?.clone())));
    let ours_before =
        |base: &VersionRow| observed.versions.iter().any(|row| row.version < base.version && is_ours(row));
    let foreign = base.filter(|base| !is_ours(base) && ours_before(base)).map(|base| base.version);
    let fights = record.overridden_at.iter().filter(|at| now.duration_since(at.0) < FIGHT).count() >= ROUNDS;
    let unapproved = image.filter(|id| !is_approved(desired, id) && !runs_image(record, observed, id));
    let hold = match (&create, unapproved) {
        (Some((source, _)), _) if foreign == Some(*source) && fights => Some(Hold::Fight),
        (_, Some(image)) => Some(Hold::Approval(image.clone())),
        (Some(_), None) => window,
        (None, None) => None,
    };
    // A version of somebody else with an image that waits is not followed by name either.
    let is_barred = |row: &VersionRow| {
        let image = row.image.as_deref().unwrap_or_default();
        let approved = desired.approved.as_ref().is_none_or(|ids| ids.iter().any(|id| id.as_str() == image));
        !approved && !runs(record, observed, row)
    };
    let is_behind = known.is_some_and(|known| known.version == version && version < observed.template.latest);
    let latest_is_barred = latest_is_barred || is_behind || observed.versions.first().is_some_and(is_barred);
    Target { version, create, foreign, hold, latest_is_barred, ..target }
}

/// Whether a version has the image that runs now: that of the record, or, before there is one, of the default version.
fn runs(record: &LaunchTemplatePinStatus, observed: &Observed, row: &VersionRow) -> bool {
    match &record.current_ami {
        Some(current) => row.image.as_deref() == Some(current.id.as_str()),
        None => {
            row.image.is_some()
                && observed.version(observed.template.default).is_some_and(|default| default.image == row.image)
        }
    }
}

fn runs_image(record: &LaunchTemplatePinStatus, observed: &Observed, image: &ImageId) -> bool {
    observed.versions.iter().any(|row| row.image.as_deref() == Some(image.as_str()) && runs(record, observed, row))
}

fn is_approved(desired: &Desired, image: &ImageId) -> bool {
    desired.approved.as_ref().is_none_or(|ids| ids.contains(image))
}

fn wanted(desired: &Desired, observed: &Observed, record: &LaunchTemplatePinStatus) -> Wanted {
    let Some(images) = &observed.images else { return Wanted::Any };
    let NewestImages { available, young, pending, unusable, unusable_total } = images;
    let accepted = || available.iter().filter(|row| !desired.rejected.contains(&row.id));
    // What was approved is used although a newer image waits.
    let is_newer = |row: &&ImageRow| match &record.current_ami {
        Some(current) if current.id == row.id => false,
        Some(current) => current.created_at.as_ref().is_none_or(|made| row.created_at >= made.0),
        None => true,
    };
    let approved = accepted().filter(is_newer).find(|row| desired.approved.is_some() && is_approved(desired, &row.id));
    let Some(newest) = approved.or_else(|| accepted().next()) else {
        if !available.is_empty() {
            return Wanted::Nothing(Nothing::Rejected);
        }
        let id = |row: &Option<ImageRow>| row.as_ref().map(|row| row.id.clone());
        return Wanted::Nothing(Nothing::Unmatched {
            pending: id(pending),
            young: id(young),
            unusable: unusable.clone(),
            unusable_total: *unusable_total,
        });
    };
    // Only the current image has become too young.
    if let (Some(current), Some(Some(row))) = (&record.current_ami, &observed.current)
        && row.id == current.id
        && young.is_some()
        && newest.created_at < row.created_at
        && is_usable(Some(row))
        && !desired.rejected.contains(&row.id)
    {
        return Wanted::Image(row.clone());
    }
    // When an image is deregistered, the newest one that is left is older: nobody asked to go back.
    if let (Some(current), Some(shown)) = (&record.current_ami, &observed.current)
        && !is_usable(shown.as_ref())
        && !desired.rejected.contains(&current.id)
        && current.created_at.as_ref().is_some_and(|made| newest.created_at < made.0)
    {
        return Wanted::Nothing(Nothing::Older { gone: current.id.clone(), newest: newest.id.clone() });
    }
    Wanted::Image(newest.clone())
}

/// Whether the version has a rejected image.
pub(in super::super) fn is_rejected(desired: &Desired, row: &VersionRow) -> bool {
    desired.rejected.iter().any(|id| row.image.as_deref() == Some(id.as_str()))
}

fn is_usable(row: Option<&ImageRow>) -> bool {
    use crate::aws::ec2::ImageState::{Available, Pending, Unusable};
    match row.map(|row| &row.state) {
        Some(Available | Pending) => true,
        Some(Unusable(_)) | None => false,
    }
}

/// The times of `overridden_at` that still count.
pub(in super::super) fn recent(record: &LaunchTemplatePinStatus, now: Timestamp) -> Vec<Timestamp> {
    record.overridden_at.iter().map(|at| at.0).filter(|at| now.duration_since(*at) < FIGHT).collect()
}
