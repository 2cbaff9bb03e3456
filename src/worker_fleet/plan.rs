//! What to do: from the wish, the record and the world to the next record and the calls that may follow it.

mod preview;
mod rolling;

use std::collections::{BTreeMap, BTreeSet};

pub(super) use self::preview::preview;
use self::rolling::Census;
use crate::{
    ids::{InstanceId, Role},
    worker_fleet::{
        crd::{DeletionPolicy, OnStopped, ScaleDownPolicy},
        desired::{Desired, Group},
    },
    workers::{
        cpu::{CpuSamples, idleness},
        draft::{Draft, Hold, Observed, Order, Pass, Plan},
        headcount::heads,
        health::{Failed, Health},
        launch::TerminationReason,
        ledger::Ledger,
        roster::Sighting,
    },
};

/// The workers as a fleet sees them.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub health: BTreeMap<InstanceId, Health>,
    /// Revisions whose workers are to be replaced by an update, of each group.
    pub outdated: BTreeMap<Role, BTreeSet<String>>,
    /// How busy the workers are, as far as is known.
    pub cpu: CpuSamples,
    /// Machines to take over that are there and nobody else's.
    pub adoptable: BTreeSet<InstanceId>,
}

impl State {
    pub(super) fn of(&self, worker: &Sighting) -> Health {
        self.health.get(&worker.instance.id).copied().unwrap_or_default()
    }

    pub(super) fn is_outdated(&self, role: &Role, revision: &str) -> bool {
        self.outdated.get(role).is_some_and(|revisions| revisions.contains(revision))
    }
}

/// Towards as many workers as are wanted.
pub(super) fn plan(
    desired: &Desired,
    state: &State,
    observed: &Observed,
    ledger: &Ledger,
    pass: &mut Pass<'_>,
) -> Plan {
    let mut draft = Draft::begin(observed, ledger, pass, !desired.suspended);
    let everywhere = |hold| desired.groups.iter().map(|group| (group.role.clone(), hold)).collect();
    if desired.suspended {
        count(&mut draft);
        return draft.finish(everywhere(Hold::Suspended));
    }
    let adopted = draft.ledger.adopted.len();
    draft.adopt(&desired.adopt);
    draft.adopt_ids(&state.adoptable);
    // Of which group they are, only the next look tells.
    let adopting = draft.ledger.adopted.len() > adopted && desired.groups.len() > 1;
    let mut holds = BTreeMap::new();
    if let Some(hold) = end_unhealthy(&mut draft, desired, state) {
        holds = everywhere(hold);
    }
    end_strays(&mut draft, desired);
    for group in &desired.groups {
        let census = Census::take(&draft, group, state);
        let (ends, reason) = census.ends(desired, group);
        draft.end(ends, reason);
        let left = Census::take(&draft, group, state);
        // Whoever was ended on purpose is not lost.
        let ended = census.existing - left.existing;
        let provisioned = draft.ledger.provisioned(&group.role).saturating_sub(ended).max(left.existing);
        draft.ledger.set_provisioned(&group.role, provisioned.min(group.replicas));
        if adopting {
            holds.insert(group.role.clone(), Hold::Busy);
        } else if let Some(hold) = launch(&mut draft, desired, group, left.wanted(desired, group), left.existing) {
            holds.insert(group.role.clone(), hold);
        }
    }
    draft.ledger.provisioned.retain(|group| desired.groups.iter().any(|wanted| wanted.role == group.role));
    count(&mut draft);
    draft.finish(holds)
}

/// Towards none, and nothing unsettled.
pub(super) fn plan_end(policy: DeletionPolicy, observed: &Observed, ledger: &Ledger, pass: &mut Pass<'_>) -> Plan {
    let mut draft = Draft::begin(observed, ledger, pass, true);
    match policy {
        DeletionPolicy::Retain => {}
        DeletionPolicy::Terminate => {
            let all = draft.workers().map(|worker| worker.instance.id.clone()).collect();
            draft.end(all, TerminationReason::Deleted);
        }
    }
    count(&mut draft);
    draft.finish(BTreeMap::new())
}

/// Puts on record how many there are, for a process that starts while EC2 does not show them.
fn count(draft: &mut Draft<'_, '_>) {
    let mut existing: BTreeMap<Role, u32> = BTreeMap::new();
    for head in heads(&draft.observed.roster, &draft.ledger) {
        *existing.entry(Role::try_from(head.role).unwrap_or_default()).or_default() += head.count;
    }
    let none = draft.ledger.provisioned.iter().map(|group| (group.role.clone(), 0)).collect();
    let all: BTreeMap<Role, u32> = [none, existing].into_iter().flat_map(|m: BTreeMap<_, _>| m).collect();
    all.iter().for_each(|(role, existing)| draft.ledger.set_existing(role, *existing));
}

/// Whether an object may go: nothing unsettled, and with [`DeletionPolicy::Terminate`] nothing left.
pub(super) fn has_ended(policy: DeletionPolicy, observed: &Observed, ledger: &Ledger) -> bool {
    let left = match policy {
        DeletionPolicy::Retain => false,
        DeletionPolicy::Terminate => {
            !observed.roster.unseen.is_empty()
                || !observed.roster.nameless.is_empty()
                || observed.roster.machines.values().any(|worker| !worker.instance.state.is_over())
        }
    };
    !ledger.is_open() && !left
}

/// Why a worker is to be replaced, if it is.
pub(super) fn failure(worker: &Sighting, health: Health, on_stopped: OnStopped) -> Option<TerminationReason> {
    let stopped = worker.instance.state.is_stopped();
    match (stopped, on_stopped, health.failed) {
        (true, OnStopped::Replace, _) => Some(TerminationReason::Stopped),
        (true, OnStopped::Ignore, _) => None,
        (false, _, Some(Failed::ToStart)) => Some(TerminationReason::StartupDeadline),
        (false, _, Some(Failed::Checks)) => Some(TerminationReason::ChecksFailed),
        (false, _, None) => None,
    }
}

/// Ends those that failed, unless so many did that the cause must be elsewhere, and as many as may be replaced.
fn end_unhealthy(draft: &mut Draft<'_, '_>, desired: &Desired, state: &State) -> Option<Hold> {
    let failure = |worker: &Sighting| failure(worker, state.of(worker), desired.on_stopped);
    let failed: Vec<_> = draft.workers().filter_map(|w| Some((failure(w)?, w.instance.id.clone()))).collect();
    if failed.is_empty() {
        return None;
    }
    if sick(draft.workers(), desired, state) > desired.max_unhealthy.rounded_up(desired.total()) {
        return Some(Hold::Unhealthy);
    }
    // Those that are missing already take their part of what may be replaced.
    let all = heads(&draft.observed.roster, &draft.ledger);
    let missing: u32 = desired
        .groups
        .iter()
        .map(|group| {
            let existing: u32 = all.iter().filter(|h| h.role == group.role.as_str()).map(|h| h.count).sum();
            draft.ledger.provisioned(&group.role).min(group.replicas).saturating_sub(existing)
        })
        .sum();
    let allowed = desired.max_replacements.saturating_sub(draft.ledger.replaced(draft.pass.now) + missing) as usize;
    let held = failed.len() > allowed;
    let mut by_reason: BTreeMap<TerminationReason, Vec<InstanceId>> = BTreeMap::new();
    for (reason, id) in failed.into_iter().take(allowed) {
        by_reason.entry(reason).or_default().push(id);
    }
    for (reason, ids) in by_reason {
        draft.end(ids, reason);
    }
    held.then_some(Hold::ReplacementLimit)
}

/// How many workers are unhealthy.
pub(super) fn sick<'a>(workers: impl Iterator<Item = &'a Sighting>, desired: &Desired, state: &State) -> u32 {
    let sick = |worker: &&Sighting| {
        let health = state.of(worker);
        failure(worker, health, desired.on_stopped).is_some() || health.is_sick() && !worker.instance.state.is_stopped()
    };
    workers.filter(sick).count() as u32
}

/// Ends the workers of groups that are no longer wanted.
fn end_strays(draft: &mut Draft<'_, '_>, desired: &Desired) {
    let wanted = |worker: &&Sighting| desired.groups.iter().any(|group| group.role.as_str() == worker.instance.role());
    let strays = draft.workers().filter(|worker| !wanted(worker)).map(|worker| worker.instance.id.clone()).collect();
    draft.end(strays, TerminationReason::ScaleDown);
}

/// Launches `wanted` workers, as far as replacements are allowed.
fn launch(draft: &mut Draft<'_, '_>, desired: &Desired, group: &Group, wanted: u32, existing: u32) -> Option<Hold> {
    if wanted == 0 {
        return None;
    }
    let adopted = draft.ledger.adopted();
    let orphans = &draft.observed.roster.orphans;
    if orphans.iter().any(|(id, uid)| !desired.ignore.contains(uid) && !adopted.contains(id)) {
        return Some(Hold::Orphans);
    }
    if desired.parameters.problem.is_some() {
        return Some(Hold::Parameters);
    }
    let Some(supply) = group.supplied.usable() else { return Some(Hold::Unresolved) };
    let lost = draft.ledger.provisioned(&group.role).saturating_sub(existing).min(wanted);
    let allowed = desired.max_replacements.saturating_sub(draft.ledger.replaced(draft.pass.now));
    let replaces = lost.min(allowed);
    let order = Order {
        owner: &desired.owner.uid,
        role: &group.role,
        revision: &supply.revision.name,
        image: &supply.image.id,
        launch_template_version: supply.launch_template_version,
        places: &supply.places,
        replaces,
        indexes: &[],
    };
    let before = draft.ledger.launches.len();
    let hold = draft.launch(&order, wanted - (lost - replaces));
    let new: u32 = draft.ledger.launches[before..].iter().map(|intent| intent.count - intent.replaces).sum();
    let provisioned = (draft.ledger.provisioned(&group.role).max(existing) + new).min(group.replicas);
    draft.ledger.set_provisioned(&group.role, provisioned);
    if lost > replaces { Some(Hold::ReplacementLimit) } else { hold }
}

/// Those to end first come first: not ready before ready, then by `policy`.
fn by_policy(workers: &mut [(&Sighting, Health)], policy: ScaleDownPolicy, cpu: &CpuSamples) {
    workers.sort_by_key(|(worker, health)| {
        let age = worker.instance.launched_at.map_or(0, |t| t.as_second());
        let (idle, age) = match policy {
            ScaleDownPolicy::Oldest => (None, age),
            ScaleDownPolicy::Newest => (None, -age),
            ScaleDownPolicy::LowestCpu => (Some(idleness(cpu.get(&worker.instance.id))), age),
        };
        (health.ready, health.available, idle, age, &worker.instance.id)
    });
}

#[cfg(test)]
mod sample;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
