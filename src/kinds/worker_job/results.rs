//! What workers write about their indexes. Results are not trusted: one counts only below the job's own uid, and only
//! if its body has the index that its key has.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::ids::{InstanceId, Uid};

/// A result is two numbers; a larger object is not a result.
pub(super) const SIZE_LIMIT: u64 = 4096;
/// The maximum number of rejected objects that are remembered by name.
const NAMED: usize = 100;

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

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Results {
    told: BTreeMap<u32, BTreeMap<InstanceId, Told>>,
    /// The indexes at which each instance wrote results, including final indexes.
    places: BTreeMap<InstanceId, BTreeSet<u32>>,
    rejected: BTreeSet<String>,
    pub rejected_total: usize,
}

impl Results {
    /// Records that a result exists at `place`, whatever its content.
    pub(super) fn note(&mut self, place: &ResultKey) {
        self.places.entry(place.instance.clone()).or_default().insert(place.index);
    }

    pub(super) fn insert(&mut self, place: ResultKey, told: Told) {
        self.note(&place);
        self.told.entry(place.index).or_default().insert(place.instance, told);
    }

    /// Records an object that is not counted, and why.
    pub(super) fn reject(&mut self, key: &str, why: &Rejection) {
        self.rejected_total += 1;
        if self.rejected.len() < NAMED {
            self.rejected.insert(format!("{key}: {why}"));
        }
    }

    pub(super) fn rejected(&self) -> impl Iterator<Item = &str> {
        self.rejected.iter().map(String::as_str)
    }

    pub(super) fn of(&self, index: u32, instance: &InstanceId) -> Option<Told> {
        self.told.get(&index)?.get(instance).copied()
    }

    /// The results that count according to `judge`: of an index and an instance, what was told, and at how many indexes
    /// the same instance wrote a result.
    pub(super) fn only(self, folder: &str, mut judge: impl FnMut(u32, &InstanceId, Told, usize) -> Judgement) -> Self {
        let mut passed = Self { told: BTreeMap::new(), ..self };
        for (index, instances) in self.told {
            for (instance, told) in instances {
                let places = passed.places.get(&instance).map_or(0, BTreeSet::len);
                match judge(index, &instance, told, places) {
                    Judgement::Counts => passed.insert(ResultKey { index, instance }, told),
                    Judgement::Ignored => {}
                    Judgement::Rejected(why) => passed.reject(&format!("{folder}{index}/{instance}"), &why),
                }
            }
        }
        passed
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

/// Whether a result counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    Counts,
    /// It does not count now, and is not reported.
    Ignored,
    /// It does not count, and is reported.
    Rejected(Rejection),
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
    #[error("this instance wrote results at several indexes")]
    SeveralIndexes,
    #[error("this instance is not known to have been launched for this index")]
    NotKnown,
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
}
