//! Which workers are ready, which can be counted on, and which have failed. Pure.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ids::InstanceId,
    workers::{instance::InstanceState, roster::Roster},
};

/// What tells that a worker is ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReadinessCheck {
    #[default]
    Running,
    StatusChecks,
    Report,
}

/// When a worker is in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Criteria {
    pub check: ReadinessCheck,
    pub startup_deadline: Duration,
    /// For how long it must have been ready before it can be counted on.
    pub min_ready: Duration,
}

/// How one worker is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    pub ready: bool,
    /// Ready for at least `minReadySeconds`.
    pub available: bool,
    pub failed: Option<Failed>,
    /// It was ready once.
    pub was_ready: bool,
    /// When it became ready, the last time.
    pub ready_at: Option<Timestamp>,
}

impl Health {
    /// Not as it should be, beyond what starting takes.
    pub fn is_sick(&self) -> bool {
        self.failed.is_some() || self.was_ready && !self.ready
    }
}

/// Why a worker is to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// It never became ready within the startup deadline.
    ToStart,
    /// It was ready, and EC2's status checks have failed for as long.
    Checks,
}

/// What this process saw of each worker's readiness. After a restart the deadline to start begins anew, so no clock but
/// the monotonic one decides over a worker's life.
#[derive(Clone, Debug, Default)]
pub struct Pulse {
    beats: BTreeMap<InstanceId, Beat>,
    begun: bool,
}

#[derive(Clone, Debug)]
struct Beat {
    ready: bool,
    /// Since when this process has seen it as it is, and for how long it had been so before.
    since: Instant,
    before: Duration,
    ready_at: Option<Timestamp>,
    /// When it was seen to be ready no more.
    failed_at: Option<Timestamp>,
}

/// What is told to the pulse at each look.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    pub roster: &'a Roster,
    /// Those whose report is fresh; `None` where it is not known who reports, and then no deadline counts.
    pub reporting: Option<&'a dyn Reporting>,
    /// What the status listed: when each became ready.
    pub listed: &'a BTreeMap<InstanceId, Option<Timestamp>>,
    /// Whether it listed only some. Those that are left out are in order, since the others come first.
    pub truncated: bool,
    pub now: Instant,
    pub wall: Timestamp,
}

/// Who reports.
pub trait Reporting: std::fmt::Debug + Send + Sync {
    fn is_fresh(&self, id: &InstanceId) -> bool;
}

impl Pulse {
    /// How each worker is, and how long until that may change by time alone.
    pub fn feel(&mut self, look: &Sight<'_>, criteria: &Criteria) -> (BTreeMap<InstanceId, Health>, Option<Duration>) {
        let first = !std::mem::replace(&mut self.begun, true);
        let live = || look.roster.machines.values().filter(|machine| !machine.instance.state.is_over());
        self.beats.retain(|id, _| look.roster.machines.contains_key(id) || look.roster.unseen.contains_key(id));
        let mut all = BTreeMap::new();
        let mut next: Option<Duration> = None;
        for machine in live() {
            let id = &machine.instance.id;
            let ready = machine.instance.state == InstanceState::Running
                && match criteria.check {
                    ReadinessCheck::Running => true,
                    ReadinessCheck::StatusChecks => machine.checks_passed,
                    ReadinessCheck::Report => look.reporting.is_some_and(|reporting| reporting.is_fresh(id)),
                };
            let waits_in_vain = criteria.check == ReadinessCheck::Report && look.reporting.is_none();
            let beat = self.beats.entry(id.clone()).or_insert_with(|| Beat::remembered(first, id, ready, look));
            if beat.ready != ready {
                (beat.ready, beat.since, beat.before) = (ready, look.now, Duration::ZERO);
                if ready {
                    beat.ready_at = Some(look.wall);
                } else {
                    beat.failed_at = Some(look.wall);
                }
            } else if !ready && waits_in_vain {
                beat.since = look.now;
            }
            // Another process may have seen it first, and what is on record stays.
            let recorded = look.listed.get(id).copied().flatten();
            if let Some(at) = recorded.filter(|at| ready && beat.failed_at.is_none_or(|failed| failed <= *at)) {
                beat.ready_at = Some(at);
            }
            let age = look.now.saturating_duration_since(beat.since).saturating_add(beat.before);
            let was_ready = beat.ready_at.is_some();
            let running = matches!(machine.instance.state, InstanceState::Pending | InstanceState::Running);
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
            all.insert(id.clone(), Health { ready, available, failed, was_ready, ready_at: beat.ready_at });
        }
        (all, next)
    }
}

impl Beat {
    fn remembered(first: bool, id: &InstanceId, ready: bool, look: &Sight<'_>) -> Self {
        let fresh = Self {
            ready,
            since: look.now,
            before: Duration::ZERO,
            ready_at: ready.then_some(look.wall),
            failed_at: None,
        };
        let ready_at = match look.listed.get(id) {
            Some(ready_at) => *ready_at,
            None if first && look.truncated && ready => Some(Timestamp::UNIX_EPOCH),
            None => None,
        };
        match (ready, ready_at) {
            (true, Some(at)) => {
                let before = Duration::try_from(look.wall.duration_since(at)).unwrap_or_default();
                Self { before, ready_at, ..fresh }
            }
            (false, Some(_)) => Self { ready_at, ..fresh },
            (_, None) => fresh,
        }
    }
}

#[cfg(test)]
mod tests;
