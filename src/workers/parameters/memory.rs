//! What this process knows of the parameters of each object. A process without it only compares the store once more.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use crate::{
    ids::Uid,
    k8s::sources::Source,
    workers::parameters::{plan::RoleValues, problem::Held, synced::Synced, values::Values},
};

#[derive(Debug, Default)]
pub struct Memory {
    /// Since when the source of a value is missing.
    pub(super) missing_since: Option<Instant>,
    /// The last comparison with the store.
    pub(super) last: Option<Comparison>,
    /// The last values that the store had.
    pub(super) verified: Option<Verified>,
    /// Whether parameters differ from the store, and other objects write first.
    pub(super) waits_to_write: bool,
    /// The hashes of values without a secret.
    plain: BTreeSet<String>,
    /// Whether any values of the object held a secret. Workers may read it from Parameter Store when they boot again.
    had_secret: bool,
}

/// How many hashes are remembered before they are forgotten.
const REMEMBERED: usize = 1000;

/// Values that were compared with the store.
#[derive(Clone, Debug)]
pub(super) struct Verified {
    pub generation: i64,
    /// Their hashes under the key of the release.
    pub current: BTreeMap<String, String>,
    /// Their hashes in the record, which may be of an earlier key.
    pub recorded: BTreeMap<String, String>,
    pub at: Instant,
}

#[derive(Clone, Debug)]
pub(super) struct Comparison {
    pub generation: i64,
    pub earlier: BTreeSet<Uid>,
    /// Why missing values were not written, if they were not.
    pub held: Option<Held>,
    pub at: Instant,
    pub sources: BTreeSet<Source>,
    pub synced: Synced,
}

impl Memory {
    /// Whether workers that read the parameters of this hash certainly know no secret. Secrets cannot be removed from a
    /// text that may hold them in any form, or as they were before this process started.
    pub fn is_plain(&self, hash: &str) -> bool {
        !self.had_secret && self.plain.contains(hash)
    }

    /// The object has no parameters any more, but workers may still know some.
    pub(super) fn clear(&mut self) {
        *self = Self { plain: std::mem::take(&mut self.plain), had_secret: self.had_secret, ..Self::default() };
    }

    pub(super) fn remember(&mut self, roles: &RoleValues, hashes: &BTreeMap<String, String>) {
        self.had_secret |= roles.values().any(Values::has_secret);
        if self.plain.len() > REMEMBERED {
            self.plain.clear();
        }
        let plain = roles.iter().filter(|(_, values)| !values.has_secret());
        self.plain.extend(plain.filter_map(|(role, _)| hashes.get(role).cloned()));
    }

    /// Forgets the comparisons with the store.
    pub(super) fn doubt(&mut self) {
        (self.last, self.verified) = (None, None);
    }
}
