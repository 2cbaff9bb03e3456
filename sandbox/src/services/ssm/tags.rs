//! Tags of parameters and what Systems Manager takes as one.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::validation::{constraint, validation};
use crate::error::ApiError;
use crate::state::ssm::{Parameter, Store};

const MAX_TAGS: usize = 50;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Tag {
    key: String,
    value: String,
}

pub(super) fn read(tags: Vec<Tag>) -> Result<BTreeMap<String, String>, ApiError> {
    let mut read = BTreeMap::new();
    for Tag { key, value } in tags {
        let allowed = |c: char| c.is_alphanumeric() || c.is_whitespace() || "_.:/=+-@".contains(c);
        let pattern = "Member must satisfy regular expression pattern: ^([\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*)$";
        if key.is_empty() || key.chars().count() > 128 || !key.chars().all(allowed) {
            return Err(constraint(&key, "tags.member.key", pattern));
        }
        if value.chars().count() > 256 || !value.chars().all(allowed) {
            return Err(constraint(&value, "tags.member.value", pattern));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(validation("aws: prefixed tag key names are not allowed for external use."));
        }
        if read.insert(key, value).is_some() {
            return Err(validation("Duplicate tag keys are not allowed."));
        }
    }
    Ok(read)
}

pub(super) fn add(to: &mut BTreeMap<String, String>, tags: BTreeMap<String, String>) -> Result<(), ApiError> {
    let mut all = to.clone();
    all.extend(tags);
    if all.len() > MAX_TAGS {
        return Err(ApiError::new("TooManyTagsError", "The number of tags is over the limit for this resource."));
    }
    *to = all;
    Ok(())
}

/// The parameter that a call about tags names.
pub(super) fn resource<'a>(store: &'a mut Store<'_>, kind: &str, id: &str) -> Result<&'a mut Parameter, ApiError> {
    if kind != "Parameter" {
        let message = format!("The sandbox has no resources of the type {kind:?}, only parameters.");
        return Err(ApiError::new("InvalidResourceType", message));
    }
    store.own.get_mut(id).ok_or_else(|| ApiError::new("InvalidResourceId", "The resource ID is not valid."))
}
