//! The plan: from the desired state, the record and the observation to the next record and the calls that may follow
//! it.

pub(super) mod preview;
mod rolling;
pub(super) mod state;

use std::collections::BTreeMap;

use crate::{
    crd::{
        launches::TerminationReason,
        worker_fleet::{DeletionPolicy, OnStopped},
    },
    ids::{InstanceId, Role},
    kinds::worker_fleet::{
        desired::Desired,
        plan::{rolling::RoleCounts, state::State},
    },
    workers::{
        launch_spec::DesiredRole,
        ledger::Ledger,
        observe::{counts::counted, health, instances::ObservedInstance, observed::Observed},
        plan::{Blocker, Order, Plan, PlanBuilder, PlanContext},
    },
};

/// The next steps towards the desired number of workers.
pub(super) fn plan(
    desired: &Desired,
    state: &State,
    observed: &Observed,
    ledger: &Ledger,
    context: &mut PlanContext<'_>,
) -> Plan {
    let mut builder = PlanBuilder::begin(observed, ledger, context, !desired.suspended);
    let everywhere = |blocker| BTreeMap::from_iter(desired.roles.iter().map(|role| (role.role.clone(), blocker)));
    if desired.suspended {
        count(&mut builder);
        return builder.finish(everywhere(Blocker::Suspended));
    }
    if observed.instances.tampered().any(|(_, tampered)| !tampered.is_identified) {
        // It may be of any role, so whether any role has too many or too few workers is not known.
        count(&mut builder);
        return builder.finish(everywhere(Blocker::TagsChanged));
    }
    let adopted = builder.ledger.adopted.len();
    builder.adopt(&desired.adopt);
    builder.adopt_ids(&state.adoptable);
    builder.date_adopted(|role| desired.revision(role));
    // The health of adopted instances is known only after the next observation.
    let adopting = builder.ledger.adopted.len() > adopted && desired.roles.len() > 1;
    let mut blockers = end_unhealthy(&mut builder, desired, state).map(everywhere).unwrap_or_default();
    // The workers of removed roles.
    let is_wanted = |worker: &ObservedInstance| desired.roles.iter().any(|r| r.role == worker.known.role);
    let strays = builder.expendable().filter(|worker| !is_wanted(worker)).map(|worker| worker.instance.id.clone());
    builder.end(strays.collect(), TerminationReason::ScaleDown);
    for role in &desired.roles {
        let counts = RoleCounts::take(&builder, role, state);
        let (ends, reason) = counts.ends(desired, role, &state.cpu);
        builder.end(ends, reason);
        let left = RoleCounts::take(&builder, role, state);
        // A worker that is terminated on purpose is not lost.
        let ended = counts.existing - left.existing;
        let provisioned = builder.ledger.provisioned(&role.role).saturating_sub(ended).max(left.existing);
        builder.ledger.set_provisioned(&role.role, provisioned.min(role.replicas));
        if adopting {
            blockers.insert(role.role.clone(), Blocker::Busy);
        } else if let Err(blocker) = launch(&mut builder, desired, role, left.wanted(desired, role), left.existing) {
            blockers.insert(role.role.clone(), blocker);
        }
    }
    builder.ledger.provisioned.retain(|role| desired.roles.iter().any(|wanted| wanted.role == role.role));
    count(&mut builder);
    builder.finish(blockers)
}

/// The next steps towards no workers, with everything settled.
pub(super) fn plan_end(
    policy: DeletionPolicy,
    observed: &Observed,
    ledger: &Ledger,
    context: &mut PlanContext<'_>,
) -> Plan {
    let mut builder = PlanBuilder::begin(observed, ledger, context, true);
    if ends_workers(policy) {
        let all = builder.workers().map(|worker| worker.instance.id.clone()).collect();
        builder.end(all, TerminationReason::Deleted);
    }
    count(&mut builder);
    builder.finish(BTreeMap::new())
}

/// Whether the workers of a deleted fleet are terminated.
pub(super) fn ends_workers(policy: DeletionPolicy) -> bool {
    match policy {
        DeletionPolicy::Terminate => true,
        DeletionPolicy::Retain => false,
    }
}

/// Records how many workers exist, for a process that starts while EC2 does not show them.
fn count(builder: &mut PlanBuilder<'_, '_>) {
    let mut existing: BTreeMap<Role, u32> =
        builder.ledger.provisioned.iter().map(|role| (role.role.clone(), 0)).collect();
    for group in counted(&builder.observed.instances, &builder.ledger) {
        *existing.entry(Role::try_from(group.role).unwrap_or_default()).or_default() += group.count;
    }
    existing.iter().for_each(|(role, existing)| builder.ledger.set_existing(role, *existing));
}

/// Whether an object can be deleted: everything settled, and with [`DeletionPolicy::Terminate`] no instance left.
pub(super) fn has_ended(policy: DeletionPolicy, observed: &Observed, ledger: &Ledger) -> bool {
    !ledger.is_open() && (!ends_workers(policy) || observed.instances.left().is_empty())
}

/// Why a worker is to be replaced, if it is.
pub(super) fn failure(
    worker: &ObservedInstance,
    health: health::Health,
    on_stopped: OnStopped,
) -> Option<TerminationReason> {
    let stopped = worker.instance.state.is_stopped();
    match (stopped, on_stopped, health.failed) {
        (true, OnStopped::Replace, _) => Some(TerminationReason::Stopped),
        (true, OnStopped::Ignore, _) => None,
        (false, _, Some(health::Failed::ToStart)) => Some(TerminationReason::StartupDeadline),
        (false, _, Some(health::Failed::Checks)) => Some(TerminationReason::ChecksFailed),
        (false, _, None) => None,
    }
}

/// Terminates failed workers, as many as may be replaced. If too many failed, the cause is probably not the workers,
/// and none is terminated.
fn end_unhealthy(builder: &mut PlanBuilder<'_, '_>, desired: &Desired, state: &State) -> Option<Blocker> {
    let failure = |worker: &ObservedInstance| failure(worker, state.of(worker), desired.on_stopped);
    let failed: Vec<_> = builder.expendable().filter_map(|w| Some((failure(w)?, w.instance.id.clone()))).collect();
    if failed.is_empty() {
        return None;
    }
    if sick(builder.workers(), desired, state) > desired.max_unhealthy.rounded_up(desired.total()) {
        return Some(Blocker::Unhealthy);
    }
    // Workers that are already missing count against the limit.
    let all = counted(&builder.observed.instances, &builder.ledger);
    let missing = desired.roles.iter().map(|role| {
        let existing: u32 = all.iter().filter(|g| g.role == role.role.as_str()).map(|g| g.count).sum();
        builder.ledger.provisioned(&role.role).min(role.replicas).saturating_sub(existing)
    });
    let replaced = builder.ledger.replaced(builder.context.now) + missing.sum::<u32>();
    let allowed = desired.max_replacements.saturating_sub(replaced) as usize;
    let held = failed.len() > allowed;
    let mut by_reason: BTreeMap<TerminationReason, Vec<InstanceId>> = BTreeMap::new();
    for (reason, id) in failed.into_iter().take(allowed) {
        by_reason.entry(reason).or_default().push(id);
    }
    for (reason, ids) in by_reason {
        builder.end(ids, reason);
    }
    held.then_some(Blocker::ReplacementLimit)
}

pub(super) fn sick<'a>(workers: impl Iterator<Item = &'a ObservedInstance>, desired: &Desired, state: &State) -> u32 {
    let sick = |worker: &&ObservedInstance| {
        let health = state.of(worker);
        failure(worker, health, desired.on_stopped).is_some() || health.is_sick() && !worker.instance.state.is_stopped()
    };
    workers.filter(sick).count() as u32
}

/// Launches `wanted` workers, within the replacement limit.
fn launch(
    builder: &mut PlanBuilder<'_, '_>,
    desired: &Desired,
    role: &DesiredRole,
    wanted: u32,
    existing: u32,
) -> Result<(), Blocker> {
    if wanted == 0 {
        return Ok(());
    }
    let launch_spec = builder.launch_spec(role, &desired.parameters, &desired.ignore)?;
    let lost = builder.ledger.provisioned(&role.role).saturating_sub(existing).min(wanted);
    let allowed = desired.max_replacements.saturating_sub(builder.ledger.replaced(builder.context.now));
    let replaces = lost.min(allowed);
    let order = Order { owner: &desired.owner, role: &role.role, launch_spec, replaces, indexes: &[] };
    let before = builder.ledger.launches.len();
    let launched = builder.launch(&order, wanted - (lost - replaces));
    let new: u32 = builder.ledger.launches[before..].iter().map(|intent| intent.count - intent.replaces).sum();
    let provisioned = (builder.ledger.provisioned(&role.role).max(existing) + new).min(role.replicas);
    builder.ledger.set_provisioned(&role.role, provisioned);
    if lost > replaces { Err(Blocker::ReplacementLimit) } else { launched }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tampered;
#[cfg(test)]
mod tests;
