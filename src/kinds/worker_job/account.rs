//! The progress of a job, from the record and what is observed. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::{
    aws::ec2::instance::InstanceState,
    condition::second,
    crd::worker_job::{JobOutcome, MAX_LISTED},
    ids::InstanceId,
    kinds::worker_job::{
        desired::{Desired, ResultsFrom},
        observation::{End, JobObservation},
        results::Told,
    },
    workers::{
        ledger::progress::{Finish, Progress, Seal},
        observe::instances::ObservedInstances,
    },
};

/// The bytes that the lists of indexes and holders may take in a status. The lists of indexes alone may take more.
const ROOM: usize = 20_000;
/// `{"id":"i-0123456789abcdef0","index":9999},`
const HOLDER: usize = 44;
/// So many are listed in any case: if EC2 shows none of them either, the cause is not the instances.
const LISTED_AT_LEAST: usize = 20;

/// The instance was shut down from inside (EC2, `StateReason`).
const SHUT_ITSELF_DOWN: &str = "Client.InstanceInitiatedShutdown";
/// EC2 could not start the instance, and could not start another: for example, a KMS key may not be used, or a snapshot
/// does not exist.
const CANNOT_START: [&str; 2] = ["Client.InternalError", "Client.InvalidSnapshot.NotFound"];

/// The next progress. It always starts from the progress on record at the observation, so that repeated calls count
/// nothing twice.
pub(super) fn account(
    desired: &Desired,
    instances: &ObservedInstances,
    observation: &JobObservation,
    now: Timestamp,
) -> Progress {
    let mut progress = observation.before.clone();
    if progress.finished.is_some() {
        list_holders(&mut progress, observation);
        return progress;
    }
    progress.started = match progress.started {
        started if desired.plan_only => started,
        // The deadline starts again when the job is resumed.
        _ if desired.suspended => None,
        started => started.or(Some(second(now))),
    };
    for index in successes(desired, instances, observation) {
        if index < desired.completions && !progress.failed.contains(index) {
            progress.completed.insert(index);
        }
    }
    for (index, count) in failures(observation) {
        if index < desired.completions && !progress.is_final(index) {
            progress.failures.insert(index, count);
        }
    }
    let Progress { completed, failed, failures, .. } = &mut progress;
    failures.retain(|index, count| {
        if *count > desired.backoff_limit && !completed.contains(*index) {
            failed.insert(*index);
        }
        !completed.contains(*index) && !failed.contains(*index)
    });
    progress.finished = outcome(desired, &progress, now).map(|outcome| Finish { outcome, at: second(now) });
    list_holders(&mut progress, observation);
    progress
}

/// Lists the holders of indexes, as many as there is room for, and seals the others. The instance that was sealed for an
/// index stays so until its end is accounted for, the index is final, or another instance runs it.
fn list_holders(progress: &mut Progress, observation: &JobObservation) {
    let JobObservation { holders, ends, results, hidden, .. } = observation;
    let seal = |(id, index): (&InstanceId, &Option<u32>)| index.map(|index| (index, Seal::new(index, id)));
    let is_held = |index: &u32| results.held().contains(index);
    let ended: BTreeMap<u32, Seal> = ends.iter().filter_map(|end| seal((&end.id, &end.index))).collect();
    progress.sealed.retain(|index, seal| is_held(index) || ended.get(index) != Some(seal));
    progress.sealed.extend(ended.into_iter().filter(|(index, _)| is_held(index)));
    // The size as if all were sealed.
    let sealed = progress.sealed.clone();
    progress.sealed.extend(holders.iter().filter_map(seal));
    let room = ROOM.saturating_sub(progress.size()) / HOLDER;
    let listed = room.clamp(LISTED_AT_LEAST, MAX_LISTED as usize).min(holders.len());
    progress.sealed = sealed;
    progress.holders = holders.iter().take(listed).map(|(id, index)| (id.clone(), *index)).collect();
    for index in progress.holders.values().flatten().filter(|index| !is_held(index)) {
        progress.sealed.remove(index);
    }
    progress.sealed.extend(holders.iter().skip(listed).filter_map(seal));
    let Progress { completed, failed, finished, sealed, .. } = progress;
    sealed.retain(|index, _| finished.is_none() && !completed.contains(*index) && !failed.contains(*index));
    let unlisted = u32::try_from(holders.len() - listed).unwrap_or(u32::MAX);
    progress.unlisted = unlisted.saturating_add(*hidden);
}

fn successes(desired: &Desired, instances: &ObservedInstances, observation: &JobObservation) -> BTreeSet<u32> {
    match desired.results {
        ResultsFrom::S3(_) => observation.results.succeeded().collect(),
        ResultsFrom::ShutdownReason => {
            let shown = instances.shown.values().map(|worker| &worker.instance);
            let stopped = shown.filter(|i| i.state == InstanceState::Stopped && i.state_reason == SHUT_ITSELF_DOWN);
            let stopped = stopped.filter_map(|instance| observation.holders.get(&instance.id).copied().flatten());
            let ended = observation.ends.iter().filter(|end| end.reason == SHUT_ITSELF_DOWN);
            stopped.chain(ended.filter_map(|end| end.index)).collect()
        }
    }
}

/// The number of failures of each index: the count on record, or the number of failed results in S3 of instances that
/// are accounted for, whichever is greater, plus one for each new end that counts. An instance of an open launch is
/// counted once it is observed.
fn failures(observation: &JobObservation) -> BTreeMap<u32, u32> {
    let JobObservation { holders, ends, launching, results, .. } = observation;
    let is_open = |id: &InstanceId| holders.contains_key(id) || ends.iter().any(|end| &end.id == id);
    let mut reported: BTreeMap<u32, u32> = BTreeMap::new();
    for (index, _) in results.failed().filter(|(index, id)| !is_open(id) && !launching.contains(index)) {
        *reported.entry(index).or_default() += 1;
    }
    let mut failures = observation.before.failures.clone();
    for (index, count) in reported {
        let known = failures.entry(index).or_default();
        *known = (*known).max(count);
    }
    for index in ends.iter().filter(|end| counts(end, observation)).filter_map(|end| end.index) {
        *failures.entry(index).or_default() += 1;
    }
    failures
}

/// Whether the end of an instance is a failure of its index, rather than caused by EC2 or a user.
fn counts(end: &End, observation: &JobObservation) -> bool {
    let results = &observation.results;
    match end.index.and_then(|index| results.of(index, &end.id)) {
        Some(Told::Failed) => true,
        Some(Told::Succeeded) => false,
        // Its result says whether it failed, once it can be read.
        None if end.index.is_some_and(|index| results.held().contains(&index)) => false,
        None => end.reason == SHUT_ITSELF_DOWN || CANNOT_START.contains(&end.reason.as_str()),
    }
}

fn outcome(desired: &Desired, progress: &Progress, now: Timestamp) -> Option<JobOutcome> {
    let (completed, failed) = (progress.completed.len(), progress.failed.len());
    let deadline = desired.deadline.filter(|_| !desired.suspended);
    let overdue = progress.started.zip(deadline).is_some_and(|(started, deadline)| {
        let running = now.duration_since(started);
        !running.is_negative() && running.unsigned_abs() >= deadline
    });
    if completed >= desired.completions {
        Some(JobOutcome::Complete)
    } else if desired.max_failed.is_some_and(|most| failed > most) {
        Some(JobOutcome::MaxFailedIndexesExceeded)
    } else if completed + failed >= desired.completions {
        Some(JobOutcome::FailedIndexes)
    } else if overdue {
        Some(JobOutcome::DeadlineExceeded)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
