//! What workers write about their indexes. Results are not trusted: one counts only below the job's own uid, if the
//! instance in its key was launched for the index in its key, and if its body has that index too.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::Deserialize;

use crate::{
    ids::{InstanceId, Uid},
    text::visible,
};

/// A result is two numbers; a larger object is not a result.
pub(super) const SIZE_LIMIT: u64 = 4096;
/// The maximum number of rejected objects that are remembered by name.
const NAMED: usize = 100;
/// The maximum number of instances that only keys name and that are remembered.
pub(super) const UNKNOWN: usize = 1000;
/// How much of a key is shown, in bytes: a prefix, a uid, an index and an instance id, and more.
const KEY_LIMIT: usize = 200;
/// How much of the reason is shown, in bytes: an error of AWS, and what to do.
const WHY_LIMIT: usize = 600;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Succeeded,
    Failed,
}

/// The key of a result: the index, and the instance that ran it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ResultKey {
    pub index: u32,
    pub instance: InstanceId,
}

impl fmt::Display for ResultKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.instance)
    }
}

/// What was read, with the tag of its content.
pub(super) type Content = (u64, Result<Told, Rejection>);
pub(super) type Cache = BTreeMap<ResultKey, Content>;

/// The results that count, and the objects that do not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Results {
    told: BTreeMap<u32, BTreeMap<InstanceId, Told>>,
    held: BTreeSet<u32>,
    /// Why the first of these are held, and why others are rejected. Many of the latter must not hide the former.
    refused: BTreeSet<String>,
    rejected: BTreeSet<String>,
    pub rejected_total: usize,
    /// Some of the instances that are not known to have been launched.
    pub unknown: BTreeSet<InstanceId>,
    /// There are more objects than were looked at.
    pub crowded: bool,
}

impl Results {
    pub(super) fn insert(&mut self, key: ResultKey, told: Told) {
        self.told.entry(key.index).or_default().insert(key.instance, told);
    }

    /// Records that the result of `index` may exist at `key` and cannot be read.
    pub(super) fn hold(&mut self, index: u32, key: &str, why: &Rejection) {
        self.held.insert(index);
        self.rejected_total += 1;
        name(&mut self.refused, key, why);
    }

    /// Records an object that is not counted, and why.
    pub(super) fn reject(&mut self, key: &str, why: &Rejection) {
        self.rejected_total += 1;
        name(&mut self.rejected, key, why);
    }

    /// Records that the instance of `key` is not known.
    pub(super) fn miss(&mut self, key: ResultKey) {
        if self.unknown.len() < UNKNOWN {
            self.unknown.insert(key.instance);
        }
    }

    pub(super) fn rejected(&self) -> impl Iterator<Item = &str> {
        self.refused.iter().chain(&self.rejected).map(String::as_str)
    }

    pub(super) fn of(&self, index: u32, instance: &InstanceId) -> Option<Told> {
        self.told.get(&index)?.get(instance).copied()
    }

    /// The indexes whose result may exist and cannot be read: they are neither counted nor run again.
    pub(super) fn held(&self) -> &BTreeSet<u32> {
        &self.held
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (ResultKey, Told)> {
        self.told.iter().flat_map(|(index, told)| {
            told.iter().map(|(instance, told)| (ResultKey { index: *index, instance: instance.clone() }, *told))
        })
    }

    pub(super) fn succeeded(&self) -> impl Iterator<Item = u32> {
        let succeeded = self.told.iter().filter(|(_, told)| told.values().any(|told| *told == Told::Succeeded));
        succeeded.map(|(index, _)| *index)
    }

    /// The failed indexes, with the instances that failed.
    pub(super) fn failed(&self) -> impl Iterator<Item = (u32, &InstanceId)> {
        self.told.iter().flat_map(|(index, told)| {
            told.iter().filter(|(_, told)| **told == Told::Failed).map(|(instance, _)| (*index, instance))
        })
    }
}

fn name(objects: &mut BTreeSet<String>, key: &str, why: &Rejection) {
    if objects.len() < NAMED {
        objects.insert(format!("{}: {}", visible(key, KEY_LIMIT), visible(&why.to_string(), WHY_LIMIT)));
    }
}

/// Why an object below a job's prefix does not count.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum Rejection {
    #[error("the key does not end in <index>/<instance id>")]
    NotAPlace,
    #[error("larger than {SIZE_LIMIT} bytes")]
    TooLarge,
    #[error("a document with parameters that muster wrote, not a result of a worker")]
    Parameters,
    #[error("not {{\"index\": <number>, \"exitCode\": <number>}}: {0}")]
    Unreadable(String),
    #[error("the body names index {0}")]
    WrongIndex(i64),
    #[error("this instance was launched for index {0}")]
    AnotherIndexIsItsOwn(u32),
    #[error("this instance is not known to have been launched for this index")]
    NotKnown,
    #[error("it cannot be read, so its index waits; {0}; or delete the object, and the index runs again")]
    Refused(String),
    #[error(
        "there are too many objects to find the result of this index, so it waits; delete those that are no results"
    )]
    Crowded,
}

/// The folder of one job's results. The uid separates jobs of the same name, including a re-created one.
pub(super) fn folder(prefix: Option<&str>, uid: &Uid) -> String {
    prefix.map_or_else(|| format!("{uid}/"), |prefix| format!("{prefix}/{uid}/"))
}

/// Parses the part of a key that follows the folder.
pub(super) fn place(rest: &str, completions: u32) -> Result<ResultKey, Rejection> {
    let (index, instance) = rest.split_once('/').ok_or(Rejection::NotAPlace)?;
    // Only the canonical form of a number is accepted, so that each index has one key.
    let number = index.parse::<u32>().ok().filter(|number| number.to_string() == index && *number < completions);
    let instance = InstanceId::try_from(instance).ok();
    number.zip(instance).map(|(index, instance)| ResultKey { index, instance }).ok_or(Rejection::NotAPlace)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    index: i64,
    exit_code: i64,
}

/// Parses what a worker wrote at `place`.
pub(super) fn told(place: &ResultKey, body: &[u8]) -> Result<Told, Rejection> {
    let body: Body = serde_json::from_slice(body).map_err(|error| Rejection::Unreadable(error.to_string()))?;
    if body.index != i64::from(place.index) {
        return Err(Rejection::WrongIndex(body.index));
    }
    Ok(if body.exit_code == 0 { Told::Succeeded } else { Told::Failed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::worker_job::sample::{UID, result, uid};

    #[test]
    fn a_result_key_contains_an_index_of_the_job_and_an_instance_id() {
        assert_eq!(place("7/i-0000000a", 8), Ok(result(7, 10)));
        for wrong in [
            "7",
            "7/",
            "/i-0000000a",
            "8/i-0000000a",
            "07/i-0000000a",
            "+7/i-0000000a",
            "7/web",
            "7/i-0000000a/x",
            "7/8/i-0000000a",
        ] {
            assert_eq!(place(wrong, 8), Err(Rejection::NotAPlace), "{wrong}");
        }
    }

    #[test]
    fn a_result_counts_only_if_it_matches_its_key() {
        for (body, expected) in [
            (r#"{"index": 7, "exitCode": 0}"#, Ok(Told::Succeeded)),
            (r#"{"index": 7, "exitCode": 3, "host": "x"}"#, Ok(Told::Failed)),
            (r#"{"index": 7, "exitCode": -1}"#, Ok(Told::Failed)),
            (r#"{"index": 6, "exitCode": 0}"#, Err(Rejection::WrongIndex(6))),
        ] {
            assert_eq!(told(&result(7, 10), body.as_bytes()), expected, "{body}");
        }
        for body in
            ["", "{}", "0", r#"{"index": 7}"#, r#"{"index": 7, "exitCode": 0} x"#, r#"{"index": "7", "exitCode": 0}"#]
        {
            assert!(matches!(told(&result(7, 10), body.as_bytes()), Err(Rejection::Unreadable(_))), "{body}");
        }
    }

    #[test]
    fn each_job_has_a_folder_of_its_own() {
        let uid = uid(UID);
        assert_eq!(folder(None, &uid), format!("{uid}/"));
        assert_eq!(folder(Some("results/nightly"), &uid), format!("results/nightly/{uid}/"));
    }

    #[test]
    fn some_of_many_rejected_objects_are_named() {
        let mut results = Results::default();
        (0..1000).for_each(|n| results.reject(&format!("{n}"), &Rejection::NotAPlace));
        assert_eq!((results.rejected().count(), results.rejected_total), (NAMED, 1000));
    }

    #[test]
    fn the_key_of_a_rejected_object_is_escaped_and_cut() {
        let mut results = Results::default();
        results.reject("nightly/\u{1b}[2J\n\u{202e}7", &Rejection::NotAPlace);
        results.reject(&"x".repeat(1000), &Rejection::NotAPlace);
        let named: Vec<_> = results.rejected().collect();
        assert!(named[0].starts_with(r"nightly/\u{1b}[2J\n\u{202e}7: the key"), "{named:?}");
        assert!(named[1].starts_with("xxx") && named[1].len() < 300, "{named:?}");
    }
}
