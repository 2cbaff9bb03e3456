//! Which ends and results count.

use serde_json::json;

use super::*;
use crate::{
    crd::worker_job::WorkerJobStatus,
    kinds::worker_job::{
        launched::{Judgement, Launched},
        record::{progress_of, with_progress},
        results::{Rejection, ResultKey, Results},
        sample::{self, ITSELF, at, desired, id, result, world},
    },
    workers::ledger::Ledger,
};

fn ended(index: u32, reason: &str) -> JobObservation {
    JobObservation { ends: vec![sample::ended(9, index, reason)], ..world(&[]).1 }
}

fn progress(observation: &JobObservation) -> Progress {
    account(&desired(json!({})), &ObservedInstances::default(), observation, at(1))
}

#[test]
fn a_termination_without_a_result_counts_by_its_state_reason() {
    for (reason, counts) in [
        (ITSELF, 1),
        ("Client.InternalError", 1),
        ("Client.InvalidSnapshot.NotFound", 1),
        ("Client.UserInitiatedShutdown", 0),
        ("Client.VolumeLimitExceeded", 0),
        ("Server.SpotInstanceTermination", 0),
        ("Server.SpotInstanceShutdown", 0),
        ("Server.InsufficientInstanceCapacity", 0),
        ("Server.InternalError", 0),
        ("Server.ScheduledStop", 0),
        ("", 0),
    ] {
        let failures = progress(&ended(2, reason)).failures;
        assert_eq!(failures.get(&2).copied().unwrap_or_default(), counts, "{reason:?}");
    }
}

#[test]
fn a_result_overrides_the_state_reason() {
    let mut observation = ended(2, ITSELF);
    observation.results.insert(result(2, 9), Told::Succeeded);
    let now = progress(&observation);
    assert_eq!((now.completed.to_string().as_str(), now.failures.len()), ("2", 0));
    let mut observation = ended(2, "Server.SpotInstanceTermination");
    observation.results.insert(result(2, 9), Told::Failed);
    assert_eq!(progress(&observation).failures[&2], 1);
}

#[test]
fn each_failure_counts_once() {
    let mut observation = ended(2, ITSELF);
    observation.results.insert(result(2, 9), Told::Failed);
    let first = progress(&observation);
    assert_eq!(first.failures[&2], 1);
    assert_eq!(progress(&observation), first, "calculated again from the same observation");
    let (_, mut later) = world(&[]);
    later.before = first.clone();
    later.results.insert(result(2, 9), Told::Failed);
    assert_eq!(progress(&later), first, "its result is still in S3");
    let (_, mut fresh) = world(&[]);
    fresh.results.insert(result(2, 9), Told::Failed);
    assert_eq!(progress(&fresh).failures[&2], 1, "a process that did not see it");
    later.holders.insert(id(8), Some(2));
    later.results.insert(result(2, 8), Told::Failed);
    assert_eq!(progress(&later).failures[&2], 1, "a running instance counts when it has ended");
}

#[test]
fn more_failures_than_the_limit_are_final() {
    let mut observation = ended(2, ITSELF);
    observation.before.failures.insert(2, 1);
    let now = progress(&observation);
    assert_eq!((now.failed.to_string().as_str(), now.failures.len()), ("2", 0));
    let (_, mut later) = world(&[]);
    later.before = now.clone();
    later.results.insert(result(2, 7), Told::Succeeded);
    assert_eq!(progress(&later), now, "later results do not count");
}

#[test]
fn the_outcome_depends_on_the_finished_indexes() {
    let (too_many, overdue) = (Some(JobOutcome::MaxFailedIndexesExceeded), Some(JobOutcome::DeadlineExceeded));
    let all: Vec<u32> = (0..5).collect();
    for (case, fields, completed, failed, now, outcome) in [
        ("all succeeded", json!({}), &all[..], &[][..], 1, Some(JobOutcome::Complete)),
        ("some are open", json!({}), &all[..4], &[], 1, None),
        ("all are done, one failed", json!({}), &all[..4], &[4], 1, Some(JobOutcome::FailedIndexes)),
        ("as many failed as allowed", json!({"maxFailedIndexes": 1}), &all[..1], &[4], 1, None),
        ("more failed than allowed", json!({"maxFailedIndexes": 1}), &all[..1], &[3, 4], 1, too_many),
        ("no failure is allowed", json!({"maxFailedIndexes": 0}), &[], &[4], 1, too_many),
        ("before the deadline", json!({"activeDeadlineSeconds": 60}), &all[..1], &[], 59, None),
        ("at the deadline", json!({"activeDeadlineSeconds": 60}), &all[..1], &[], 60, overdue),
        ("done at the deadline", json!({"activeDeadlineSeconds": 60}), &all[..], &[], 60, Some(JobOutcome::Complete)),
        ("a clock that was set back", json!({"activeDeadlineSeconds": 60}), &[], &[], -600, None),
    ] {
        let (_, mut observation) = world(&[]);
        observation.before.completed = completed.iter().copied().collect();
        observation.before.failed = failed.iter().copied().collect();
        let finished = account(&desired(fields), &ObservedInstances::default(), &observation, at(now)).finished;
        assert_eq!(finished, outcome.map(|outcome| Finish { outcome, at: at(now) }), "{case}");
    }
}

#[test]
fn only_a_worker_that_shut_itself_down_has_succeeded() {
    let wanted = desired(json!({"result": {"shutdownReason": {}}}));
    let stopped = InstanceState::Stopped;
    for (case, state, reason, completed) in [
        ("stopped from inside", stopped, ITSELF, "1"),
        ("stopped by a user", stopped, "Client.UserInitiatedShutdown", ""),
        ("stopped by EC2", stopped, "Server.ScheduledStop", ""),
        ("not stopped yet", InstanceState::Stopping, ITSELF, ""),
        ("running", InstanceState::Running, "", ""),
    ] {
        let (observed, observation) = world(&[(1, state, reason)]);
        let now = account(&wanted, &observed.instances, &observation, at(1));
        assert_eq!(now.completed.to_string(), completed, "{case}");
        assert!(now.failures.is_empty(), "{case}");
    }
    let now = account(&wanted, &ObservedInstances::default(), &ended(3, ITSELF), at(1));
    assert_eq!(now.completed.to_string(), "3", "an instance whose shutdown behavior was set to terminate");
}

#[test]
fn every_worker_is_known_by_the_record_alone() {
    let all: Vec<_> = (0..1000).map(|n| (id(n), n)).collect();
    let (_, mut observation) = world(&[]);
    observation.holders = all.iter().map(|(id, index)| (id.clone(), Some(*index))).collect();
    let wanted = desired(json!({"completions": 1000, "parallelism": 1000}));
    let next = |observation: &JobObservation| {
        let progress = account(&wanted, &ObservedInstances::default(), observation, at(1));
        progress_of(&with_progress(WorkerJobStatus::default(), &progress))
    };
    let before = next(&observation);
    assert!(before.holders.len() > 100 && before.unlisted > 500, "{} listed", before.holders.len());
    // Another process, to which EC2 shows none of them.
    let (_, mut later) = world(&[]);
    later.holders.clone_from(&before.holders);
    later.before = before;
    later.hidden = 600;
    let launched = Launched::new(&later, &ObservedInstances::default(), &Ledger::default(), &BTreeMap::new());
    for (id, index) in &all {
        let key = |index| ResultKey { index, instance: id.clone() };
        assert_eq!(launched.judge(&key(*index)), Judgement::Counts, "{id}");
        assert_ne!(launched.judge(&key((index + 1) % 1000)), Judgement::Counts, "{id}");
    }
    let carried = next(&later);
    assert_eq!(carried.sealed, later.before.sealed, "as long as nothing is known of them");

    // The results of some of the unlisted ones arrive.
    let mut sealed = all.iter().filter(|(id, _)| !carried.holders.contains_key(id));
    let [(succeeded, s), (failed, f), (held, h), (replaced, r)] = [(); 4].map(|()| sealed.next().unwrap());
    let mut results = Results::default();
    results.insert(ResultKey { index: *s, instance: succeeded.clone() }, Told::Succeeded);
    results.insert(ResultKey { index: *f, instance: failed.clone() }, Told::Failed);
    results.hold(*h, "", &Rejection::Crowded);
    later.holders.insert(id(2000), Some(*r));
    later.take(results);
    let after = next(&later);
    assert_eq!((after.completed.iter().collect::<Vec<_>>(), after.failures.clone()), (vec![*s], [(*f, 1)].into()));
    assert_eq!(next(&later), after, "calculated again from the same observation");
    let known = |id: &InstanceId, index: u32| after.is_sealed(index, id) || after.holders.contains_key(id);
    assert!(!known(succeeded, *s) && !known(failed, *f), "accounted for");
    assert!(known(held, *h), "not yet");
    assert!(!known(replaced, *r) && known(&id(2000), *r));
}

#[test]
fn an_end_whose_result_cannot_be_read_does_not_count_and_is_remembered() {
    let mut observation = ended(2, ITSELF);
    observation.results.hold(2, "", &Rejection::Crowded);
    let now = progress(&observation);
    assert!(now.failures.is_empty() && now.completed.is_empty());
    assert!(now.is_sealed(2, &id(9)));
}
