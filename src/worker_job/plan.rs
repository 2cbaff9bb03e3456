//! What to do: from the wish, the record and the world to the next record and the calls that may follow it. The progress
//! is part of the record, so a result is recorded before the machine that brought it is ended.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    ids::InstanceId,
    worker_job::{account::account, desired::Desired, sight::Sight},
    workers::{
        draft::{Draft, Hold, Observed, Order, Pass, Plan},
        headcount::existing,
        instance::InstanceState,
        launch::TerminationReason,
        ledger::Ledger,
        progress::{JobOutcome, Progress},
        roster::Sighting,
    },
};

/// A status stays below 64 KiB: with a progress that takes much room, fewer calls are open at once.
const MUCH: usize = 30_000;

/// How many launched machines and how many victims may be unsettled at once.
fn open_at_once(progress: &Progress) -> usize {
    if progress.size() < MUCH { 500 } else { 200 }
}

/// Towards a result for each index.
pub(super) fn plan(
    desired: &Desired,
    observed: &Observed,
    sight: &Sight,
    ledger: &Ledger,
    pass: &mut Pass<'_>,
) -> Plan {
    let mut draft = Draft::begin(observed, ledger, pass, !desired.suspended);
    let progress = account(desired, &observed.roster, sight, draft.pass.now);
    draft.ledger.progress = progress.clone();
    let mut holds = BTreeMap::new();
    if desired.suspended {
        holds.insert(desired.role.clone(), Hold::Suspended);
        return draft.finish(holds);
    }
    let finished = progress.finished.map(|finish| finish.outcome);
    end_stopped(&mut draft, &progress);
    end_needless(&mut draft, sight, &progress, finished);
    if finished.is_none() {
        end_surplus(&mut draft, desired, sight, &progress);
        if let Some(hold) = launch(&mut draft, desired, sight, &progress) {
            holds.insert(desired.role.clone(), hold);
        }
    }
    draft.finish(holds)
}

/// Towards none, and nothing unsettled.
pub(super) fn plan_end(observed: &Observed, ledger: &Ledger, pass: &mut Pass<'_>) -> Plan {
    let mut draft = Draft::begin(observed, ledger, pass, true);
    let all = draft.workers().map(id).collect();
    let progress = draft.ledger.progress.clone();
    end(&mut draft, &progress, all, TerminationReason::Deleted);
    draft.finish(BTreeMap::new())
}

/// Whether nothing is unsettled and nothing left.
pub(super) fn has_ended(observed: &Observed, sight: &Sight, ledger: &Ledger) -> bool {
    let live = observed.roster.machines.values().any(|machine| !machine.instance.state.is_over());
    !ledger.is_open() && observed.roster.unseen.is_empty() && !live && sight.hidden == 0
}

/// A stopped machine does no work any more. What it came to is in the progress that is recorded with it.
fn end_stopped(draft: &mut Draft<'_, '_>, progress: &Progress) {
    let stopped = draft.workers().filter(|worker| worker.instance.state == InstanceState::Stopped);
    let stopped = stopped.map(id).collect();
    end(draft, progress, stopped, TerminationReason::Stopped);
}

/// Machines that nobody waits for: their index is done with and they had time enough to end by themselves, the job has
/// failed, or nobody knows what they do.
fn end_needless(draft: &mut Draft<'_, '_>, sight: &Sight, progress: &Progress, finished: Option<JobOutcome>) {
    let failed = match finished {
        Some(JobOutcome::MaxFailedIndexesExceeded | JobOutcome::DeadlineExceeded) => true,
        // Every index has its result, so those that still run are about to end.
        Some(JobOutcome::Complete | JobOutcome::FailedIndexes) | None => false,
    };
    let needless = |worker: &&Sighting| {
        let id = &worker.instance.id;
        failed || sight.lingering.contains(id) || sight.holders.get(id) == Some(&None)
    };
    let needless = draft.workers().filter(needless).map(id).collect();
    end(draft, progress, needless, TerminationReason::Finished);
}

/// More run than shall: who runs what an older one runs already, and then the highest indexes, as Kubernetes has it.
fn end_surplus(draft: &mut Draft<'_, '_>, desired: &Desired, sight: &Sight, progress: &Progress) {
    let mut workers: Vec<_> = draft.workers().collect();
    workers.sort_by_key(|worker| (worker.instance.launched_at, &worker.instance.id));
    let mut held = BTreeSet::new();
    let mut ranked: Vec<_> = workers
        .into_iter()
        .map(|worker| {
            let index = sight.holders.get(&worker.instance.id).copied().flatten();
            (index.is_some_and(|index| !held.insert(index)), index, id(worker))
        })
        .collect();
    let doubled = ranked.iter().filter(|(doubled, _, _)| *doubled).count();
    let surplus = ranked.len().saturating_sub(desired.parallelism as usize).max(doubled);
    ranked.sort_by_key(|(doubled, index, _)| std::cmp::Reverse((*doubled, *index)));
    let ids = ranked.into_iter().take(surplus).map(|(_, _, id)| id).collect();
    end(draft, progress, ids, TerminationReason::ScaleDown);
}

fn end(draft: &mut Draft<'_, '_>, progress: &Progress, mut ids: Vec<InstanceId>, reason: TerminationReason) {
    ids.truncate(open_at_once(progress).saturating_sub(draft.ledger.victims().len()));
    draft.end(ids, reason);
}

fn launch(draft: &mut Draft<'_, '_>, desired: &Desired, sight: &Sight, progress: &Progress) -> Option<Hold> {
    let roster = &draft.observed.roster;
    let free = free(desired, sight, &draft.ledger, progress);
    let wanted = desired.parallelism.saturating_sub(existing(roster, &draft.ledger)) as usize;
    let wanted = wanted.min(free.as_ref().map_or(0, Vec::len));
    if wanted == 0 {
        return None;
    }
    if roster.orphans.values().any(|uid| !desired.ignore.contains(uid)) {
        return Some(Hold::Orphans);
    }
    if desired.parameters.problem.is_some() {
        return Some(Hold::Parameters);
    }
    let Some(supply) = desired.supplied.usable() else { return Some(Hold::Unresolved) };
    let open: usize = draft.ledger.launches.iter().map(|intent| intent.count as usize).sum();
    let room = open_at_once(progress).saturating_sub(open);
    let chosen: Vec<u32> = free.into_iter().flatten().take(wanted.min(room)).collect();
    if chosen.is_empty() {
        return Some(Hold::Busy);
    }
    let order = Order {
        owner: &desired.owner.uid,
        role: &desired.role,
        revision: &supply.revision.name,
        image: &supply.image.id,
        launch_template_version: supply.launch_template_version,
        places: &supply.places,
        replaces: 0,
        indexes: &chosen,
    };
    let hold = draft.launch(&order, chosen.len() as u32);
    hold.or_else(|| (chosen.len() < wanted).then_some(Hold::Busy))
}

/// The indexes that may be run now, in order. One is free only when no machine runs it that is there, believed in, on its
/// way or on its way out. `None` while there is one of which nobody knows what it runs.
fn free(desired: &Desired, sight: &Sight, ledger: &Ledger, progress: &Progress) -> Option<Vec<u32>> {
    if sight.hidden > 0 || sight.unread.is_some() {
        return None;
    }
    let mut taken: BTreeSet<u32> = sight.resting.clone();
    for index in sight.holders.values() {
        taken.insert((*index)?);
    }
    for intent in &ledger.launches {
        taken.extend(intent.indexes.as_ref()?.iter());
    }
    Some((0..desired.completions).filter(|index| !progress.is_final(*index) && !taken.contains(index)).collect())
}

fn id(worker: &Sighting) -> InstanceId {
    worker.instance.id.clone()
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
pub(super) mod tests;
