//! Which instances report, as the FleetReports found it, for fleets whose readiness depends on reports.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use jiff::Timestamp;

/// The kind that collects reports.
pub const KIND: &str = "FleetReport";

/// The results of the FleetReports that could be collected.
#[derive(Clone, Debug, Default)]
pub struct Reporters(Arc<RwLock<HashMap<Report, Arc<Fresh>>>>);

/// The namespace and name of a FleetReport.
type Report = (String, String);

/// The instances whose newest report is fresh, by their ids.
pub type Fresh = HashMap<Box<str>, Reported>;

/// What the newest report of an instance says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reported {
    /// The time of the report.
    pub at: Timestamp,
    /// Whether it does not match `expect.versions`.
    pub is_behind: bool,
}

impl Reporters {
    /// The result of the FleetReport `name`; `None` where it is not known, and then no worker counts as late.
    pub fn of(&self, namespace: &str, name: &str) -> Option<Arc<Fresh>> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    /// `None` when it could not be collected, or is deleted.
    pub fn tell(&self, namespace: &str, name: &str, found: Option<Fresh>) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let key = (namespace.to_owned(), name.to_owned());
        match found {
            Some(found) => all.insert(key, Arc::new(found)),
            None => all.remove(&key),
        };
    }
}
