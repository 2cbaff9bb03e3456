//! How far the work of an object with indexes is: the part of its record that says what need not be done again.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ids::InstanceId, workers::indexes::Indexes};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The indexes that succeeded.
    pub completed: Indexes,
    /// The indexes that are not run again.
    pub failed: Indexes,
    /// How often the others failed so far; never 0.
    pub failures: BTreeMap<u32, u32>,
    /// Who holds which index, `None` where nobody knows, also of those on their way out. What a process that starts believes
    /// to be there.
    pub holders: BTreeMap<InstanceId, Option<u32>>,
    /// Some worker told a result of an index that was not its own.
    pub misplaced: bool,
    /// How many more hold one, of whom there is no room to tell.
    pub unlisted: u32,
    pub started: Option<Timestamp>,
    pub finished: Option<Finish>,
}

/// How and when the work ended. Nothing changes it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finish {
    pub outcome: JobOutcome,
    pub at: Timestamp,
}

/// How a job finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum JobOutcome {
    /// All indexes succeeded.
    Complete,
    /// Every index was run, and some failed.
    FailedIndexes,
    /// More indexes failed than `maxFailedIndexes` allows.
    MaxFailedIndexesExceeded,
    /// It took longer than `activeDeadlineSeconds`.
    DeadlineExceeded,
}

impl Progress {
    /// Whether nothing is to be done about `index` any more.
    pub fn is_final(&self, index: u32) -> bool {
        self.completed.contains(index) || self.failed.contains(index)
    }

    /// About how many bytes it takes in a status, without the holders.
    pub fn size(&self) -> usize {
        let failing: Indexes = self.failures.keys().copied().collect();
        [&self.completed, &self.failed, &failing].into_iter().map(|set| set.to_string().len()).sum()
    }
}
