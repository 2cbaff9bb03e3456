//! What workers write about their indexes, read with suspicion: only a result under the job's own uid counts, and only if
//! it says what its place says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::Deserialize;

use crate::ids::{InstanceId, Uid};

/// A result is two numbers; what is larger than this is something else.
pub(super) const SIZE_LIMIT: u64 = 4096;
/// So many objects that do not count are remembered by name.
const NAMED: usize = 100;

/// What a result says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Succeeded,
    Failed,
}

/// The place of a result: which index, and who ran it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub index: u32,
    pub instance: InstanceId,
}

/// All results of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Results {
    told: BTreeMap<u32, BTreeMap<InstanceId, Told>>,
    /// Who wrote results, and at which indexes, those that need no result any more included.
    places: BTreeMap<InstanceId, BTreeSet<u32>>,
    rejected: BTreeSet<String>,
    pub rejected_total: usize,
}

impl Results {
    /// Takes note that there is a result at `place`, whatever it says.
    pub(super) fn note(&mut self, place: &Place) {
        self.places.entry(place.instance.clone()).or_default().insert(place.index);
    }

    pub(super) fn insert(&mut self, place: Place, told: Told) {
        self.note(&place);
        self.told.entry(place.index).or_default().insert(place.instance, told);
    }

    /// Names an object that does not count, and why.
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

    /// Those that `judge` lets pass.
    pub(super) fn only(self, folder: &str, mut judge: impl FnMut(&Claim<'_>) -> Judgement) -> Self {
        let mut passed = Self { told: BTreeMap::new(), ..self };
        for (index, instances) in self.told {
            for (instance, told) in instances {
                let places = passed.places.get(&instance).map_or(0, BTreeSet::len);
                match judge(&Claim { index, instance: &instance, told, places }) {
                    Judgement::Counts => passed.insert(Place { index, instance }, told),
                    Judgement::Ignored => {}
                    Judgement::Rejected(why) => passed.reject(&format!("{folder}{index}/{instance}"), &why),
                }
            }
        }
        passed
    }

    pub(super) fn succeeded(&self) -> impl Iterator<Item = u32> {
        let any = |told: &BTreeMap<InstanceId, Told>| told.values().any(|told| *told == Told::Succeeded);
        self.told.iter().filter(move |(_, told)| any(told)).map(|(index, _)| *index)
    }

    /// Who failed at which index.
    pub(super) fn failed(&self) -> impl Iterator<Item = (u32, &InstanceId)> {
        self.told.iter().flat_map(|(index, told)| {
            told.iter().filter(|(_, told)| **told == Told::Failed).map(|(instance, _)| (*index, instance))
        })
    }
}

/// A result, as far as it says itself whose it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim<'a> {
    pub index: u32,
    pub instance: &'a InstanceId,
    pub told: Told,
    /// At how many indexes the same machine wrote one.
    pub places: usize,
}

/// What becomes of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    Counts,
    /// It does not count now, and there is nothing to say about it.
    Ignored,
    /// It does not count and is named.
    Rejected(Rejection),
}

/// Why an object under a job's prefix does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rejection {
    NotAPlace,
    TooLarge,
    Unreadable(String),
    WrongIndex(i64),
    AnotherIndexIsItsOwn(u32),
    SeveralIndexes,
    NotKnown,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAPlace => write!(f, "the key does not end in <index>/<instance id>"),
            Self::TooLarge => write!(f, "larger than {SIZE_LIMIT} bytes"),
            Self::Unreadable(why) => write!(f, "not {{\"index\": <number>, \"exitCode\": <number>}}: {why}"),
            Self::WrongIndex(index) => write!(f, "it says index {index}"),
            Self::SeveralIndexes => write!(f, "this instance wrote results at several indexes"),
            Self::NotKnown => write!(f, "it is not known that this instance was launched for this index"),
            Self::AnotherIndexIsItsOwn(index) => write!(f, "this instance was launched for index {index}"),
        }
    }
}

/// Where the results of one job are. The uid keeps jobs of the same name apart, also one that was made again.
pub(super) fn folder(prefix: Option<&str>, uid: &Uid) -> String {
    prefix.map_or_else(|| format!("{uid}/"), |prefix| format!("{prefix}/{uid}/"))
}

/// Reads what follows the folder in a key.
pub(super) fn place(rest: &str, completions: u32) -> Result<Place, Rejection> {
    let (index, instance) = rest.split_once('/').ok_or(Rejection::NotAPlace)?;
    // One way to write each number, so that no index has two places.
    let number = index.parse::<u32>().ok().filter(|number| number.to_string() == index && *number < completions);
    let instance = InstanceId::try_from(instance).ok();
    number.zip(instance).map(|(index, instance)| Place { index, instance }).ok_or(Rejection::NotAPlace)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    index: i64,
    exit_code: i64,
}

/// Reads what a worker wrote at `place`.
pub(super) fn told(place: &Place, body: &[u8]) -> Result<Told, Rejection> {
    let body: Body = serde_json::from_slice(body).map_err(|error| Rejection::Unreadable(error.to_string()))?;
    if body.index != i64::from(place.index) {
        return Err(Rejection::WrongIndex(body.index));
    }
    Ok(if body.exit_code == 0 { Told::Succeeded } else { Told::Failed })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(index: u32) -> Place {
        Place { index, instance: InstanceId::try_from("i-0000000a").unwrap() }
    }

    #[test]
    fn a_place_is_an_index_of_the_job_and_an_instance() {
        assert_eq!(place("7/i-0000000a", 8), Ok(at(7)));
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
    fn a_result_counts_only_if_it_says_what_its_place_says() {
        for (body, expected) in [
            (r#"{"index": 7, "exitCode": 0}"#, Ok(Told::Succeeded)),
            (r#"{"index": 7, "exitCode": 3, "host": "x"}"#, Ok(Told::Failed)),
            (r#"{"index": 7, "exitCode": -1}"#, Ok(Told::Failed)),
            (r#"{"index": 6, "exitCode": 0}"#, Err(Rejection::WrongIndex(6))),
        ] {
            assert_eq!(told(&at(7), body.as_bytes()), expected, "{body}");
        }
        for body in
            ["", "{}", "0", r#"{"index": 7}"#, r#"{"index": 7, "exitCode": 0} x"#, r#"{"index": "7", "exitCode": 0}"#]
        {
            assert!(matches!(told(&at(7), body.as_bytes()), Err(Rejection::Unreadable(_))), "{body}");
        }
    }

    #[test]
    fn each_job_has_a_folder_of_its_own() {
        let uid = Uid::try_from("6b4d2a3e-9d0c-4f6e-8f0e-1f7a2b3c4d5e").unwrap();
        assert_eq!(folder(None, &uid), format!("{uid}/"));
        assert_eq!(folder(Some("results/nightly"), &uid), format!("results/nightly/{uid}/"));
    }

    #[test]
    fn of_many_objects_that_do_not_count_some_are_named() {
        let mut results = Results::default();
        (0..1000).for_each(|n| results.reject(&format!("{n}"), &Rejection::NotAPlace));
        assert_eq!((results.rejected().count(), results.rejected_total), (NAMED, 1000));
    }
}
