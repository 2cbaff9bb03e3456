//! The progress of an object with indexes: the part of its record that prevents repeated work.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    crd::{indexes::Indexes, worker_job::JobOutcome},
    ids::InstanceId,
};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The indexes that succeeded.
    pub completed: Indexes,
    /// The indexes that are not run again.
    pub failed: Indexes,
    /// How often each other index failed; never 0.
    pub failures: BTreeMap<u32, u32>,
    /// The index of each instance, terminating ones included; `None` if unknown. A new process assumes these to exist.
    pub holders: BTreeMap<InstanceId, Option<u32>>,
    /// A worker reported a result for an index that was not its own.
    pub misplaced: bool,
    /// How many more instances hold an index than fit into the record.
    pub unlisted: u32,
    pub started: Option<Timestamp>,
    pub finished: Option<Finish>,
}

/// How and when the work ended. It is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finish {
    pub outcome: JobOutcome,
    pub at: Timestamp,
}

impl Progress {
    /// Whether `index` needs no more work.
    pub fn is_final(&self, index: u32) -> bool {
        self.completed.contains(index) || self.failed.contains(index)
    }

    /// Its approximate size in a status in bytes, without the holders.
    pub fn size(&self) -> usize {
        let failing: Indexes = self.failures.keys().copied().collect();
        [&self.completed, &self.failed, &failing].into_iter().map(|set| set.to_string().len()).sum()
    }
}
