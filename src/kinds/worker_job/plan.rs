//! The plan: from the desired state, the record and the observation to the next record and the calls that may follow
//! it. The progress is part of the record, so a result is recorded before its instance is terminated.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use crate::{
    aws::ec2::instance::InstanceState,
    crd::{launches::TerminationReason, worker_job::JobOutcome},
    kinds::worker_job::{account::account, desired::Desired, observation::JobObservation},
    workers::{
        ledger::{Ledger, progress::Progress},
        observe::{counts::existing, instances::ObservedInstance, observed::Observed},
        plan::{Blocker, Order, Plan, PlanBuilder, PlanContext},
    },
};

/// A status stays below 64 KiB, so the progress and all that is open may take this many bytes.
const ROOM: usize = 58_000;
/// The bytes of one launched instance and of one victim, and of the holder that is listed besides: their ids.
const OPEN: usize = 80;
/// The bytes of an index that is run: the digest of its worker's id, and the index in a list if it fails.
const RUN: usize = 9;

/// The maximum number of launched instances, and of victims, that may be unsettled at once.
pub(super) fn open_at_once(progress: &Progress) -> usize {
    (ROOM.saturating_sub(progress.size()) / OPEN).clamp(50, 500)
}

/// How many more indexes the record has room for.
fn room_for(progress: &Progress) -> usize {
    ROOM.saturating_sub(progress.size()) / RUN
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
    // A stopped instance does no more work. Its result is in the progress that is recorded with its termination.
    let stopped = builder.expendable().filter(|worker| worker.instance.state == InstanceState::Stopped);
    end(&mut builder, stopped, TerminationReason::Stopped);
    end_needless(&mut builder, observation);
    if builder.ledger.progress.finished.is_none() {
        end_surplus(&mut builder, desired, observation);
        if let Err(blocker) = launch(&mut builder, desired, observation) {
            blockers.insert(desired.role.role.clone(), blocker);
        }
    }
    builder.finish(blockers)
}

/// The next steps towards no instances, with everything settled.
pub(super) fn plan_end(observed: &Observed, ledger: &Ledger, context: &mut PlanContext<'_>) -> Plan {
    let mut builder = PlanBuilder::begin(observed, ledger, context, true);
    let all = builder.workers();
    end(&mut builder, all, TerminationReason::Deleted);
    builder.finish(BTreeMap::new())
}

/// Whether everything is settled and no instance is left.
pub(super) fn has_ended(observed: &Observed, observation: &JobObservation, ledger: &Ledger) -> bool {
    !ledger.is_open() && observed.instances.left().is_empty() && observation.hidden == 0
}

/// Terminates instances that are no longer needed: their index is final and they had enough time to exit, the job has
/// failed, or their index is unknown.
fn end_needless(builder: &mut PlanBuilder<'_, '_>, observation: &JobObservation) {
    let failed = match builder.ledger.progress.finished.map(|finish| finish.outcome) {
        Some(JobOutcome::MaxFailedIndexesExceeded | JobOutcome::DeadlineExceeded) => true,
        // Every index has its result, so the remaining workers are about to exit.
        Some(JobOutcome::Complete | JobOutcome::FailedIndexes) | None => false,
    };
    let needless = builder.expendable().filter(|worker| {
        let id = &worker.instance.id;
        failed || observation.lingering.contains(id) || observation.holders.get(id) == Some(&None)
    });
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
        (index.is_some_and(|index| !held.insert(index)), index, worker)
    });
    let mut ranked: Vec<_> = ranked.collect();
    let duplicates = ranked.iter().filter(|(is_duplicate, _, _)| *is_duplicate).count();
    let surplus = ranked.len().saturating_sub(desired.parallelism as usize).max(duplicates);
    ranked.retain(|(_, _, worker)| worker.tampered.is_none());
    ranked.sort_by_key(|(is_duplicate, index, _)| Reverse((*is_duplicate, *index)));
    end(builder, ranked.into_iter().take(surplus).map(|(_, _, worker)| worker), TerminationReason::ScaleDown);
}

fn end<'a>(
    builder: &mut PlanBuilder<'_, '_>,
    workers: impl Iterator<Item = &'a ObservedInstance>,
    reason: TerminationReason,
) {
    let room = open_at_once(&builder.ledger.progress).saturating_sub(builder.ledger.victims().len());
    builder.end(workers.take(room).map(|worker| worker.instance.id.clone()).collect(), reason);
}

fn launch(builder: &mut PlanBuilder<'_, '_>, desired: &Desired, observation: &JobObservation) -> Result<(), Blocker> {
    let instances = &builder.observed.instances;
    let free = free(desired, observation, &builder.ledger).unwrap_or_default();
    // A process that starts with an older record counts the holders of the newer one here.
    let named = builder.ledger.named();
    let listed = observation.holders.keys().filter(|id| !instances.knows(id) && !named.contains_key(*id)).count();
    let existing = existing(instances, &builder.ledger) as usize + listed;
    let wanted = (desired.parallelism as usize).saturating_sub(existing).min(free.len());
    if wanted == 0 {
        return Ok(());
    }
    let launch_spec = builder.launch_spec(&desired.role, &desired.parameters, &desired.ignore)?;
    let open: usize = builder.ledger.launches.iter().map(|intent| intent.count as usize).sum();
    let progress = &builder.ledger.progress;
    let room = open_at_once(progress).saturating_sub(open).min(room_for(progress));
    let indexes = &free[..wanted.min(room)];
    if indexes.is_empty() {
        return Err(Blocker::Busy);
    }
    let order = Order { owner: &desired.owner, role: &desired.role.role, launch_spec, replaces: 0, indexes };
    builder.launch(&order, indexes.len() as u32)?;
    if indexes.len() < wanted { Err(Blocker::Busy) } else { Ok(()) }
}

/// The indexes that may be run now, in order: not final, and not held by an instance that is shown, missing, launching
/// or shutting down, nor by a result that cannot be read. `None` while the index of an instance is unknown.
fn free(desired: &Desired, observation: &JobObservation, ledger: &Ledger) -> Option<Vec<u32>> {
    if observation.hidden > 0 || observation.unread.is_some() {
        return None;
    }
    let mut taken: BTreeSet<u32> = &observation.resting | observation.results.held();
    for index in observation.holders.values() {
        taken.insert((*index)?);
    }
    for intent in &ledger.launches {
        taken.extend(intent.indexes.as_ref()?.iter());
    }
    Some((0..desired.completions).filter(|index| !ledger.progress.is_final(*index) && !taken.contains(index)).collect())
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
