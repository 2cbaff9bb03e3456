//! What people read, case by case, and how much of it there can be.

use jiff::Timestamp;
use serde_json::json;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;
use crate::{
    condition,
    ids::Uid,
    worker_job::{
        plan::{
            plan,
            tests::{desired, id, world},
        },
        record::with_progress,
        results::Rejection,
    },
    workers::{draft::Pass, instance::InstanceState, launch::Termination, launch::TerminationReason},
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

struct Case {
    desired: Desired,
    observed: Observed,
    sight: Sight,
    ledger: Ledger,
    hold: Option<Hold>,
}

impl Case {
    fn new(fields: serde_json::Value, running: u32, progress: impl FnOnce(&mut Progress)) -> Self {
        let machines: Vec<_> = (0..running).map(|n| (n, InstanceState::Running, "")).collect();
        let (observed, sight) = world(&machines);
        let mut ledger = Ledger { progress: sight.before.clone(), ..Ledger::default() };
        progress(&mut ledger.progress);
        Self { desired: desired(fields), observed, sight, ledger, hold: None }
    }

    fn told(&self) -> Vec<String> {
        let undying = BTreeMap::new();
        let Self { desired, observed, sight, ledger, hold } = self;
        let view = View { desired, observed, sight, ledger, hold: *hold, undying: &undying };
        let conditions = condition::merge(&[], &view.verdicts(), 1, at(0));
        conditions.iter().map(|c| format!("{}={} {}: {}", c.type_, c.status, c.reason, c.message)).collect()
    }
}

fn finished(outcome: JobOutcome) -> impl FnOnce(&mut Progress) {
    move |progress| {
        progress.completed = [0, 1, 2].into_iter().collect();
        progress.failed = [4].into_iter().collect();
        progress.finished = Some(Finish { outcome, at: at(90) });
    }
}

#[test]
fn conditions_say_what_is_so_and_what_to_do() {
    let mut orphans = Case::new(json!({}), 0, |_| {});
    orphans.observed.roster.orphans.insert(id(9), Uid::try_from("11111111-9d0c-4f6e-8f0e-1f7a2b3c4d5e").unwrap());
    orphans.hold = Some(Hold::Orphans);
    let mut rejected = Case::new(json!({}), 1, |_| {});
    rejected.sight.results.reject("nightly/u/7/i-0000000a", &Rejection::WrongIndex(6));
    let told: BTreeMap<_, _> = [
        ("1 running", Case::new(json!({}), 2, |progress| progress.completed = [0].into_iter().collect()).told()),
        ("2 complete", Case::new(json!({}), 0, finished(JobOutcome::Complete)).told()),
        (
            "3 too many failed",
            Case::new(json!({"maxFailedIndexes": 0}), 1, finished(JobOutcome::MaxFailedIndexesExceeded)).told(),
        ),
        ("4 some failed", Case::new(json!({}), 0, finished(JobOutcome::FailedIndexes)).told()),
        (
            "5 overdue",
            Case::new(json!({"activeDeadlineSeconds": 90}), 1, finished(JobOutcome::DeadlineExceeded)).told(),
        ),
        ("6 suspended", Case::new(json!({"suspend": true}), 1, |_| {}).told()),
        ("7 orphans", orphans.told()),
        ("8 an object that does not count", rejected.told()),
    ]
    .into();
    insta::assert_yaml_snapshot!(told);
}

fn long(n: u32) -> InstanceId {
    InstanceId::try_from(format!("i-{n:017x}")).unwrap()
}

/// Each index below `done` in a range of its own, in one of the three lists; many more at work; and as many calls open as
/// may be.
fn largest(done: u32) -> usize {
    let mut case = Case::new(json!({"completions": 10_000, "parallelism": 10_000}), 0, |_| {});
    case.sight.before.completed = (0..done).step_by(2).collect();
    case.sight.before.failed = (1..done).step_by(4).collect();
    case.sight.before.failures = (3..done).step_by(4).map(|index| (index, 1)).collect();
    case.sight.holders = (done..9000).map(|index| (long(index), Some(index))).collect();
    let mut nonce = rand::random::<u64>;
    let mut pass = Pass { now: at(1), holder: "muster-7d9c5b6f4-abcde-0123abcd", nonce: &mut nonce };
    case.ledger.progress = case.sight.before.clone();
    let mut ledger = plan(&case.desired, &case.observed, &case.sight, &case.ledger, &mut pass).ledger;
    assert!(!ledger.launches.is_empty());
    for intent in &mut ledger.launches {
        intent.instance_ids = (0..intent.count).map(long).collect();
    }
    ledger.terminations = vec![Termination {
        holder: "muster-7d9c5b6f4-abcde-0123abcd".into(),
        reason: TerminationReason::Finished,
        started_at: Time(at(1)),
        instance_ids: (0..200).map(long).collect(),
    }];
    let mut status = with_progress(WorkerJobStatus::default(), &ledger.progress);
    (status.workers.launches, status.workers.terminations) = (ledger.launches, ledger.terminations);
    serde_json::to_vec(&status).unwrap().len()
}

#[test]
fn the_largest_status_stays_below_64_kib() {
    for done in [0, 2000, 4000, 6000, 8000, 10_000] {
        let size = largest(done);
        assert!(size < 62 * 1024, "{size} bytes with {done} done, and conditions come on top");
    }
}
