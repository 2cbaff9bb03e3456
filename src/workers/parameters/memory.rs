//! What this process knows of the parameters of each object. Lost with the process, which then only looks once more.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{plan::Groups, problem::Held, sources::Source, synced::Synced, values::Values};
use crate::{ids::Uid, memories::Memories};

impl Memories<Memory> {
    /// Whether workers that read the parameters of this hash surely know no secret: nobody can take secrets out of a text
    /// that may hold them in any form, or as they were before this process began.
    pub async fn is_plain(&self, uid: &Uid, hash: &str) -> bool {
        let memory = self.of(uid);
        let memory = memory.lock().await;
        !memory.had_secret && memory.plain.contains(hash)
    }
}

#[derive(Debug, Default)]
pub struct Memory {
    /// Since when something that a value is taken from is missing.
    missing_since: Option<Instant>,
    /// The last look that found all as it is to be.
    pub(super) last: Option<Look>,
    /// What was compared with the store, and when.
    verified: Option<Verified>,
    /// The hashes of those that hold no secret.
    plain: BTreeSet<String>,
    /// Whether this process has seen a secret among them. Workers that read Parameter Store may read it when they boot again.
    had_secret: bool,
}

/// So many hashes are remembered, and then only later ones.
const REMEMBERED: usize = 1000;

#[derive(Clone, Debug)]
pub(super) struct Look {
    pub generation: i64,
    pub earlier: BTreeSet<Uid>,
    /// Why what was missing was not written, if it was not.
    pub held: Option<Held>,
    pub at: Instant,
    pub sources: BTreeSet<Source>,
    pub synced: Synced,
}

#[derive(Debug)]
struct Verified {
    generation: i64,
    hashes: BTreeMap<String, String>,
    at: Instant,
}

impl Memory {
    /// There are no parameters any more, though workers may still know some.
    pub(super) fn clear(&mut self) {
        *self = Self { plain: std::mem::take(&mut self.plain), had_secret: self.had_secret, ..Self::default() };
    }

    pub(super) fn remember(&mut self, groups: &Groups) {
        self.had_secret |= groups.values().any(Values::has_secret);
        if self.plain.len() > REMEMBERED {
            self.plain.clear();
        }
        self.plain.extend(groups.values().filter(|values| !values.has_secret()).map(Values::hash));
    }

    /// What was found in the store counts no more.
    pub(super) fn doubt(&mut self) {
        (self.last, self.verified) = (None, None);
    }

    /// For how long something has been missing.
    pub(super) fn missing(&mut self, now: Instant) -> Duration {
        now.saturating_duration_since(*self.missing_since.get_or_insert(now))
    }

    pub(super) fn found(&mut self) {
        self.missing_since = None;
    }

    pub(super) fn verify(&mut self, generation: i64, hashes: &BTreeMap<String, String>, at: Instant) {
        self.verified = Some(Verified { generation, hashes: hashes.clone(), at });
    }

    /// Whether these values were compared with the store for this spec within `period`.
    pub(super) fn is_verified(
        &self,
        generation: i64,
        hashes: &BTreeMap<String, String>,
        now: Instant,
        period: Duration,
    ) -> bool {
        self.verified.as_ref().is_some_and(|verified| {
            verified.generation == generation
                && verified.hashes == *hashes
                && now.saturating_duration_since(verified.at) < period
        })
    }
}
