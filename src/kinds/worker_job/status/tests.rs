//! The messages of the conditions, case by case, and the maximum size of a status.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::*;
use crate::{
    condition,
    crd::launches::{Termination, TerminationReason},
    kinds::worker_job::{
        plan::{open_at_once, plan},
        record::with_progress,
        results::Rejection,
        sample::*,
    },
};

struct Case {
    desired: Desired,
    observed: Observed,
    observation: JobObservation,
    ledger: Ledger,
    blocker: Option<Blocker>,
}

impl Case {
    fn new(fields: serde_json::Value, running: u32, progress: impl FnOnce(&mut Progress)) -> Self {
        let shown: Vec<_> = (0..running).map(|n| (n, RUNNING, "")).collect();
        let (observed, observation) = world(&shown);
        let mut ledger = Ledger { progress: observation.before.clone(), ..Ledger::default() };
        progress(&mut ledger.progress);
        Self { desired: desired(fields), observed, observation, ledger, blocker: None }
    }

    fn conditions(&self) -> Vec<String> {
        let termination_failed = &BTreeMap::new();
        let Self { desired, observed, observation, ledger, blocker } = self;
        let view = View { desired, observed, observation, ledger, blocker: *blocker, termination_failed };
        let conditions = condition::merge(&[], &view.verdicts(), 1, at(0));
        conditions.iter().map(|c| format!("{}={} {}: {}", c.type_, c.status, c.reason, c.message)).collect()
    }
}

fn finished(fields: serde_json::Value, running: u32, outcome: JobOutcome) -> Case {
    Case::new(fields, running, |progress| {
        progress.completed = [0, 1, 2].into_iter().collect();
        progress.failed = [4].into_iter().collect();
        progress.finished = Some(Finish { outcome, at: at(90) });
    })
}

#[test]
fn conditions_state_the_problem_and_what_to_do() {
    let mut orphans = Case::new(json!({}), 0, |_| {});
    orphans.observed.instances.orphans.insert(id(9), orphan());
    orphans.blocker = Some(Blocker::Orphans);
    let mut rejected = Case::new(json!({}), 1, |_| {});
    rejected.observation.results.reject("nightly/u/7/i-0000000a", &Rejection::WrongIndex(6));
    let mut held = Case::new(json!({}), 1, |_| {});
    held.observation.results.reject("nightly/u/0/i-0000000a", &Rejection::NotKnown);
    let why = Rejection::Refused("s3:GetObject failed: InvalidObjectState: no; make the object readable".into());
    held.observation.results.hold(3, "nightly/u/3/i-0000000a", &why);
    let cases = [
        ("1 running", Case::new(json!({}), 2, |progress| progress.completed = [0].into_iter().collect())),
        ("2 complete", finished(json!({}), 0, JobOutcome::Complete)),
        ("3 too many failed", finished(json!({"maxFailedIndexes": 0}), 1, JobOutcome::MaxFailedIndexesExceeded)),
        ("4 some failed", finished(json!({}), 0, JobOutcome::FailedIndexes)),
        ("5 overdue", finished(json!({"activeDeadlineSeconds": 90}), 1, JobOutcome::DeadlineExceeded)),
        ("6 suspended", Case::new(json!({"suspend": true}), 1, |_| {})),
        ("7 orphans", orphans),
        ("8 a rejected object", rejected),
        ("9 a held index", held),
    ];
    let told: BTreeMap<_, _> = cases.into_iter().map(|(name, case)| (name, case.conditions())).collect();
    insta::assert_yaml_snapshot!(told);
}

const HOLDER: &str = "muster-7d9c5b6f4-abcde-0123abcd";

fn long(n: u32) -> InstanceId {
    InstanceId::try_from(format!("i-{n:017x}")).unwrap()
}

/// Each index below `done` is a separate range in one of the three lists. Many others are active, and the maximum of
/// calls is open.
fn largest(done: u32) -> usize {
    let mut case = Case::new(json!({"completions": 10_000, "parallelism": 10_000}), 0, |_| {});
    case.observation.before.completed = (0..done).step_by(2).collect();
    case.observation.before.failed = (1..done).step_by(4).collect();
    case.observation.before.failures = (3..done).step_by(4).map(|index| (index, 1)).collect();
    case.observation.holders = (done..9000).map(|index| (long(index), Some(index))).collect();
    case.ledger.progress = case.observation.before.clone();
    let Case { desired, observed, observation, ledger, .. } = &case;
    let mut ledger = in_context(1, |context| plan(desired, observed, observation, ledger, context)).ledger;
    assert!(!ledger.launches.is_empty());
    for intent in &mut ledger.launches {
        intent.holder = HOLDER.into();
        intent.instance_ids = (0..intent.count).map(long).collect();
    }
    ledger.terminations = vec![Termination {
        holder: HOLDER.into(),
        reason: TerminationReason::Finished,
        started_at: Time(at(1)),
        instance_ids: (0..open_at_once(&ledger.progress) as u32).map(long).collect(),
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
