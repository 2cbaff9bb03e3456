//! Tags and what EC2 takes as one.

use std::collections::BTreeMap;

use crate::error::ApiError;
use crate::protocol::params::{Scope, invalid, missing};
use crate::protocol::xml::Xml;

pub(crate) type Tags = BTreeMap<String, String>;

const MAX_TAGS: usize = 50;
const MAX_KEY: usize = 128;
const MAX_VALUE: usize = 256;

/// Reads `Tag.N.Key` and `Tag.N.Value`.
pub(crate) fn read(scope: &Scope<'_>) -> Result<Tags, ApiError> {
    let mut tags = Tags::new();
    for tag in scope.items("Tag") {
        let key = tag.text("Key").ok_or_else(|| missing(&tag.name("Key")))?;
        let value = tag.text("Value").unwrap_or_default();
        check(key, value)?;
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(invalid(format!("Duplicate tag key '{key}' specified.")));
        }
    }
    check_count(tags.len())?;
    Ok(tags)
}

pub(crate) fn check(key: &str, value: &str) -> Result<(), ApiError> {
    if key.is_empty() {
        return Err(invalid("Tag key cannot be empty."));
    }
    if key.to_ascii_lowercase().starts_with("aws:") {
        return Err(invalid("Tag keys starting with 'aws:' are reserved for internal use"));
    }
    if key.chars().count() > MAX_KEY {
        return Err(invalid(format!("Tag key exceeds the maximum length of {MAX_KEY} characters.")));
    }
    if value.chars().count() > MAX_VALUE {
        return Err(invalid(format!("Tag value exceeds the maximum length of {MAX_VALUE} characters.")));
    }
    Ok(())
}

pub(crate) fn check_count(count: usize) -> Result<(), ApiError> {
    if count > MAX_TAGS {
        return Err(ApiError::new("TagLimitExceeded", "Maximum number of tags for this resource reached."));
    }
    Ok(())
}

/// Keys become paths below `/latest/meta-data/tags/instance/`, so EC2 takes fewer of them.
pub(crate) fn check_for_metadata<'a>(keys: impl IntoIterator<Item = &'a String>) -> Result<(), ApiError> {
    let allowed = |key: &str| {
        key.chars().all(|c| c.is_ascii_alphanumeric() || "-_+=,.@:".contains(c))
            && !matches!(key, "." | ".." | "_index")
    };
    match keys.into_iter().find(|key| !allowed(key)) {
        Some(key) => Err(invalid(format!(
            "'{key}' is not a valid tag key. Tag keys must match pattern ([0-9a-zA-Z\\-_+=,.@:]{{1,255}}), and must not \
             be a reserved name ('.', '..', '_index')"
        ))),
        None => Ok(()),
    }
}

pub(crate) fn owned((key, value): (&String, &String)) -> (String, String) {
    (key.clone(), value.clone())
}

/// `<tagSet>`, which EC2 leaves out where there are no tags.
pub(crate) fn write(xml: &mut Xml, tags: &Tags) {
    if tags.is_empty() {
        return;
    }
    xml.list("tagSet", tags, |xml, (key, value)| {
        xml.text("key", key);
        xml.text("value", value);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_metadata_cannot_serve_are_refused() {
        for (key, good) in [
            ("muster.dev:owner-uid", true),
            ("Name", true),
            ("a/b", false),
            ("two words", false),
            ("..", false),
            ("_index", false),
            ("schlüssel", false),
        ] {
            assert_eq!(check_for_metadata([&key.to_owned()]).is_ok(), good, "{key}");
        }
    }

    #[test]
    fn reserved_empty_and_long_tags_are_refused() {
        for (key, value, good) in [
            ("a", "", true),
            ("two words/and a slash", "v", true),
            ("", "v", false),
            ("aws:x", "v", false),
            ("AWS:x", "v", false),
            (&"k".repeat(129), "v", false),
            ("k", &"v".repeat(257), false),
        ] {
            assert_eq!(check(key, value).is_ok(), good, "{key}={value}");
        }
    }
}
