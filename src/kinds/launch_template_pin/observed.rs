//! What AWS shows of a launch template, its images and its groups.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    aws::{
        Error,
        autoscaling::{
            RefreshRow,
            group::{GroupRow, Member},
        },
        ec2::{
            ImageRow, NewestImages,
            template_versions::{TemplateHead, VersionRow},
        },
    },
    crd::launch_template_pin::Follow,
    ids::Uid,
    inventory::instances::Groups,
    tags::OWNER_UID_TAG,
};

#[derive(Clone, Debug)]
pub(super) struct Observed {
    pub(super) template: TemplateHead,
    /// Another object of this process that manages the launch template, if it has no tag yet.
    pub(super) claimed_here: Option<Uid>,
    /// The newest first.
    pub(super) versions: Vec<VersionRow>,
    /// What the selector matches; `None` if the spec has none.
    pub(super) images: Option<NewestImages>,
    /// The image that the groups run now, if it was looked up. `Some(None)`: it does not exist any more.
    pub(super) current: Option<Option<ImageRow>>,
    /// The groups that should follow, by name.
    pub(super) groups: BTreeMap<String, Group>,
    /// Groups that the spec names and that do not exist.
    pub(super) absent: Vec<String>,
    /// How many groups have the tags of the selector and are not granted.
    pub(super) ungranted: usize,
    /// How many groups are more than one object may change.
    pub(super) left_out: usize,
    /// All groups of the region; `None` if no group matters.
    pub(super) swept: Option<Arc<Groups>>,
    /// The versions that any group of the region names or runs, or where a refresh leads one.
    pub(super) of_groups: BTreeSet<i64>,
    /// Why it is not known where refreshes lead the groups of others. Then no version is deleted.
    pub(super) unread_refreshes: Option<Error>,
    /// The versions that instances run; `None` if they were not read.
    pub(super) running: Option<BTreeSet<i64>>,
    /// The versions that WorkerFleets and WorkerJobs name; `None` if not all are known.
    pub(super) of_fleets: Option<BTreeSet<i64>>,
}

/// A group that should follow the launch template.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) row: GroupRow,
    pub(super) follow: Follow,
    /// Its last refreshes, the newest first; `None` if they were not read.
    pub(super) refreshes: Option<Vec<RefreshRow>>,
    /// Why they could not be read.
    pub(super) unreadable: Option<Error>,
}

impl Observed {
    /// The uid of the object that manages the launch template: its tag says so, or will.
    pub(super) fn claimed_by(&self) -> Option<&str> {
        let tagged = self.template.tags.get(OWNER_UID_TAG).map(String::as_str);
        tagged.or_else(|| self.claimed_here.as_ref().map(Uid::as_str))
    }

    pub(super) fn version(&self, number: i64) -> Option<&VersionRow> {
        self.versions.iter().find(|row| row.version == number)
    }
}

/// The number that `version` refers to.
pub(super) fn resolve(template: &TemplateHead, version: &str) -> Option<i64> {
    match version {
        "$Latest" => Some(template.latest),
        "$Default" => Some(template.default),
        number => number.parse().ok(),
    }
}

impl Group {
    /// How many of its instances were launched from something else than this version of the launch template.
    pub(super) fn outdated(&self, template: &TemplateHead, version: i64) -> usize {
        let is_outdated = |member: &&Member| match &member.template {
            Some((id, of)) if *id == template.id => *of != version,
            // An override may name another launch template. What the group does not name, it had before.
            Some((id, _)) => !self.row.places.iter().any(|place| place.id.as_ref() == Some(id)),
            None => true,
        };
        self.row.instances.iter().filter(|member| member.stays).filter(is_outdated).count()
    }
}

/// The beginning of the description of all versions that the object with this uid makes.
pub(super) fn marker(uid: &Uid) -> String {
    format!("muster.dev {uid} ")
}
