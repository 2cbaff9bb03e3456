//! The workers in a status: which are listed, and what is wrong with them.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    condition::{ConditionType, Reason, Verdict, second},
    crd::{launches::TerminationReason, worker_fleet::WorkerSummary},
    ids::{InstanceId, list},
    kinds::worker_fleet::{plan::failure, status::View},
    workers::{
        observe::{
            counts::workers,
            health::Health,
            instances::{KnownInstance, ObservedInstance},
        },
        plan::Blocker,
        status::conditions::{NAMED, and_more},
    },
};

/// The maximum number of workers that a status lists.
const LISTED: usize = 50;

impl View<'_> {
    pub(super) fn healthy(&self) -> Verdict {
        let say = |truth: bool, reason, message| Verdict::new(ConditionType::Healthy, truth, reason, message);
        let sick: Vec<_> = self.workers().filter_map(|w| Some((&w.instance.id, self.reason(w)?))).collect();
        let named: Vec<_> = sick.iter().take(NAMED).map(|(id, reason)| format!("{id} ({reason})")).collect();
        let named = format!("{}{}", named.join(", "), and_more(sick.len()));
        let is_blocked_by = |blocker| self.blockers.values().any(|blocked| *blocked == blocker);
        let hidden = self.hidden();
        if hidden > 0 {
            let overdue = &self.observed.instances.overdue;
            let named = if overdue.is_empty() { String::new() } else { format!(" ({})", list(overdue.iter(), NAMED)) };
            let message = format!(
                "{hidden} of {} workers are missing from DescribeInstances{named}; they are replaced after 1 minute, or \
                 after 1 hour if more than spec.maxUnhealthy ({}) are missing; check EC2 and its zones, or raise spec.maxUnhealthy",
                self.counts().existing,
                self.desired.max_unhealthy
            );
            return say(false, Reason::WorkersMissing, message);
        }
        if is_blocked_by(Blocker::Unhealthy) {
            let message = format!(
                "{} of {} workers are unhealthy, more than spec.maxUnhealthy ({}), so none is replaced: {named}; look for \
                 a common cause, or raise spec.maxUnhealthy",
                sick.len(),
                self.desired.total(),
                self.desired.max_unhealthy
            );
            return say(false, Reason::TooManyUnhealthy, message);
        }
        if is_blocked_by(Blocker::ReplacementLimit) {
            let message = format!(
                "{} workers were replaced in the last hour, the limit of spec.maxReplacementsPerHour; the others wait",
                self.desired.max_replacements
            );
            return say(false, Reason::ReplacementLimitReached, message);
        }
        // Not once they are replaced: a new process knows nothing of them, and nothing is written at rest.
        let lost = match self.lost {
            lost if lost.is_empty() || self.is_settled() => String::new(),
            lost => format!("; lost in the last hour: {lost}"),
        };
        if sick.is_empty() {
            return say(true, Reason::AllHealthy, format!("no worker is unhealthy{lost}"));
        }
        say(false, Reason::SomeUnhealthy, format!("unhealthy: {named}{lost}"))
    }

    /// How many workers are missing from what EC2 describes.
    pub(super) fn hidden(&self) -> usize {
        let instances = &self.observed.instances;
        instances.overdue.len() + instances.unlisted.values().sum::<u32>() as usize
    }

    pub(super) fn workers(&self) -> impl Iterator<Item = &ObservedInstance> {
        workers(&self.observed.instances, self.ledger)
    }

    /// What is wrong with a worker.
    pub(super) fn reason(&self, worker: &ObservedInstance) -> Option<&'static str> {
        let health = self.state.of(worker);
        match failure(worker, health, self.desired.on_stopped) {
            Some(TerminationReason::Stopped) => Some("Stopped"),
            Some(TerminationReason::StartupDeadline) => Some("StartupDeadlineExceeded"),
            Some(TerminationReason::ChecksFailed) => Some("StatusChecksFailed"),
            Some(
                TerminationReason::ScaleDown
                | TerminationReason::Update
                | TerminationReason::Finished
                | TerminationReason::Deleted,
            ) => None,
            None if health.is_sick() && !worker.instance.state.is_stopped() => Some("NoLongerReady"),
            None => None,
        }
    }

    /// The listed workers, unavailable ones first, and the number of all. A new process learns from this list about
    /// workers that EC2 does not show.
    pub(super) fn summaries(&self, before: &[WorkerSummary]) -> (Vec<WorkerSummary>, usize) {
        let mut all: Vec<_> = self.workers().map(|worker| (worker, self.state.of(worker))).collect();
        all.sort_by_key(|(worker, health)| (health.ready, health.available, &worker.instance.id));
        let summary = |(worker, health): &(&ObservedInstance, Health)| {
            let instance = &worker.instance;
            WorkerSummary {
                id: instance.id.clone(),
                role: worker.known.role.to_string(),
                state: instance.state.as_str().into(),
                reason: self.reason(worker).unwrap_or_default().into(),
                ready: health.ready,
                ready_at: health.ready_at.filter(|at| *at != Timestamp::UNIX_EPOCH).map(|time| Time(second(time))),
                zone: instance.zone.clone(),
                instance_type: instance.instance_type.clone(),
                revision: worker.known.revision.clone(),
                launched_at: instance.launched_at.map(|time| Time(second(time))),
                cpu_percent: None,
            }
        };
        let named = self.ledger.named();
        let missing = self.observed.instances.missing.iter().filter(|(id, _)| !named.contains_key(*id));
        let missing: Vec<_> = missing.map(|(id, known)| not_shown(id, known, before)).collect();
        let total = missing.len() + all.len();
        (missing.into_iter().chain(all.iter().map(summary)).take(LISTED).collect(), total)
    }
}

/// A worker that EC2 does not show, as far as the status `before` lists it.
fn not_shown(id: &InstanceId, known: &KnownInstance, before: &[WorkerSummary]) -> WorkerSummary {
    let listed = before.iter().find(|listed| &listed.id == id);
    WorkerSummary {
        id: id.clone(),
        role: listed.map_or_else(|| known.role.to_string(), |listed| listed.role.clone()),
        state: "unknown".into(),
        ready: false,
        zone: listed.map(|listed| listed.zone.clone()).unwrap_or_default(),
        instance_type: listed.map(|listed| listed.instance_type.clone()).unwrap_or_default(),
        revision: listed.map_or_else(|| known.revision.clone(), |listed| listed.revision.clone()),
        reason: "Missing".into(),
        ready_at: listed.and_then(|listed| listed.ready_at.clone()),
        launched_at: listed.and_then(|listed| listed.launched_at.clone()),
        cpu_percent: None,
    }
}
