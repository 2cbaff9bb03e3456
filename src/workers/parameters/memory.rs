//! What this process knows of the parameters of each object. Lost with the process, which then only looks once more.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{
    plan::Groups,
    redact::{Given, redact},
    sources::Source,
    sync::Synced,
};
use crate::ids::Uid;

/// The memories of all objects.
#[derive(Clone, Debug, Default)]
pub struct Memories(Arc<Mutex<HashMap<Uid, Arc<tokio::sync::Mutex<Memory>>>>>);

impl Memories {
    pub(super) fn of(&self, uid: &Uid) -> Arc<tokio::sync::Mutex<Memory>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(uid.clone()).or_default().clone()
    }

    /// `text` without the values that the object gave to its workers, as far as this process knows of them.
    pub async fn redact(&self, uid: &Uid, text: &str) -> String {
        let memory = self.of(uid);
        let memory = memory.lock().await;
        redact(text, &memory.given)
    }

    pub fn forget(&self, uid: &Uid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Since when something that a value is taken from is missing.
    missing_since: Option<Instant>,
    /// The last look that found all as it is to be.
    pub last: Option<Look>,
    /// What was compared with the store, and when.
    verified: Option<Verified>,
    /// The values that workers were given, the latest last. Those that still run may know earlier ones.
    given: Vec<Given>,
}

/// So many values are remembered.
const REMEMBERED: usize = 2048;

#[derive(Clone, Debug)]
pub(super) struct Look {
    pub generation: i64,
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
        *self = Self { given: std::mem::take(&mut self.given), ..Self::default() };
    }

    pub(super) fn remember(&mut self, groups: &Groups) {
        for value in groups.values().flat_map(|values| values.by_name.values()) {
            let given = Given { value: value.text.clone(), secret: value.secure };
            self.given.retain(|known| *known != given);
            self.given.push(given);
        }
        let surplus = self.given.len().saturating_sub(REMEMBERED);
        self.given.drain(..surplus);
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
