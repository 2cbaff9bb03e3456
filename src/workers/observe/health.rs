//! Which workers are ready, available or failed. Pure.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::{
    aws::ec2::instance::InstanceState, crd::worker_fleet::ReadinessCheck, ids::InstanceId, inventory::reporters::Fresh,
    workers::observe::instances::ObservedInstances,
};

/// When a worker is ready and available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Criteria {
    pub check: ReadinessCheck,
    pub startup_deadline: Duration,
    /// For how long it must be ready to be available.
    pub min_ready: Duration,
}

/// The health of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    pub ready: bool,
    /// Ready for at least `minReadySeconds`.
    pub available: bool,
    pub failed: Option<Failed>,
    /// It was ready at some time.
    pub was_ready: bool,
    /// When it last became ready.
    pub ready_at: Option<Timestamp>,
}

impl Health {
    /// Failed, or not ready any more.
    pub fn is_sick(&self) -> bool {
        self.failed.is_some() || self.was_ready && !self.ready
    }
}

/// Why a worker must be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// It did not become ready within the startup deadline.
    ToStart,
    /// It was ready, and its status checks have failed for as long as the startup deadline.
    Checks,
}

/// The readiness of each worker over time. After a restart the startup deadline begins anew, so only the monotonic
/// clock decides when a worker is replaced.
#[derive(Clone, Debug, Default)]
pub struct ReadinessTracker {
    tracked: BTreeMap<InstanceId, Tracked>,
    begun: bool,
}

#[derive(Clone, Debug)]
struct Tracked {
    ready: bool,
    /// Since when this process observes its readiness, and for how long it was so before.
    since: Instant,
    before: Duration,
    ready_at: Option<Timestamp>,
    /// When it was observed to be not ready any more.
    failed_at: Option<Timestamp>,
}

/// What the tracker takes from each observation.
#[derive(Clone, Copy, Debug)]
pub struct HealthInput<'a> {
    pub instances: &'a ObservedInstances,
    /// The instances with a fresh report; `None` where that is unknown, and then no deadline counts.
    pub reporting: Option<&'a Fresh>,
    /// When each worker became ready, from the status.
    pub listed: &'a BTreeMap<InstanceId, Option<Timestamp>>,
    /// Whether the status lists only some workers. The others are ready, since workers that are not are listed first.
    pub truncated: bool,
    pub now: Instant,
    pub wall: Timestamp,
}

impl ReadinessTracker {
    /// The health of each worker, and the delay until it may change without a new observation.
    pub fn observe(
        &mut self,
        input: &HealthInput<'_>,
        criteria: &Criteria,
    ) -> (BTreeMap<InstanceId, Health>, Option<Duration>) {
        let first = !std::mem::replace(&mut self.begun, true);
        let HealthInput { instances, reporting, listed, now, wall, .. } = *input;
        self.tracked.retain(|id, _| instances.shown.contains_key(id) || instances.missing.contains_key(id));
        let mut all = BTreeMap::new();
        let mut next: Option<Duration> = None;
        for worker in instances.shown.values().filter(|worker| !worker.instance.state.is_over()) {
            let id = &worker.instance.id;
            let ready = worker.instance.state == InstanceState::Running
                && match criteria.check {
                    ReadinessCheck::Running => true,
                    ReadinessCheck::StatusChecks => worker.checks_passed,
                    ReadinessCheck::Report => reporting.is_some_and(|fresh| fresh.contains_key(id.as_str())),
                };
            let is_unknown = criteria.check == ReadinessCheck::Report && reporting.is_none();
            let tracked =
                self.tracked.entry(id.clone()).or_insert_with(|| Tracked::remembered(first, id, ready, input));
            if tracked.ready != ready {
                (tracked.ready, tracked.since, tracked.before) = (ready, now, Duration::ZERO);
                let changed_at = if ready { &mut tracked.ready_at } else { &mut tracked.failed_at };
                *changed_at = Some(wall);
            } else if !ready && is_unknown {
                tracked.since = now;
            }
            // Another process may have seen it first, and the recorded time stays.
            let recorded = listed.get(id).copied().flatten();
            if let Some(at) = recorded.filter(|at| ready && tracked.failed_at.is_none_or(|failed| failed <= *at)) {
                tracked.ready_at = Some(at);
            }
            let age = now.saturating_duration_since(tracked.since).saturating_add(tracked.before);
            let was_ready = tracked.ready_at.is_some();
            let running = matches!(worker.instance.state, InstanceState::Pending | InstanceState::Running);
            let late = !ready && running && age >= criteria.startup_deadline;
            let failed = match (late, was_ready, criteria.check) {
                (true, false, _) => Some(Failed::ToStart),
                (true, true, ReadinessCheck::StatusChecks) => Some(Failed::Checks),
                (true, true, ReadinessCheck::Running | ReadinessCheck::Report) | (false, _, _) => None,
            };
            let available = ready && age >= criteria.min_ready;
            let limit = if ready { criteria.min_ready } else { criteria.startup_deadline };
            if let Some(left) = limit.checked_sub(age).filter(|left| !left.is_zero()) {
                next = Some(next.map_or(left, |next| next.min(left)));
            }
            all.insert(id.clone(), Health { ready, available, failed, was_ready, ready_at: tracked.ready_at });
        }
        (all, next)
    }
}

impl Tracked {
    fn remembered(first: bool, id: &InstanceId, ready: bool, input: &HealthInput<'_>) -> Self {
        let HealthInput { now, wall, .. } = *input;
        let ready_at = ready.then_some(wall);
        let fresh = Self { ready, since: now, before: Duration::ZERO, ready_at, failed_at: None };
        let ready_at = match input.listed.get(id) {
            Some(ready_at) => *ready_at,
            None if first && input.truncated && ready => Some(Timestamp::UNIX_EPOCH),
            None => None,
        };
        match (ready, ready_at) {
            (true, Some(at)) => {
                let before = Duration::try_from(wall.duration_since(at)).unwrap_or_default();
                Self { before, ready_at, ..fresh }
            }
            (false, Some(_)) => Self { ready_at, ..fresh },
            (_, None) => fresh,
        }
    }
}

#[cfg(test)]
mod tests;
