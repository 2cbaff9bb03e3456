//! The FleetReports as readers of places. All that read the same place share one collector.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    config::ReportLimits,
    ids::Uid,
    kinds::fleet_report::{
        collector::{Collector, SourcePlace},
        memory_budget::{Member, Members, MemoryBudget},
        read_budget::ReadBudget,
        status::Since,
        view::View,
    },
};

/// The maximum number of FleetReports that are evaluated at the same time, each report within
/// [`Steps`](super::steps::Steps).
const EVALUATIONS: usize = 2;

/// The collectors of all FleetReports. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Collectors(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    places: Mutex<HashMap<SourcePlace, SharedCollector>>,
    reads: ReadBudget,
    memory: MemoryBudget,
    evaluations: Arc<Semaphore>,
}

impl Collectors {
    pub(super) fn new(limits: ReportLimits) -> Self {
        Self(Arc::new(Shared {
            places: Mutex::default(),
            reads: ReadBudget::default(),
            memory: MemoryBudget::new(limits),
            evaluations: Arc::new(Semaphore::new(EVALUATIONS)),
        }))
    }

    #[cfg(test)]
    pub(super) fn memory(&self) -> &MemoryBudget {
        &self.0.memory
    }
}

#[derive(Debug)]
struct SharedCollector {
    collector: Arc<Collector>,
    /// The FleetReports that read the place, and the largest object that each reads, in bytes.
    readers: HashMap<Uid, (u64, Arc<Member>)>,
}

/// The memory of one FleetReport.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) view: View,
    pub(super) since: Since,
}

/// A FleetReport as a reader. Dropping it drops the collectors that no other FleetReport uses.
#[derive(Debug)]
pub(super) struct Reader {
    collectors: Collectors,
    uid: Uid,
    member: Arc<Member>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.of(&[], 0);
    }
}

impl Reader {
    pub(super) fn new(collectors: &Collectors, namespace: &str, uid: &Uid) -> Self {
        let member = Arc::new(collectors.0.memory.join(namespace));
        Self { collectors: collectors.clone(), uid: uid.clone(), member }
    }

    pub(super) fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// Waits until reports may be evaluated.
    pub(super) async fn evaluation(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        self.collectors.0.evaluations.clone().acquire_owned().await.ok()
    }

    /// The collectors of `places`, each with the largest object that any reader wants, and all readers, this one first.
    /// Other places, which only this reader has read, are dropped.
    pub(super) fn of(&self, places: &[SourcePlace], object_size: u64) -> Vec<(Arc<Collector>, u64, Members)> {
        let Shared { places: shared, reads, .. } = &*self.collectors.0;
        self.member.set_shares(!places.is_empty());
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        for (place, shared) in shared.iter_mut() {
            if !places.contains(place) {
                shared.readers.remove(&self.uid);
            }
        }
        let collectors = places
            .iter()
            .map(|place| {
                let shared = shared.entry(place.clone()).or_insert_with(|| SharedCollector {
                    collector: Arc::new(Collector::new(place.clone(), reads.clone())),
                    readers: HashMap::new(),
                });
                shared.readers.insert(self.uid.clone(), (object_size, self.member.clone()));
                let largest = shared.readers.values().map(|(size, _)| *size).max().unwrap_or(object_size);
                let others = shared.readers.iter().filter(|(uid, _)| **uid != self.uid).map(|(_, (_, m))| m.clone());
                let members = Members([self.member.clone()].into_iter().chain(others).collect());
                (shared.collector.clone(), largest, members)
            })
            .collect();
        shared.retain(|_, shared| !shared.readers.is_empty());
        collectors
    }
}

/// The memory of one FleetReport, shared with the thread that sums up.
pub(super) type SharedMemory = Arc<Mutex<Option<Memory>>>;
