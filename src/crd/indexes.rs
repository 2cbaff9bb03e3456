//! Sets of indexes, written like `completedIndexes` of a Kubernetes Job: `1,3-5,7`.

use std::{borrow::Cow, collections::BTreeSet, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The maximum number of indexes of a job.
pub const MAX_INDEXES: u32 = 10_000;
/// No set below [`MAX_INDEXES`] is longer: each index on its own, with a comma.
const MAX_LENGTH: usize = 50_000;
/// The maximum length of the value of an EC2 tag.
const TAG_VALUE: usize = 256;

/// A set of indexes of a job.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Indexes(BTreeSet<u32>);

/// The text is not a list of ranges.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a list of indexes below {MAX_INDEXES} like 1,3-5,7")]
pub struct InvalidIndexes(String);

impl Indexes {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(MAX_INDEXES)
    }

    pub fn contains(&self, index: u32) -> bool {
        self.0.contains(&index)
    }

    pub fn insert(&mut self, index: u32) -> bool {
        self.0.insert(index)
    }

    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().copied()
    }

    /// The index at position `place`, counted from 0: an instance finds its own index by its launch index.
    pub fn nth(&self, place: u32) -> Option<u32> {
        self.iter().nth(usize::try_from(place).ok()?)
    }

    fn ranges(&self) -> Vec<(u32, u32)> {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for index in self.iter() {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == index => *last = index,
                Some(_) | None => ranges.push((index, index)),
            }
        }
        ranges
    }

    /// Splits `indexes`, which are sorted, into sets of at most `most` indexes whose text fits into a tag.
    pub fn for_tags(indexes: &[u32], most: u32) -> Vec<Self> {
        let mut sets: Vec<Self> = Vec::new();
        for index in indexes {
            let fits = |set: &mut Self| {
                if set.len() >= most {
                    return false;
                }
                set.insert(*index);
                let fits = set.to_string().len() <= TAG_VALUE;
                if !fits {
                    set.0.remove(index);
                }
                fits
            };
            if !sets.last_mut().is_some_and(fits) {
                sets.push(Self(BTreeSet::from([*index])));
            }
        }
        sets
    }
}

impl FromIterator<u32> for Indexes {
    fn from_iter<I: IntoIterator<Item = u32>>(indexes: I) -> Self {
        Self(indexes.into_iter().collect())
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (first, last)) in self.ranges().into_iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

impl FromStr for Indexes {
    type Err = InvalidIndexes;

    fn from_str(text: &str) -> Result<Self, InvalidIndexes> {
        let invalid = || InvalidIndexes(text.chars().take(100).collect());
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.len() <= 5 && digits.bytes().all(|b| b.is_ascii_digit());
            let number = digits.parse::<u32>().ok().filter(|number| plain && *number < MAX_INDEXES);
            number.ok_or_else(invalid)
        };
        let mut indexes = BTreeSet::new();
        for range in text.split(',').filter(|_| !text.is_empty()) {
            let (first, last) = match range.split_once('-') {
                Some((first, last)) => (number(first)?, number(last)?),
                None => (number(range)?, number(range)?),
            };
            // Sorted and without duplicates, so that each launch index has one position.
            if last < first || indexes.last().is_some_and(|before| *before >= first) {
                return Err(invalid());
            }
            indexes.extend(first..=last);
        }
        Ok(Self(indexes))
    }
}

impl TryFrom<String> for Indexes {
    type Error = InvalidIndexes;

    fn try_from(text: String) -> Result<Self, InvalidIndexes> {
        text.parse()
    }
}

impl From<Indexes> for String {
    fn from(indexes: Indexes) -> Self {
        indexes.to_string()
    }
}

impl JsonSchema for Indexes {
    fn schema_name() -> Cow<'static, str> {
        "Indexes".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "maxLength": MAX_LENGTH})
    }
}

/// The beginning of a list of indexes.
pub fn clip(indexes: &str) -> String {
    const MOST: usize = 200;
    match indexes.get(..MOST) {
        Some(start) => format!("{}, ...", start.rsplit_once(',').map_or(start, |(whole, _)| whole)),
        None => indexes.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(indexes: &[u32]) -> Indexes {
        indexes.iter().copied().collect()
    }

    #[test]
    fn three_or_more_in_a_row_are_written_as_a_range() {
        for (indexes, text) in [
            (&[][..], ""),
            (&[0], "0"),
            (&[3, 4], "3,4"),
            (&[1, 3, 4, 5, 7], "1,3-5,7"),
            (&[0, 1, 2, 3, 4, 6], "0-4,6"),
        ] {
            assert_eq!(set(indexes).to_string(), text);
            assert_eq!(text.parse(), Ok(set(indexes)));
        }
    }

    #[test]
    fn unsorted_and_out_of_range_indexes_are_rejected() {
        let malformed = [",", "1,", ",1", "-", "1-", "-1", "+1", "0x1", " 1", "1 ", "a"];
        let unordered = ["2-1", "1,1", "3,1", "1-3,2"];
        let out_of_bounds = ["10000", "0-4294967295", "00000001"];
        for text in malformed.iter().chain(&unordered).chain(&out_of_bounds) {
            assert!(text.parse::<Indexes>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_launch_index_selects_its_job_index() {
        let indexes = set(&[1, 3, 4, 5, 7]);
        let picked: Vec<_> = (0..6).map(|place| indexes.nth(place)).collect();
        assert_eq!(picked, [Some(1), Some(3), Some(4), Some(5), Some(7), None]);
    }

    #[test]
    fn the_longest_text_is_within_the_limit() {
        let every_other: Indexes = (0..MAX_INDEXES).step_by(2).collect();
        let in_pairs: Indexes = (0..MAX_INDEXES).filter(|n| n % 3 != 0).collect();
        for indexes in [every_other, in_pairs] {
            assert!(indexes.to_string().len() < MAX_LENGTH);
        }
    }

    proptest! {
        #[test]
        fn indexes_survive_a_round_trip(indexes in prop::collection::btree_set(0..MAX_INDEXES, 0..300)) {
            let indexes = Indexes(indexes);
            prop_assert_eq!(indexes.to_string().parse::<Indexes>(), Ok(indexes));
        }

        #[test]
        fn parsing_never_panics(text in "[0-9,-]{0,30}") {
            if let Ok(indexes) = text.parse::<Indexes>() {
                prop_assert!(indexes.iter().all(|index| index < MAX_INDEXES));
            }
        }

        #[test]
        fn indexes_split_for_tags_fit_and_are_complete(
            indexes in prop::collection::btree_set(0..MAX_INDEXES, 0..400), most in 1u32..=100
        ) {
            let indexes: Vec<_> = indexes.into_iter().collect();
            let sets = Indexes::for_tags(&indexes, most);
            prop_assert!(sets.iter().all(|set| set.len() <= most && set.to_string().len() <= TAG_VALUE));
            prop_assert!(sets.iter().all(|set| !set.is_empty()));
            let all: Vec<_> = sets.iter().flat_map(Indexes::iter).collect();
            prop_assert_eq!(all, indexes);
        }
    }
}
