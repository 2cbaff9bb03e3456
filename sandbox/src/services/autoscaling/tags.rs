//! `Tags` in requests.

use std::collections::BTreeMap;

use super::call::{invalid, items, required};
use crate::error::ApiError;
use crate::protocol::params::Scope;
use crate::state::autoscaling::group::GroupTag;
use crate::state::ec2::tags;

/// A tag and the group that it names.
pub(super) struct AskedTag<'a> {
    pub(super) group: Option<&'a str>,
    pub(super) key: &'a str,
    pub(super) tag: GroupTag,
}

pub(super) fn read<'a>(root: &Scope<'a>) -> Result<Vec<AskedTag<'a>>, ApiError> {
    let read = |scope: &Scope<'a>| {
        let (key, value) = (required(scope, "Key")?, scope.text("Value").unwrap_or_default());
        tags::check(key, value)?;
        if scope.text("ResourceType").is_some_and(|kind| kind != "auto-scaling-group") {
            return Err(invalid("The resource type of a tag must be auto-scaling-group."));
        }
        let propagate_at_launch = scope.boolean("PropagateAtLaunch")?.unwrap_or(false);
        let tag = GroupTag { value: value.to_owned(), propagate_at_launch };
        Ok(AskedTag { group: scope.text("ResourceId"), key, tag })
    };
    items(root, "Tags").iter().map(read).collect()
}

pub(super) fn check_count(tags: &BTreeMap<String, GroupTag>) -> Result<(), ApiError> {
    tags::check_count(tags.len()).map_err(|error| ApiError::new("LimitExceeded", error.message))
}
