//! The FleetReports as readers of places. All that read the same place share one collector.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
};

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

/// After this time, an evaluation waits for those that have waited longer.
const TURN: Duration = Duration::from_millis(200);

/// The collectors of all FleetReports. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Collectors(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    places: Mutex<HashMap<SourcePlace, SharedCollector>>,
    reads: ReadBudget,
    memory: MemoryBudget,
    evaluations: Arc<Semaphore>,
    /// One evaluation for each namespace, so that none can hold up the others.
    turns: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Collectors {
    pub(super) fn new(limits: ReportLimits) -> Self {
        Self(Arc::new(Shared {
            places: Mutex::default(),
            reads: ReadBudget::default(),
            memory: MemoryBudget::new(limits),
            evaluations: Arc::new(Semaphore::new(EVALUATIONS)),
            turns: Mutex::default(),
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
    turn: Arc<Semaphore>,
}

/// While it is held, the reports of a FleetReport may be evaluated.
#[derive(Debug)]
pub(super) struct Evaluation {
    _of_namespace: OwnedSemaphorePermit,
    of_all: Option<OwnedSemaphorePermit>,
    all: Arc<Semaphore>,
    since: Instant,
}

impl Evaluation {
    /// Lets other namespaces evaluate theirs, if this one has taken long. Blocks the thread until it is its turn again.
    pub(super) fn let_others(&mut self) {
        if self.since.elapsed() < TURN {
            return;
        }
        self.of_all = None;
        // The semaphore serves in the order of arrival.
        self.of_all = Handle::current().block_on(self.all.clone().acquire_owned()).ok();
        self.since = Instant::now();
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.of(&[], 0);
    }
}

impl Reader {
    pub(super) fn new(collectors: &Collectors, namespace: &str, uid: &Uid) -> Self {
        let member = Arc::new(collectors.0.memory.join(namespace));
        let mut turns = collectors.0.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        let turn = turns.entry(namespace.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(1))).clone();
        drop(turns);
        Self { collectors: collectors.clone(), uid: uid.clone(), member, turn }
    }

    pub(super) fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// Waits until reports may be evaluated.
    pub(super) async fn evaluation(&self) -> Option<Evaluation> {
        // The semaphores are never closed.
        let of_namespace = self.turn.clone().acquire_owned().await.ok()?;
        let all = self.collectors.0.evaluations.clone();
        let of_all = Some(all.clone().acquire_owned().await.ok()?);
        Some(Evaluation { _of_namespace: of_namespace, of_all, all, since: Instant::now() })
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
pub(super) type SharedMemory = Arc<tokio::sync::Mutex<Option<Memory>>>;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use futures::FutureExt as _;

    use super::*;

    fn reader(collectors: &Collectors, namespace: &str, uid: u32) -> Reader {
        Reader::new(collectors, namespace, &Uid::try_from(format!("{uid:08}-0000-4000-8000-000000000000")).unwrap())
    }

    fn collectors() -> Collectors {
        Collectors::new(ReportLimits { bytes: 1 << 20, objects: 100 })
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn namespaces_that_evaluate_all_the_time_let_another_one_evaluate() {
        let collectors = collectors();
        let stop = Arc::new(AtomicBool::new(false));
        let mut endless = Vec::new();
        for (namespace, uid) in [("one", 1), ("two", 2)] {
            let (reader, stop) = (reader(&collectors, namespace, uid), stop.clone());
            let mut evaluation = reader.evaluation().await.unwrap();
            endless.push(tokio::task::spawn_blocking(move || {
                while !stop.load(Ordering::Relaxed) {
                    evaluation.let_others();
                    std::thread::yield_now();
                }
            }));
        }
        let third = reader(&collectors, "three", 3);
        let served = tokio::time::timeout(Duration::from_secs(60), third.evaluation()).await;
        stop.store(true, Ordering::Relaxed);
        assert!(served.is_ok());
        drop(served);
        for thread in endless {
            thread.await.unwrap();
        }
    }

    #[test]
    fn a_namespace_whose_reports_take_long_holds_up_only_itself() {
        let collectors = collectors();
        let reader = |namespace, uid| reader(&collectors, namespace, uid);
        let (slow, also, other) = (reader("slow", 1), reader("slow", 2), reader("other", 3));
        let turn = slow.evaluation().now_or_never().flatten().unwrap();
        assert!(also.evaluation().now_or_never().is_none());
        assert!(other.evaluation().now_or_never().flatten().is_some());
        drop(turn);
        assert!(also.evaluation().now_or_never().flatten().is_some());
    }
}
