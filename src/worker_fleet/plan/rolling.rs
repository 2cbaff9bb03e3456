//! A group's way from one revision to the next, within the bounds that a Deployment keeps: never fewer than
//! `replicas - maxUnavailable` available, never more than `replicas + maxSurge` in all.

use super::{State, by_policy};
use crate::{
    ids::InstanceId,
    worker_fleet::desired::{Desired, Group},
    workers::{
        cpu::CpuSamples, draft::Draft, headcount::heads, health::Health, launch::TerminationReason, roster::Sighting,
    },
};

/// A group's workers, counted.
#[derive(Debug)]
pub(super) struct Census<'a> {
    /// All that count, those that nobody has seen yet among them.
    pub existing: u32,
    /// How many of them are up to date.
    current: u32,
    /// How many of the current ones cannot be counted on yet.
    current_unavailable: u32,
    available: u32,
    seen_current: Vec<(&'a Sighting, Health)>,
    seen_outdated: Vec<(&'a Sighting, Health)>,
    cpu: &'a CpuSamples,
}

impl<'a> Census<'a> {
    pub(super) fn take(draft: &Draft<'a, '_>, group: &Group, state: &'a State) -> Self {
        let all = heads(&draft.observed.roster, &draft.ledger);
        let mut census = Self {
            existing: 0,
            current: 0,
            current_unavailable: 0,
            available: 0,
            seen_current: Vec::new(),
            seen_outdated: Vec::new(),
            cpu: &state.cpu,
        };
        for head in all.iter().filter(|head| head.role == group.role.as_str()) {
            let outdated = state.is_outdated(&group.role, head.revision);
            let health = head.seen.map(|worker| state.of(worker)).unwrap_or_default();
            census.existing += head.count;
            census.available += if health.available { head.count } else { 0 };
            if !outdated {
                census.current += head.count;
                census.current_unavailable += if health.available { 0 } else { head.count };
            }
        }
        for worker in draft.workers().filter(|worker| worker.instance.role() == group.role.as_str()) {
            let seen = (worker, state.of(worker));
            if state.is_outdated(&group.role, worker.instance.revision()) {
                census.seen_outdated.push(seen);
            } else {
                census.seen_current.push(seen);
            }
        }
        census
    }

    fn is_rolling(&self) -> bool {
        self.current < self.existing
    }

    /// Who ends now, and why.
    pub(super) fn ends(&self, desired: &Desired, group: &Group) -> (Vec<InstanceId>, TerminationReason) {
        let ids =
            |chosen: &[(&Sighting, Health)]| chosen.iter().map(|(w, _)| w.instance.id.clone()).collect::<Vec<_>>();
        if !self.is_rolling() || group.supplied.unresolved.is_some() {
            let mut workers = [&self.seen_current[..], &self.seen_outdated].concat();
            by_policy(&mut workers, desired.scale_down, self.cpu);
            // Only those that are seen: a machine that may never come costs no worker its life.
            workers.truncate((workers.len() as u32).saturating_sub(group.replicas) as usize);
            return (ids(&workers), TerminationReason::ScaleDown);
        }
        let (_, max_unavailable) = desired.update.bounds(group.replicas);
        let min_available = group.replicas.saturating_sub(max_unavailable);
        // As Deployments do: what the new revision has not made available yet, the old one keeps.
        let mut room = self.existing.saturating_sub(min_available + self.current_unavailable);
        let mut spare = self.available.saturating_sub(min_available);
        let mut outdated = self.seen_outdated.clone();
        by_policy(&mut outdated, desired.scale_down, self.cpu);
        let mut surplus = self.seen_current.clone();
        by_policy(&mut surplus, desired.scale_down, self.cpu);
        surplus.truncate((surplus.len() as u32).saturating_sub(group.replicas) as usize);
        let mut chosen = Vec::new();
        for (worker, health) in surplus {
            // A current worker that is not available made no room in the first place.
            let (from_room, from_spare) = if health.available { (1, 1) } else { (0, 0) };
            if room >= from_room && spare >= from_spare {
                (room, spare) = (room - from_room, spare - from_spare);
                chosen.push((worker, health));
            }
        }
        for (worker, health) in outdated {
            let from_spare = u32::from(health.available);
            if room >= 1 && spare >= from_spare {
                (room, spare) = (room - 1, spare - from_spare);
                chosen.push((worker, health));
            }
        }
        (ids(&chosen), TerminationReason::Update)
    }

    /// How many to launch.
    pub(super) fn wanted(&self, desired: &Desired, group: &Group) -> u32 {
        let missing = group.replicas.saturating_sub(self.current);
        let (max_surge, _) = desired.update.bounds(group.replicas);
        let room = if self.is_rolling() {
            (group.replicas + max_surge).saturating_sub(self.existing)
        } else {
            group.replicas.saturating_sub(self.existing)
        };
        missing.min(room)
    }
}
