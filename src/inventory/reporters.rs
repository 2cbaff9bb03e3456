//! Which instances report, as the FleetReports found it, for fleets whose readiness depends on reports.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock},
};

/// The kind that collects reports.
pub const KIND: &str = "FleetReport";

/// The results of the FleetReports that could be collected.
#[derive(Clone, Debug, Default)]
pub struct Reporters(Arc<RwLock<HashMap<Report, Arc<Fresh>>>>);

/// The namespace and name of a FleetReport.
type Report = (String, String);

/// The ids of the instances whose newest report is fresh.
pub type Fresh = HashSet<Box<str>>;

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
