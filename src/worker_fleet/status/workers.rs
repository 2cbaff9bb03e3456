//! The workers one by one: which of them are listed, and what is wrong with them.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::View;
use crate::{
    condition::{ConditionType, Reason, Verdict, second},
    ids::{InstanceId, list},
    worker_fleet::{crd::WorkerSummary, plan::failure},
    workers::{
        conditions::{NAMED, and_more},
        draft::Hold,
        headcount::workers,
        health::Health,
        launch::TerminationReason,
        roster::{Known, Sighting},
    },
};

/// So many workers are listed one by one.
const LISTED: usize = 50;

impl View<'_> {
    pub(super) fn healthy(&self) -> Verdict {
        let say = |truth: bool, reason, message| Verdict::new(ConditionType::Healthy, truth, reason, message);
        let sick: Vec<_> = self.workers().filter(|worker| self.reason(worker).is_some()).collect();
        let named: Vec<_> = sick
            .iter()
            .take(NAMED)
            .map(|w| format!("{} ({})", w.instance.id, self.reason(w).unwrap_or_default()))
            .collect();
        let named = format!("{}{}", named.join(", "), and_more(sick.len()));
        let holds = |hold| self.holds.values().any(|held| *held == hold);
        let hidden = self.hidden();
        if hidden > 0 {
            let vanished = &self.observed.roster.vanished;
            let named =
                if vanished.is_empty() { String::new() } else { format!(" ({})", list(vanished.iter(), NAMED)) };
            let message = format!(
                "EC2 shows nothing of {hidden} of {} workers{named}, neither running nor ended: none is launched in their place \
                 for a minute, and for an hour while they are more than spec.maxUnhealthy ({}); look at EC2 and its zones, or \
                 raise it",
                self.counts().existing,
                self.desired.max_unhealthy
            );
            return say(false, Reason::WorkersNotShown, message);
        }
        if holds(Hold::Unhealthy) {
            let message = format!(
                "{} of {} workers are unhealthy, more than spec.maxUnhealthy ({}) lets replace: {named}; look for a common \
                 cause, or raise it",
                sick.len(),
                self.desired.total(),
                self.desired.max_unhealthy
            );
            return say(false, Reason::TooManyUnhealthy, message);
        }
        if holds(Hold::ReplacementLimit) {
            let message = format!(
                "{} workers were replaced within the hour, as many as spec.maxReplacementsPerHour allows; the rest waits",
                self.desired.max_replacements
            );
            return say(false, Reason::ReplacementLimitReached, message);
        }
        // No longer once they are replaced: who starts then knows nothing of them, and nothing is written at rest.
        let lost = match self.lost {
            lost if lost.is_empty() || self.is_settled() => String::new(),
            lost => format!("; lost within the hour: {lost}"),
        };
        if sick.is_empty() {
            return say(true, Reason::AllHealthy, format!("no worker is unhealthy{lost}"));
        }
        say(false, Reason::SomeUnhealthy, format!("unhealthy: {named}{lost}"))
    }

    /// How many EC2 should show and does not.
    pub(super) fn hidden(&self) -> usize {
        let roster = &self.observed.roster;
        roster.vanished.len() + roster.nameless.values().sum::<u32>() as usize
    }

    pub(super) fn workers(&self) -> impl Iterator<Item = &Sighting> {
        workers(&self.observed.roster, self.ledger)
    }

    /// What is wrong with a worker.
    pub(super) fn reason(&self, worker: &Sighting) -> Option<&'static str> {
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

    /// Those that cannot be counted on first, and how many there are. From this list a fresh process knows of those that
    /// EC2 does not show.
    pub(super) fn summaries(&self, before: &[WorkerSummary]) -> (Vec<WorkerSummary>, usize) {
        let mut all: Vec<_> = self.workers().map(|worker| (worker, self.state.of(worker))).collect();
        all.sort_by_key(|(worker, health)| (health.ready, health.available, &worker.instance.id));
        let summary = |(worker, health): &(&Sighting, Health)| {
            let instance = &worker.instance;
            WorkerSummary {
                id: instance.id.clone(),
                role: instance.role().into(),
                state: instance.state.as_str().into(),
                reason: self.reason(worker).unwrap_or_default().into(),
                ready: health.ready,
                ready_at: health.ready_at.filter(|at| *at != Timestamp::UNIX_EPOCH).map(|time| Time(second(time))),
                zone: instance.zone.clone(),
                instance_type: instance.instance_type.clone(),
                revision: instance.revision().into(),
                launched_at: instance.launched_at.map(|time| Time(second(time))),
                cpu_percent: None,
            }
        };
        let named = self.ledger.named();
        let unseen: Vec<_> = self.observed.roster.unseen.iter().filter(|(id, _)| !named.contains_key(id)).collect();
        let not_shown = |(id, known): &(&InstanceId, &Known)| WorkerSummary {
            state: "unknown".into(),
            reason: "NotShown".into(),
            ready: false,
            cpu_percent: None,
            ..before.iter().find(|listed| &listed.id == *id).cloned().unwrap_or_else(|| WorkerSummary::of(id, known))
        };
        let total = unseen.len() + all.len();
        (unseen.iter().map(not_shown).chain(all.iter().map(summary)).take(LISTED).collect(), total)
    }
}
