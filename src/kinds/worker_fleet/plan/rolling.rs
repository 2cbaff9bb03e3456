//! The rolling update of a role, within the bounds of a Deployment: never fewer than `replicas - maxUnavailable`
//! available, never more than `replicas + maxSurge` in total.

use crate::{
    aws::cpu_samples::{CpuSamples, idleness},
    crd::{launches::TerminationReason, worker_fleet::ScaleDownPolicy},
    ids::InstanceId,
    kinds::worker_fleet::{desired::Desired, plan::state::State},
    workers::{
        launch_spec::DesiredRole,
        observe::{counts::counted, health::Health, instances::ObservedInstance},
        plan::PlanBuilder,
    },
};

#[derive(Debug, Default)]
pub(super) struct RoleCounts<'a> {
    /// All workers that count, including those that are not observed yet.
    pub existing: u32,
    /// The workers that are up to date.
    current: u32,
    /// The current workers that are not available yet.
    current_unavailable: u32,
    available: u32,
    seen_current: Vec<(&'a ObservedInstance, Health)>,
    seen_outdated: Vec<(&'a ObservedInstance, Health)>,
}

impl<'a> RoleCounts<'a> {
    pub(super) fn take(builder: &PlanBuilder<'a, '_>, role: &DesiredRole, state: &State) -> Self {
        let all = counted(&builder.observed.instances, &builder.ledger);
        let mut counts = Self::default();
        for group in all.iter().filter(|group| group.role == role.role.as_str()) {
            let outdated = state.is_outdated(&role.role, group.revision);
            let health = group.seen.map(|worker| state.of(worker)).unwrap_or_default();
            counts.existing += group.count;
            counts.available += if health.available { group.count } else { 0 };
            if !outdated {
                counts.current += group.count;
                counts.current_unavailable += if health.available { 0 } else { group.count };
            }
        }
        let seen = builder.workers().filter(|worker| worker.known.role == role.role);
        (counts.seen_outdated, counts.seen_current) = seen
            .map(|worker| (worker, state.of(worker)))
            .partition(|(worker, _)| state.is_outdated(&role.role, &worker.known.revision));
        counts
    }

    fn is_rolling(&self) -> bool {
        self.current < self.existing
    }

    pub(super) fn ends(
        &self,
        desired: &Desired,
        role: &DesiredRole,
        cpu: &CpuSamples,
    ) -> (Vec<InstanceId>, TerminationReason) {
        // The order of termination: unready before ready, then by policy.
        let sorted = |mut workers: Vec<(&'a ObservedInstance, Health)>| {
            workers.sort_by_key(|(worker, health)| {
                let age = worker.instance.launched_at.map_or(0, |t| t.as_second());
                let (idle, age) = match desired.scale_down {
                    ScaleDownPolicy::Oldest => (None, age),
                    ScaleDownPolicy::Newest => (None, -age),
                    ScaleDownPolicy::LowestCpu => (Some(idleness(cpu.get(&worker.instance.id))), age),
                };
                (health.ready, health.available, idle, age, &worker.instance.id)
            });
            workers
        };
        let surplus = |workers| {
            let mut workers = sorted(workers);
            // Only observed workers count: a launch that may fail must not cost a running worker.
            let surplus = (workers.len() as u32).saturating_sub(role.replicas);
            workers.retain(|(worker, _)| worker.tampered.is_none());
            workers.truncate(surplus as usize);
            workers
        };
        let (_, max_unavailable) = desired.update.bounds(role.replicas);
        let min_available = role.replicas.saturating_sub(max_unavailable);
        if !self.is_rolling() || role.resolved.unresolved.is_some() {
            let mut spare = self.available.saturating_sub(min_available);
            let mut surplus = surplus([&self.seen_current[..], &self.seen_outdated].concat());
            // A worker that is not terminated, because its tags were changed, may be unavailable: then an available one
            // stays in addition.
            surplus.retain(|(_, health)| {
                let stays = health.available && spare == 0;
                spare -= u32::from(health.available && !stays);
                !stays
            });
            let ids = surplus.into_iter().map(|(worker, _)| worker.instance.id.clone());
            return (ids.collect(), TerminationReason::ScaleDown);
        }
        // As Deployments do: the old revision keeps what the new one has not made available yet.
        let mut room = self.existing.saturating_sub(min_available + self.current_unavailable);
        let mut spare = self.available.saturating_sub(min_available);
        // An unavailable current worker is already subtracted from the room.
        let surplus = surplus(self.seen_current.clone()).into_iter();
        let surplus = surplus.map(|(worker, health)| (worker, health, u32::from(health.available)));
        let outdated = sorted(self.seen_outdated.clone()).into_iter().map(|(worker, health)| (worker, health, 1));
        let outdated = outdated.filter(|(worker, _, _)| worker.tampered.is_none());
        let mut chosen = Vec::new();
        for (worker, health, from_room) in surplus.chain(outdated) {
            let from_spare = u32::from(health.available);
            if room >= from_room && spare >= from_spare {
                (room, spare) = (room - from_room, spare - from_spare);
                chosen.push(worker.instance.id.clone());
            }
        }
        (chosen, TerminationReason::Update)
    }

    pub(super) fn wanted(&self, desired: &Desired, role: &DesiredRole) -> u32 {
        let missing = role.replicas.saturating_sub(self.current);
        let (max_surge, _) = desired.update.bounds(role.replicas);
        let most = if self.is_rolling() { role.replicas + max_surge } else { role.replicas };
        missing.min(most.saturating_sub(self.existing))
    }
}
