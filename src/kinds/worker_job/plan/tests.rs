//! The rules of a plan, one table or case each.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::{
    aws::ec2::instance::Instance,
    crd::{indexes::Indexes, launches::LaunchIntent, worker_job::WorkerJobSpec},
    ids::{ClientToken, SubnetId, Uid, Zone},
    inventory::ownership::Owner,
    kinds::worker_job::{
        observation::End,
        results::{ResultKey, Told},
    },
    tags::{INDEXES_TAG, JOB_TAG},
    workers::{
        launch_spec::Resolved,
        ledger::progress::Finish,
        observe::observed::Zones,
        parameters::{Held, MAIN, Problem},
        plan::Action,
    },
};

pub(in crate::kinds::worker_job) const UID: &str = "6b4d2a3e-9d0c-4f6e-8f0e-1f7a2b3c4d5e";
const EARLIER: &str = "11111111-9d0c-4f6e-8f0e-1f7a2b3c4d5e";

pub(in crate::kinds::worker_job) fn uid(text: &str) -> Uid {
    Uid::try_from(text).unwrap()
}

/// A job of 5 indexes, 2 at a time, with results in S3, overridden by `fields`.
pub(in crate::kinds::worker_job) fn desired(fields: serde_json::Value) -> Desired {
    let mut spec = json!({
        "completions": 5,
        "parallelism": 2,
        "backoffLimitPerIndex": 1,
        "result": {"s3": {"bucket": "results", "prefix": "nightly"}},
        "aws": {"region": "eu-west-1"},
        "template": {
            "ami": {"id": "ami-00000001"},
            "instanceTypes": ["m6i.large", "m5.large"],
            "subnets": {"ids": ["subnet-0000000a", "subnet-0000000b"]},
            "placement": "Ordered",
        },
    });
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let spec: WorkerJobSpec = serde_json::from_value(spec).unwrap();
    let owner = Owner { cluster: "c".into(), tag: JOB_TAG, namespace: "ns".into(), name: "work".into(), uid: uid(UID) };
    let mut desired = Desired::parse(&spec, owner.clone(), Default::default(), |_| None).unwrap();
    desired.role.resolved = Resolved::of_ids(&owner, &desired.role.role, &spec.template);
    desired
}

pub(in crate::kinds::worker_job) fn id(n: u32) -> InstanceId {
    InstanceId::try_from(format!("i-{n:08x}")).unwrap()
}

fn subnet(name: char) -> SubnetId {
    SubnetId::try_from(format!("subnet-0000000{name}")).unwrap()
}

pub(in crate::kinds::worker_job) fn zones() -> Zones {
    let zone = |name: char| (subnet(name), Zone::try_from(format!("eu-west-1{name}")).unwrap());
    Zones::Known(BTreeMap::from([zone('a'), zone('b')]))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// The instance that runs index `n`, which is also its id.
pub(in crate::kinds::worker_job) fn worker(n: u32, state: InstanceState, reason: &str) -> ObservedInstance {
    let instance = Instance {
        subnet: Some(subnet('a')),
        launched_at: Some(at(1000)),
        client_token: ClientToken::new(&uid(UID), 7).to_string(),
        tags: BTreeMap::from([(INDEXES_TAG.into(), "0-4".into())]),
        launch_index: n,
        state_reason: reason.into(),
        ..Instance::sample(n, state)
    };
    ObservedInstance { instance, swept: true, checks_passed: true }
}

/// The observation of instances that run the index equal to their number.
pub(in crate::kinds::worker_job) fn world(shown: &[(u32, InstanceState, &str)]) -> (Observed, JobObservation) {
    let (mut observed, mut observation) =
        (Observed { zones: zones(), ..Observed::default() }, JobObservation::default());
    for (n, state, reason) in shown {
        observed.instances.shown.insert(id(*n), worker(*n, *state, reason));
        observation.holders.insert(id(*n), Some(*n));
    }
    observation.before.started = Some(at(0));
    (observed, observation)
}

fn planned(desired: &Desired, (observed, observation): &(Observed, JobObservation), now: i64) -> Plan {
    let mut nonce = 0;
    let mut draw = || {
        nonce += 1;
        nonce
    };
    let ledger = Ledger { progress: observation.before.clone(), ..Ledger::default() };
    plan(desired, observed, observation, &ledger, &mut PlanContext { now: at(now), holder: "me", nonce: &mut draw })
}

/// The indexes of each launch, and the instances to terminate.
fn calls(plan: &Plan) -> (Vec<String>, Vec<InstanceId>) {
    let (mut launches, mut ends) = (Vec::new(), Vec::new());
    for action in &plan.actions {
        match action {
            Action::Launch(intent) => launches.push(intent.indexes.clone().unwrap().to_string()),
            Action::Terminate(ids) => ends.extend(ids.clone()),
        }
    }
    (launches, ends)
}

fn nothing() -> (Vec<String>, Vec<InstanceId>) {
    (vec![], vec![])
}

const RUNNING: InstanceState = InstanceState::Running;

#[test]
fn the_first_free_indexes_are_launched_together() {
    let plan = planned(&desired(json!({"parallelism": 3})), &world(&[]), 0);
    assert_eq!(calls(&plan), (vec!["0-2".into()], vec![]));
    assert_eq!(plan.ledger.launches[0].count, 3);
    assert_eq!(plan.ledger.progress.started, Some(at(0)));
}

#[test]
fn nothing_is_launched_that_would_read_what_is_only_to_be_written() {
    let mut wanted = desired(json!({}));
    wanted.parameters.problem = Some(Problem::Held { why: Held::PlanOnly, roles: vec![MAIN.into()], values: 1 });
    assert_eq!(calls(&planned(&wanted, &world(&[]), 0)), nothing());
    assert_eq!(calls(&planned(&wanted.freed(), &world(&[]), 0)).0, ["0,1"], "and the plan shows it");
}

#[test]
fn an_index_is_free_only_when_nothing_holds_it() {
    let wanted = desired(json!({"parallelism": 5}));
    for (case, state) in [
        ("running", InstanceState::Running),
        ("pending", InstanceState::Pending),
        ("stopping", InstanceState::Stopping),
        ("shutting down", InstanceState::ShuttingDown),
    ] {
        let plan = planned(&wanted, &world(&[(1, state, "")]), 0);
        assert_eq!(calls(&plan).0, ["0,2-4"], "{case}");
    }
    let (observed, mut observation) = world(&[]);
    observation.holders.insert(id(9), Some(1));
    assert_eq!(
        calls(&planned(&wanted, &(observed.clone(), observation.clone()), 0)).0,
        ["0,2-4"],
        "shutting down, not shown"
    );
    observation.resting.insert(4);
    assert_eq!(calls(&planned(&wanted, &(observed.clone(), observation.clone()), 0)).0, ["0,2,3"], "not yet");
    observation.holders.insert(id(10), None);
    assert_eq!(calls(&planned(&wanted, &(observed, observation), 0)), nothing(), "an instance whose index is unknown");
}

#[test]
fn an_open_launch_holds_its_indexes_and_counts() {
    let wanted = desired(json!({"parallelism": 3}));
    let (observed, observation) = world(&[]);
    let mut ledger = planned(&wanted, &(observed.clone(), observation.clone()), 0).ledger;
    ledger.launches[0].instance_ids = vec![id(1)];
    let mut nonce = || 8;
    let mut context = PlanContext { now: at(0), holder: "me", nonce: &mut nonce };
    let plan = plan(&wanted, &observed, &observation, &ledger, &mut context);
    assert_eq!(calls(&plan), (vec!["3,4".into()], vec![]), "one of three was launched, and its index is not known yet");
}

#[test]
fn a_long_list_of_indexes_is_cut_so_that_it_fits_into_a_tag() {
    let wanted = desired(json!({"completions": 10000, "parallelism": 100}));
    let (observed, mut observation) = world(&[]);
    observation.before.completed = (0..10_000).filter(|index| index % 2 == 0 || *index < 9000).collect();
    let (launches, _) = calls(&planned(&wanted, &(observed, observation), 0));
    assert!(launches.len() > 1 && launches.iter().all(|text| text.len() <= 256), "{launches:?}");
    let all: u32 = launches.iter().map(|text| text.parse::<Indexes>().unwrap().len()).sum();
    assert_eq!(all, 100);
}

#[test]
fn what_stopped_is_ended_and_what_it_came_to_is_in_the_same_record() {
    let wanted = desired(json!({"result": {"shutdownReason": {}}, "parallelism": 1}));
    let stopped = InstanceState::Stopped;
    let plan = planned(&wanted, &world(&[(0, stopped, "Client.InstanceInitiatedShutdown")]), 0);
    assert_eq!(calls(&plan).1, [id(0)]);
    assert_eq!(plan.ledger.progress.completed.to_string(), "0");
    assert_eq!(plan.ledger.victims().len(), 1);
    let plan = planned(&wanted, &world(&[(0, stopped, "Client.UserInitiatedShutdown")]), 0);
    assert_eq!(calls(&plan).1, [id(0)]);
    assert!(plan.ledger.progress.completed.is_empty() && plan.ledger.progress.failures.is_empty());
    let stopping = world(&[(0, InstanceState::Stopping, "Client.InstanceInitiatedShutdown")]);
    assert!(planned(&wanted, &stopping, 0).ledger.progress.completed.is_empty(), "not before it has stopped");
}

#[test]
fn workers_end_themselves_and_those_that_stay_are_ended() {
    let wanted = desired(json!({"parallelism": 1}));
    let (observed, mut observation) = world(&[(0, RUNNING, "")]);
    observation.results.insert(ResultKey { index: 0, instance: id(0) }, Told::Succeeded);
    let plan = planned(&wanted, &(observed.clone(), observation.clone()), 0);
    assert_eq!(calls(&plan), nothing());
    assert_eq!(plan.ledger.progress.completed.to_string(), "0");
    observation.lingering.insert(id(0));
    let plan = planned(&wanted, &(observed, observation), 0);
    assert_eq!(calls(&plan).1, [id(0)]);
    assert_eq!(plan.ledger.terminations[0].reason, TerminationReason::Finished);
}

#[test]
fn with_less_parallelism_the_highest_indexes_end() {
    let plan = planned(
        &desired(json!({"parallelism": 1})),
        &world(&[(0, RUNNING, ""), (2, RUNNING, ""), (1, RUNNING, "")]),
        0,
    );
    assert_eq!(calls(&plan), (vec![], vec![id(1), id(2)]));
    assert_eq!(plan.ledger.terminations[0].reason, TerminationReason::ScaleDown);
}

#[test]
fn of_two_that_run_the_same_index_the_younger_ends() {
    let (mut observed, mut observation) =
        world(&[(0, RUNNING, ""), (1, RUNNING, ""), (2, RUNNING, ""), (3, RUNNING, "")]);
    observation.holders.extend([(id(2), Some(0)), (id(3), Some(1))]);
    let instances = &mut observed.instances.shown;
    instances.get_mut(&id(0)).unwrap().instance.launched_at = Some(at(2000));
    for parallelism in [2, 4] {
        let wanted = desired(json!({"parallelism": parallelism}));
        let (_, mut ends) = calls(&planned(&wanted, &(observed.clone(), observation.clone()), 0));
        ends.sort();
        assert_eq!(ends, [id(0), id(3)], "parallelism {parallelism}");
    }
}

#[test]
fn nothing_is_launched_while_there_may_be_machines_that_nobody_knows() {
    let (observed, mut observation) = world(&[(0, RUNNING, "")]);
    observation.hidden = 1;
    assert_eq!(calls(&planned(&desired(json!({})), &(observed, observation), 0)), nothing());
}

#[test]
fn a_suspended_job_learns_and_changes_nothing_in_aws() {
    let wanted = desired(json!({"suspend": true, "activeDeadlineSeconds": 10}));
    let (observed, mut observation) =
        world(&[(0, RUNNING, ""), (1, InstanceState::Stopped, "Client.UserInitiatedShutdown")]);
    observation.results.insert(ResultKey { index: 0, instance: id(0) }, Told::Succeeded);
    observation.lingering.insert(id(0));
    let plan = planned(&wanted, &(observed, observation), 1000);
    assert_eq!(plan.actions, []);
    assert_eq!(plan.ledger.progress.completed.to_string(), "0");
    assert_eq!(plan.ledger.progress.finished, None, "its deadline does not pass either");
    assert_eq!(plan.ledger.progress.started, None);
    let (observed, mut observation) = world(&[(0, RUNNING, "")]);
    observation.before = plan.ledger.progress;
    let resumed =
        planned(&desired(json!({"activeDeadlineSeconds": 10})), &(observed, observation), 2000).ledger.progress;
    assert_eq!((resumed.started, resumed.finished), (Some(at(2000)), None), "the deadline starts again");
    let (observed, observation) = (Observed::default(), JobObservation::default());
    assert_eq!(planned(&wanted, &(observed, observation), 0).ledger.progress.started, None);
}

#[test]
fn at_the_deadline_all_are_ended_and_nothing_is_launched() {
    let wanted = desired(json!({"activeDeadlineSeconds": 10}));
    let instances = [(0, RUNNING, ""), (1, RUNNING, "")];
    assert_eq!(calls(&planned(&wanted, &world(&instances), 9)).1, []);
    let plan = planned(&wanted, &world(&instances), 10);
    assert_eq!(calls(&plan), (vec![], vec![id(0), id(1)]));
    let finish = Finish { outcome: JobOutcome::DeadlineExceeded, at: at(10) };
    assert_eq!(plan.ledger.progress.finished, Some(finish));
}

#[test]
fn a_finished_job_stays_as_it_is() {
    let wanted = desired(json!({"maxFailedIndexes": 0}));
    let (observed, mut observation) = world(&[(3, RUNNING, "")]);
    observation.before.failed = [2].into_iter().collect();
    let plan = planned(&wanted, &(observed.clone(), observation.clone()), 5);
    let finish = Finish { outcome: JobOutcome::MaxFailedIndexesExceeded, at: at(5) };
    assert_eq!((plan.ledger.progress.finished, calls(&plan)), (Some(finish), (vec![], vec![id(3)])));
    observation.before = plan.ledger.progress;
    (0..5).for_each(|index| observation.results.insert(ResultKey { index, instance: id(9) }, Told::Succeeded));
    observation.ends = vec![End { id: id(8), index: Some(1), reason: "Client.InstanceInitiatedShutdown".into() }];
    assert_eq!(planned(&wanted, &(observed, observation.clone()), 99).ledger.progress, observation.before);
}

#[test]
fn machines_of_an_earlier_job_hold_launches_back() {
    let (mut observed, observation) = world(&[]);
    observed.instances.orphans.insert(id(9), uid(EARLIER));
    let mut wanted = desired(json!({}));
    let plan = planned(&wanted, &(observed.clone(), observation.clone()), 0);
    assert_eq!((plan.actions.len(), plan.blockers[&wanted.role.role]), (0, Blocker::Orphans));
    wanted.ignore.insert(uid(EARLIER));
    assert_eq!(calls(&planned(&wanted, &(observed, observation), 0)).0, ["0,1"]);
}

#[test]
fn a_job_that_is_deleted_ends_all_and_goes_when_nothing_is_left() {
    let (observed, _) = world(&[(0, RUNNING, ""), (1, InstanceState::ShuttingDown, "")]);
    let mut nonce = || 1;
    let mut context = PlanContext { now: at(0), holder: "me", nonce: &mut nonce };
    let plan = plan_end(&observed, &Ledger::default(), &mut context);
    assert_eq!(calls(&plan).1, [id(0)]);
    assert!(!has_ended(&observed, &JobObservation::default(), &plan.ledger));
    let (gone, _) = world(&[(1, InstanceState::ShuttingDown, "")]);
    assert!(has_ended(&gone, &JobObservation::default(), &Ledger::default()));
    let hidden = JobObservation { hidden: 1, ..JobObservation::default() };
    assert!(!has_ended(&gone, &hidden, &Ledger::default()), "unknown instances may exist");
    let open = Ledger { launches: plan_launch(), ..Ledger::default() };
    assert!(!has_ended(&gone, &JobObservation::default(), &open));
}

fn plan_launch() -> Vec<LaunchIntent> {
    planned(&desired(json!({})), &world(&[]), 0).ledger.launches
}

#[test]
fn a_long_progress_leaves_less_room_for_open_calls() {
    let wanted = desired(json!({"completions": 10000, "parallelism": 10000}));
    let (observed, mut observation) = world(&[]);
    assert_eq!(
        planned(&wanted, &(observed.clone(), observation.clone()), 0)
            .ledger
            .launches
            .iter()
            .map(|i| i.count)
            .sum::<u32>(),
        500
    );
    observation.before.completed = (0..10_000).step_by(2).collect();
    observation.before.failures = (0..2000).map(|n| (n * 2 + 1, 1)).collect();
    let plan = planned(&wanted, &(observed, observation), 0);
    assert_eq!(plan.ledger.launches.iter().map(|i| i.count).sum::<u32>(), 200);
    assert_eq!(plan.blockers[&wanted.role.role], Blocker::Busy);
}
