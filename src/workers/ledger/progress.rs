//! The progress of an object with indexes: the part of its record that prevents repeated work.

use std::{collections::BTreeMap, fmt};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::{
    crd::{
        indexes::{Indexes, MAX_INDEXES},
        worker_job::JobOutcome,
    },
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
    /// The instance of each index that is not final, if `holders` does not have it: it did not fit, or it has ended and
    /// its result could not be read.
    pub sealed: BTreeMap<u32, Seal>,
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

    /// Whether the seal of `index` is that of `instance`.
    pub fn is_sealed(&self, index: u32, instance: &InstanceId) -> bool {
        self.sealed.get(&index) == Some(&Seal::new(index, instance))
    }

    /// Its approximate size in a status in bytes, without the holders.
    pub fn size(&self) -> usize {
        let failing: Indexes = self.failures.keys().copied().collect();
        let lists: usize = [&self.completed, &self.failed, &failing].into_iter().map(|set| set.to_string().len()).sum();
        lists + self.sealed_text().len()
    }

    /// The seals as the status stores them: of each index that is not final, in order, the seal, or a dot.
    pub fn sealed_text(&self) -> String {
        let Some(last) = self.sealed.keys().next_back() else { return String::new() };
        let open = (0..=*last).filter(|index| !self.is_final(*index));
        open.map(|index| self.sealed.get(&index).map_or(NO_SEAL.into(), ToString::to_string)).collect()
    }

    /// Reads what [`Progress::sealed_text`] wrote with the same final indexes.
    pub fn with_sealed_text(mut self, text: &str) -> Self {
        let mut rest = text;
        for index in 0..MAX_INDEXES {
            if self.is_final(index) {
                continue;
            }
            match rest.strip_prefix(NO_SEAL) {
                Some(others) => rest = others,
                None => {
                    let Some((seal, others)) = rest.split_at_checked(SEAL_LENGTH) else { break };
                    let Some(seal) = Seal::parse(seal) else { break };
                    self.sealed.insert(index, seal);
                    rest = others;
                }
            }
        }
        self
    }
}

const NO_SEAL: &str = ".";
const SEAL_LENGTH: usize = 4;

/// A digest of the id of the instance that was launched for an index. It is short, so that a status has room for ten
/// thousand, and long enough that a worker that cannot read the status cannot guess an id that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal([u8; 3]);

impl Seal {
    pub fn new(index: u32, instance: &InstanceId) -> Self {
        let digest = Sha256::digest(format!("{index}/{instance}"));
        Self([digest[0], digest[1], digest[2]])
    }

    fn parse(text: &str) -> Option<Self> {
        Some(Self(BASE64_URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?))
    }
}

impl fmt::Display for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_URL_SAFE_NO_PAD.encode(self.0))
    }
}
