//! Who reports: what the FleetReports found, for those who wait for a worker's first report.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock},
};

use crate::{ids::InstanceId, workers::health::Reporting};

/// The kind that tells who reports.
pub const KIND: &str = "FleetReport";

/// The FleetReports by namespace and name. One that is not collected is not in here.
#[derive(Clone, Debug, Default)]
pub struct Reporters(Arc<RwLock<HashMap<Report, Arc<Fresh>>>>);

/// The namespace and the name of a FleetReport.
type Report = (String, String);

/// The instances whose newest report is fresh.
#[derive(Debug, Default)]
pub struct Fresh(HashSet<Box<str>>);

impl FromIterator<Box<str>> for Fresh {
    fn from_iter<T: IntoIterator<Item = Box<str>>>(instances: T) -> Self {
        Self(instances.into_iter().collect())
    }
}

impl Reporting for Fresh {
    fn is_fresh(&self, id: &InstanceId) -> bool {
        self.0.contains(id.as_str())
    }
}

impl Reporters {
    /// What the FleetReport `name` found; `None` where it is not known, and then nobody may be judged by it.
    pub fn of(&self, namespace: &str, name: &str) -> Option<Arc<dyn Reporting>> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let found = all.get(&(namespace.to_owned(), name.to_owned()))?.clone();
        Some(found)
    }

    /// `None` when it could not be collected, or is gone.
    pub fn tell(&self, namespace: &str, name: &str, found: Option<Fresh>) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let key = (namespace.to_owned(), name.to_owned());
        match found {
            Some(found) => all.insert(key, Arc::new(found)),
            None => all.remove(&key),
        };
    }
}
