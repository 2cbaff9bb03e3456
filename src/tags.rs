//! The tags of the resources that muster creates in AWS.

use std::collections::BTreeMap;

/// The prefix of all tags of muster, which tags of users must not have.
pub const TAG_PREFIX: &str = "muster.dev:";
pub const CLUSTER_TAG: &str = "muster.dev:cluster";
/// Namespace and name of the owner if it is a WorkerFleet.
pub const FLEET_TAG: &str = "muster.dev:fleet";
/// Namespace and name of the owner if it is a WorkerJob. A separate tag, because a fleet and a job can have the same
/// name.
pub const JOB_TAG: &str = "muster.dev:job";
/// The tags that name an owner, one for each kind that runs workers.
pub const OWNER_TAGS: [&str; 2] = [FLEET_TAG, JOB_TAG];
pub const OWNER_UID_TAG: &str = "muster.dev:owner-uid";
/// The role of the instance.
pub const ROLE_TAG: &str = "muster.dev:role";
pub const REVISION_TAG: &str = "muster.dev:revision";
/// The indexes that the instances of one launch run, as a list of ranges.
pub const INDEXES_TAG: &str = "muster.dev:indexes";
/// Where an instance writes the result of its index.
pub const RESULT_TAG: &str = "muster.dev:result";

/// Namespace and name of the owner that `tags` name.
pub fn owner(tags: &BTreeMap<String, String>) -> Option<&str> {
    OWNER_TAGS.iter().find_map(|tag| tags.get(*tag)).map(String::as_str)
}

/// The value of a tag for a message. Whoever may tag instances writes it, so it is escaped and cut.
pub fn quoted(value: &str) -> String {
    const SHOWN: usize = 64;
    match value.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}...", &value[..end]),
        None => format!("{value:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_value_is_one_line_of_visible_text() {
        for (value, expected) in
            [("main", r#""main""#), ("a\nb\u{1b}[1m\"", r#""a\nb\u{1b}[1m\"""#), ("\u{202e}nope", r#""\u{202e}nope""#)]
        {
            assert_eq!(quoted(value), expected);
        }
        assert_eq!(quoted(&"é".repeat(65)), format!("\"{}\"...", "é".repeat(64)));
    }
}
