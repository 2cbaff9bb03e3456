//! How far the work is, from what is on record and what is seen. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::{
    condition::second,
    ids::InstanceId,
    worker_job::{
        crd::MAX_LISTED,
        desired::{Desired, ResultsFrom},
        results::Told,
        sight::{End, Sight},
    },
    workers::{
        instance::InstanceState,
        progress::{Finish, JobOutcome, Progress},
        roster::Roster,
    },
};

/// The lists of indexes and of holders together take about so many bytes, or the former more alone.
const ROOM: usize = 20_000;
/// `{"id":"i-0123456789abcdef0","index":9999},`
const HOLDER: usize = 44;

/// The machine was shut down from inside (EC2, `StateReason`).
const SHUT_ITSELF_DOWN: &str = "Client.InstanceInitiatedShutdown";
/// EC2 could not start it, and could not start another either: a key that may not be used, a snapshot that is gone.
const CANNOT_START: [&str; 2] = ["Client.InternalError", "Client.InvalidSnapshot.NotFound"];

/// The next progress. It always starts from the one that the sight began with, so nothing is counted twice however often
/// this is worked out.
pub(super) fn account(desired: &Desired, roster: &Roster, sight: &Sight, now: Timestamp) -> Progress {
    let mut progress = sight.before.clone();
    list_holders(&mut progress, sight);
    progress.misplaced |= sight.misplaced;
    if progress.finished.is_some() {
        return progress;
    }
    progress.started = match progress.started {
        started if desired.plan_only => started,
        // The deadline begins anew when it goes on.
        _ if desired.suspended => None,
        None => Some(second(now)),
        started => started,
    };
    for index in successes(desired, roster, sight) {
        if index < desired.completions && !progress.failed.contains(index) {
            progress.completed.insert(index);
        }
    }
    for (index, count) in failures(sight) {
        if index < desired.completions && !progress.is_final(index) {
            progress.failures.insert(index, count);
        }
    }
    let over: Vec<_> = progress.failures.iter().filter(|(_, n)| **n > desired.backoff_limit).map(|(i, _)| *i).collect();
    over.into_iter().for_each(|index| {
        if !progress.completed.contains(index) {
            progress.failed.insert(index);
        }
    });
    let Progress { completed, failed, failures, .. } = &mut progress;
    failures.retain(|index, _| !completed.contains(*index) && !failed.contains(*index));
    progress.finished = outcome(desired, &progress, now).map(|outcome| Finish { outcome, at: second(now) });
    progress
}

/// Puts down who holds an index, as many as there is room for.
fn list_holders(progress: &mut Progress, sight: &Sight) {
    let room = ROOM.saturating_sub(progress.size()) / HOLDER;
    let listed = room.min(MAX_LISTED as usize).min(sight.holders.len());
    progress.holders = sight.holders.iter().take(listed).map(|(id, index)| (id.clone(), *index)).collect();
    let unlisted = u32::try_from(sight.holders.len() - listed).unwrap_or(u32::MAX);
    progress.unlisted = unlisted.saturating_add(sight.hidden);
}

fn successes(desired: &Desired, roster: &Roster, sight: &Sight) -> BTreeSet<u32> {
    match desired.results {
        ResultsFrom::S3(_) => sight.results.succeeded().collect(),
        ResultsFrom::ShutdownReason => {
            let stopped = roster.machines.values().map(|machine| &machine.instance).filter(|instance| {
                instance.state == InstanceState::Stopped && instance.state_reason == SHUT_ITSELF_DOWN
            });
            let stopped = stopped.filter_map(|instance| sight.holders.get(&instance.id).copied().flatten());
            let ended = sight.ends.iter().filter(|end| end.reason == SHUT_ITSELF_DOWN).filter_map(|end| end.index);
            stopped.chain(ended).collect()
        }
    }
}

/// How often each index that failed has failed: as often as is on record, or as S3 has results of machines that are
/// accounted for, whichever is more; and once more for each machine that has ended since and counts. A machine of a launch
/// that is still open has its turn once it is seen.
fn failures(sight: &Sight) -> BTreeMap<u32, u32> {
    let open = |id: &InstanceId| sight.holders.contains_key(id) || sight.ends.iter().any(|end| &end.id == id);
    let mut told: BTreeMap<u32, u32> = BTreeMap::new();
    for (index, _) in sight.results.failed().filter(|(index, id)| !open(id) && !sight.launching.contains(index)) {
        *told.entry(index).or_default() += 1;
    }
    let mut failures = sight.before.failures.clone();
    for (index, count) in told {
        let known = failures.entry(index).or_default();
        *known = (*known).max(count);
    }
    for index in sight.ends.iter().filter(|end| counts(end, sight)).filter_map(|end| end.index) {
        *failures.entry(index).or_default() += 1;
    }
    failures
}

/// Whether the end of a machine is a failure of its index, rather than of EC2 or somebody's decision.
fn counts(end: &End, sight: &Sight) -> bool {
    let told = end.index.and_then(|index| sight.results.of(index, &end.id));
    match told {
        Some(Told::Failed) => true,
        Some(Told::Succeeded) => false,
        None => end.reason == SHUT_ITSELF_DOWN || CANNOT_START.contains(&end.reason.as_str()),
    }
}

fn outcome(desired: &Desired, progress: &Progress, now: Timestamp) -> Option<JobOutcome> {
    let (completed, failed) = (progress.completed.len(), progress.failed.len());
    let overdue = || {
        let running = progress.started.map(|started| now.duration_since(started));
        let deadline = desired.deadline.filter(|_| !desired.suspended);
        running
            .zip(deadline)
            .is_some_and(|(running, deadline)| !running.is_negative() && running.unsigned_abs() >= deadline)
    };
    if completed >= desired.completions {
        Some(JobOutcome::Complete)
    } else if desired.max_failed.is_some_and(|most| failed > most) {
        Some(JobOutcome::MaxFailedIndexesExceeded)
    } else if completed + failed >= desired.completions {
        Some(JobOutcome::FailedIndexes)
    } else if overdue() {
        Some(JobOutcome::DeadlineExceeded)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
