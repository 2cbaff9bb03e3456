//! The versions of objects that this process wrote.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use kube::{ResourceExt, api::DynamicObject};

use crate::{clock::Clock, ids::Uid};

/// The newest version of each object that this process wrote. The watch delivers it a moment later; a reconcile of an
/// older version would do its work and then fail as outdated.
#[derive(Clone, Debug, Default)]
pub struct Written(Arc<Mutex<HashMap<String, (u64, Instant)>>>);

impl Written {
    pub fn note(&self, object: &DynamicObject) {
        if let (Some(uid), Some(version)) = (object.uid(), version(object)) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(uid, (version, Clock.monotonic()));
        }
    }

    /// Whether a newer version than `object` was written within `span`. No watch lags longer: if the stored version is
    /// still older, the cluster was restored from a backup, and the stored version counts.
    pub fn is_newer_than(&self, object: &DynamicObject, span: Duration) -> bool {
        let written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = object.uid().and_then(|uid| written.get(&uid).copied());
        ours.zip(version(object)).is_some_and(|((ours, since), theirs)| ours > theirs && since.elapsed() < span)
    }

    pub fn forget(&self, uid: &Uid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid.as_str());
    }
}

/// Versions of one object are increasing numbers (Kubernetes 1.35, "Comparable resource versions").
fn version(object: &DynamicObject) -> Option<u64> {
    object.resource_version()?.parse().ok()
}
