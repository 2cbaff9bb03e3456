//! What the FleetReports found, instance by instance, for those who may ask: the same data as in their status.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

/// The last results of all FleetReports that could be collected. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Published(Arc<RwLock<HashMap<Place, Arc<Findings>>>>);

/// The namespace and the name of a FleetReport.
pub type Place = (String, String);

/// The result of one FleetReport.
#[derive(Debug, Default)]
pub struct Findings {
    pub collected_at: Timestamp,
    /// From which age on a report is stale.
    pub stale_after: SignedDuration,
    /// The sources that could not be read the last time.
    pub degraded: Vec<String>,
    /// The names of the fields, and then of the groupings.
    pub columns: Vec<String>,
    pub fields: usize,
    /// The Secrets whose keys open it.
    pub keys: Vec<String>,
    /// By instance.
    pub rows: Vec<Row>,
}

/// Positions of columns, and values. Rows with the same values share them.
pub type Values = Arc<[(u16, Arc<str>)]>;

/// What is known of one instance.
#[derive(Clone, Debug)]
pub struct Row {
    pub instance: Box<str>,
    pub state: State,
    /// The time of its newest report.
    pub at: Option<Timestamp>,
    /// The source of that report.
    pub source: Arc<str>,
    /// Positions in [`Findings::columns`], and the values.
    pub values: Values,
    /// As it is in S3. Empty for an instance without a report.
    pub body: Bytes,
    /// Changes with the body.
    pub tag: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    Fresh,
    /// Fresh, and not as expected.
    Behind,
    Stale,
    /// It runs without a fresh report.
    Missing,
    /// It reports and does not run.
    Ghost,
}

impl State {
    pub const ALL: [Self; 5] = [Self::Fresh, Self::Behind, Self::Stale, Self::Missing, Self::Ghost];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Behind => "behind",
            Self::Stale => "stale",
            Self::Missing => "missing",
            Self::Ghost => "ghost",
        }
    }

    /// Whether its newest report says what runs now.
    pub fn is_current(self) -> bool {
        matches!(self, Self::Fresh | Self::Behind)
    }
}

impl Findings {
    /// The state of `row` at `now`: a report also becomes stale between two collections.
    pub fn state(&self, row: &Row, now: Timestamp) -> State {
        let is_old = |at: Timestamp| now.duration_since(at) > self.stale_after;
        if row.state.is_current() && row.at.is_some_and(is_old) { State::Stale } else { row.state }
    }
}

impl Published {
    pub fn of(&self, namespace: &str, name: &str) -> Option<Arc<Findings>> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    /// The FleetReports that keys open, with the namespaces and the names of the Secrets.
    pub fn keys(&self) -> Vec<(Place, Vec<String>)> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let with_keys = all.iter().filter(|(_, findings)| !findings.keys.is_empty());
        with_keys.map(|(place, findings)| (place.clone(), findings.keys.clone())).collect()
    }

    /// `None` when nothing may be shown any more.
    pub fn tell(&self, namespace: &str, name: &str, findings: Option<Findings>) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let place = (namespace.to_owned(), name.to_owned());
        let before = match findings {
            Some(findings) => all.insert(place, Arc::new(findings)),
            None => all.remove(&place),
        };
        drop(all);
        // Many rows take time to drop, so not while others wait.
        drop(before);
    }
}
