//! The plan: from the desired state, the record and the observation to the next record and the calls that may follow
//! it. The progress is part of the record, so a result is recorded before its instance is terminated.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    aws::ec2::instance::InstanceState,
    crd::{launches::TerminationReason, worker_job::JobOutcome},
    ids::InstanceId,
    kinds::worker_job::{account::account, desired::Desired, observation::JobObservation},
    workers::{
        ledger::{Ledger, progress::Progress},
        observe::{counts::existing, instances::ObservedInstance, observed::Observed},
        plan::{Blocker, Order, Plan, PlanBuilder, PlanContext},
    },
};

/// A status stays below 64 KiB: if the progress takes more bytes than this, fewer calls may be open at once.
const LARGE: usize = 30_000;

/// The maximum number of launched instances, and of victims, that may be unsettled at once.
fn open_at_once(progress: &Progress) -> usize {
    if progress.size() < LARGE { 500 } else { 200 }
}

/// The next steps towards a result for each index.
pub(super) fn plan(
    desired: &Desired,
    observed: &Observed,
    observation: &JobObservation,
    ledger: &Ledger,
    context: &mut PlanContext<'_>,
) -> Plan {
    let mut builder = PlanBuilder::begin(observed, ledger, context, !desired.suspended);
    builder.ledger.progress = account(desired, &observed.instances, observation, builder.context.now);
    let mut blockers = BTreeMap::new();
    if desired.suspended {
        blockers.insert(desired.role.role.clone(), Blocker::Suspended);
        return builder.finish(blockers);
    }
    end_stopped(&mut builder);
    end_needless(&mut builder, observation);
    if builder.ledger.progress.finished.is_none() {
        end_surplus(&mut builder, desired, observation);
        if let Some(blocker) = launch(&mut builder, desired, observation) {
            blockers.insert(desired.role.role.clone(), blocker);
        }
    }
    builder.finish(blockers)
}

/// The next steps towards no instances, with everything settled.
pub(super) fn plan_end(observed: &Observed, ledger: &Ledger, context: &mut PlanContext<'_>) -> Plan {
    let mut builder = PlanBuilder::begin(observed, ledger, context, true);
    let all = builder.workers().map(id).collect();
    end(&mut builder, all, TerminationReason::Deleted);
    builder.finish(BTreeMap::new())
}

/// Whether everything is settled and no instance is left.
pub(super) fn has_ended(observed: &Observed, observation: &JobObservation, ledger: &Ledger) -> bool {
    let live = observed.instances.shown.values().any(|worker| !worker.instance.state.is_over());
    !ledger.is_open() && observed.instances.missing.is_empty() && !live && observation.hidden == 0
}

/// A stopped instance does no more work. Its result is in the progress that is recorded with its termination.
fn end_stopped(builder: &mut PlanBuilder<'_, '_>) {
    let stopped = builder.workers().filter(|worker| worker.instance.state == InstanceState::Stopped);
    let stopped = stopped.map(id).collect();
    end(builder, stopped, TerminationReason::Stopped);
}

/// Terminates instances that are no longer needed: their index is final and they had enough time to exit, the job has
/// failed, or their index is unknown.
fn end_needless(builder: &mut PlanBuilder<'_, '_>, observation: &JobObservation) {
    let failed = match builder.ledger.progress.finished.map(|finish| finish.outcome) {
        Some(JobOutcome::MaxFailedIndexesExceeded | JobOutcome::DeadlineExceeded) => true,
        // Every index has its result, so the remaining workers are about to exit.
        Some(JobOutcome::Complete | JobOutcome::FailedIndexes) | None => false,
    };
    let needless = |worker: &&ObservedInstance| {
        let id = &worker.instance.id;
        failed || observation.lingering.contains(id) || observation.holders.get(id) == Some(&None)
    };
    let needless = builder.workers().filter(needless).map(id).collect();
    end(builder, needless, TerminationReason::Finished);
}

/// Terminates surplus workers: first those whose index an older worker runs, then the highest indexes, as Kubernetes
/// does.
fn end_surplus(builder: &mut PlanBuilder<'_, '_>, desired: &Desired, observation: &JobObservation) {
    let mut workers: Vec<_> = builder.workers().collect();
    workers.sort_by_key(|worker| (worker.instance.launched_at, &worker.instance.id));
    let mut held = BTreeSet::new();
    let ranked = workers.into_iter().map(|worker| {
        let index = observation.holders.get(&worker.instance.id).copied().flatten();
        (index.is_some_and(|index| !held.insert(index)), index, id(worker))
    });
    let mut ranked: Vec<_> = ranked.collect();
    let duplicates = ranked.iter().filter(|(is_duplicate, _, _)| *is_duplicate).count();
    let surplus = ranked.len().saturating_sub(desired.parallelism as usize).max(duplicates);
    ranked.sort_by_key(|(is_duplicate, index, _)| std::cmp::Reverse((*is_duplicate, *index)));
    let ids = ranked.into_iter().take(surplus).map(|(_, _, id)| id).collect();
    end(builder, ids, TerminationReason::ScaleDown);
}

fn end(builder: &mut PlanBuilder<'_, '_>, mut ids: Vec<InstanceId>, reason: TerminationReason) {
    ids.truncate(open_at_once(&builder.ledger.progress).saturating_sub(builder.ledger.victims().len()));
    builder.end(ids, reason);
}

fn launch(builder: &mut PlanBuilder<'_, '_>, desired: &Desired, observation: &JobObservation) -> Option<Blocker> {
    let instances = &builder.observed.instances;
    let free = free(desired, observation, &builder.ledger);
    // A process that starts with an older record counts the holders of the newer one here.
    let named = builder.ledger.named();
    let listed = observation.holders.keys().filter(|id| !instances.knows(id) && !named.contains_key(*id)).count();
    let existing = existing(instances, &builder.ledger) as usize + listed;
    let wanted = (desired.parallelism as usize).saturating_sub(existing);
    let wanted = wanted.min(free.as_ref().map_or(0, Vec::len));
    if wanted == 0 {
        return None;
    }
    if instances.orphans.values().any(|uid| !desired.ignore.contains(uid)) {
        return Some(Blocker::Orphans);
    }
    if desired.parameters.problem.is_some() {
        return Some(Blocker::Parameters);
    }
    let Some(launch_spec) = desired.role.resolved.usable() else { return Some(Blocker::Unresolved) };
    let open: usize = builder.ledger.launches.iter().map(|intent| intent.count as usize).sum();
    let room = open_at_once(&builder.ledger.progress).saturating_sub(open);
    let chosen: Vec<u32> = free.into_iter().flatten().take(wanted.min(room)).collect();
    if chosen.is_empty() {
        return Some(Blocker::Busy);
    }
    let order = Order {
        owner: &desired.owner.uid,
        role: &desired.role.role,
        revision: &launch_spec.revision.name,
        image: &launch_spec.image.id,
        launch_template_version: launch_spec.launch_template_version,
        places: &launch_spec.places,
        replaces: 0,
        indexes: &chosen,
    };
    let blocker = builder.launch(&order, chosen.len() as u32);
    blocker.or_else(|| (chosen.len() < wanted).then_some(Blocker::Busy))
}

/// The indexes that may be run now, in order: not final, and not held by an instance that is shown, missing, launching
/// or shutting down. `None` while the index of an instance is unknown.
fn free(desired: &Desired, observation: &JobObservation, ledger: &Ledger) -> Option<Vec<u32>> {
    if observation.hidden > 0 || observation.unread.is_some() {
        return None;
    }
    let mut taken: BTreeSet<u32> = observation.resting.clone();
    for index in observation.holders.values() {
        taken.insert((*index)?);
    }
    for intent in &ledger.launches {
        taken.extend(intent.indexes.as_ref()?.iter());
    }
    Some((0..desired.completions).filter(|index| !ledger.progress.is_final(*index) && !taken.contains(index)).collect())
}

fn id(worker: &ObservedInstance) -> InstanceId {
    worker.instance.id.clone()
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
pub(super) mod tests;
