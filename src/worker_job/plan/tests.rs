//! The rules of a plan, one table or case each.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::{
    ids::{ClientToken, SubnetId, Uid, Zone},
    worker_job::{crd::WorkerJobSpec, results::Place, results::Told, sight::End},
    workers::{
        draft::{Action, Zones},
        indexes::Indexes,
        instance::Instance,
        launch::LaunchIntent,
        ownership::{INDEXES_TAG, JOB_TAG, Owner},
        parameters::{Held, MAIN, Problem},
        progress::Finish,
        supply::Supplied,
    },
};

pub(in crate::worker_job) const UID: &str = "6b4d2a3e-9d0c-4f6e-8f0e-1f7a2b3c4d5e";
const EARLIER: &str = "11111111-9d0c-4f6e-8f0e-1f7a2b3c4d5e";

pub(in crate::worker_job) fn uid(text: &str) -> Uid {
    Uid::try_from(text).unwrap()
}

/// A job of 5 indexes, 2 at a time, that tells its results in S3, with `fields` laid over it.
pub(in crate::worker_job) fn desired(fields: serde_json::Value) -> Desired {
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
    desired.supplied = Supplied::of_ids(&owner, &desired.role, &spec.template);
    desired
}

pub(in crate::worker_job) fn id(n: u32) -> InstanceId {
    InstanceId::try_from(format!("i-{n:08x}")).unwrap()
}

fn subnet(name: char) -> SubnetId {
    SubnetId::try_from(format!("subnet-0000000{name}")).unwrap()
}

pub(in crate::worker_job) fn zones() -> Zones {
    let zone = |name: char| (subnet(name), Zone::try_from(format!("eu-west-1{name}")).unwrap());
    Zones::Known(BTreeMap::from([zone('a'), zone('b')]))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// The machine that runs index `n`, which is also its id.
pub(in crate::worker_job) fn machine(n: u32, state: InstanceState, reason: &str) -> Sighting {
    let instance = Instance {
        subnet: Some(subnet('a')),
        launched_at: Some(at(1000)),
        client_token: ClientToken::new(&uid(UID), 7).to_string(),
        tags: BTreeMap::from([(INDEXES_TAG.into(), "0-4".into())]),
        launch_index: n,
        state_reason: reason.into(),
        ..Instance::sample(n, state)
    };
    Sighting { instance, swept: true, checks_passed: true }
}

/// What is seen where these machines run the index that is their number.
pub(in crate::worker_job) fn world(machines: &[(u32, InstanceState, &str)]) -> (Observed, Sight) {
    let (mut observed, mut sight) = (Observed { zones: zones(), ..Observed::default() }, Sight::default());
    for (n, state, reason) in machines {
        observed.roster.machines.insert(id(*n), machine(*n, *state, reason));
        sight.holders.insert(id(*n), Some(*n));
    }
    sight.before.started = Some(at(0));
    (observed, sight)
}

fn planned(desired: &Desired, (observed, sight): &(Observed, Sight), now: i64) -> Plan {
    let mut nonce = 0;
    let mut draw = || {
        nonce += 1;
        nonce
    };
    let ledger = Ledger { progress: sight.before.clone(), ..Ledger::default() };
    plan(desired, observed, sight, &ledger, &mut Pass { now: at(now), holder: "me", nonce: &mut draw })
}

/// The indexes of each launch, and the machines that are asked to end.
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
    let mut wish = desired(json!({}));
    wish.parameters.problem = Some(Problem::Held { why: Held::PlanOnly, roles: vec![MAIN.into()], values: 1 });
    assert_eq!(calls(&planned(&wish, &world(&[]), 0)), nothing());
    assert_eq!(calls(&planned(&wish.freed(), &world(&[]), 0)).0, ["0,1"], "and it is told what would be");
}

#[test]
fn an_index_is_free_only_when_nothing_holds_it() {
    let wish = desired(json!({"parallelism": 5}));
    for (case, state) in [
        ("running", InstanceState::Running),
        ("pending", InstanceState::Pending),
        ("stopping", InstanceState::Stopping),
        ("on its way out", InstanceState::ShuttingDown),
    ] {
        let plan = planned(&wish, &world(&[(1, state, "")]), 0);
        assert_eq!(calls(&plan).0, ["0,2-4"], "{case}");
    }
    let (observed, mut sight) = world(&[]);
    sight.holders.insert(id(9), Some(1));
    assert_eq!(calls(&planned(&wish, &(observed.clone(), sight.clone()), 0)).0, ["0,2-4"], "on its way out, not shown");
    sight.resting.insert(4);
    assert_eq!(calls(&planned(&wish, &(observed.clone(), sight.clone()), 0)).0, ["0,2,3"], "not yet");
    sight.holders.insert(id(10), None);
    assert_eq!(calls(&planned(&wish, &(observed, sight), 0)), nothing(), "one of which nobody knows what it runs");
}

#[test]
fn an_open_launch_holds_its_indexes_and_counts() {
    let wish = desired(json!({"parallelism": 3}));
    let (observed, sight) = world(&[]);
    let mut ledger = planned(&wish, &(observed.clone(), sight.clone()), 0).ledger;
    ledger.launches[0].instance_ids = vec![id(1)];
    let mut nonce = || 8;
    let mut pass = Pass { now: at(0), holder: "me", nonce: &mut nonce };
    let plan = plan(&wish, &observed, &sight, &ledger, &mut pass);
    assert_eq!(calls(&plan), (vec!["3,4".into()], vec![]), "one came of three, and which one is not known yet");
}

#[test]
fn a_long_list_of_indexes_is_cut_so_that_it_fits_into_a_tag() {
    let wish = desired(json!({"completions": 10000, "parallelism": 100}));
    let (observed, mut sight) = world(&[]);
    sight.before.completed = (0..10_000).filter(|index| index % 2 == 0 || *index < 9000).collect();
    let (launches, _) = calls(&planned(&wish, &(observed, sight), 0));
    assert!(launches.len() > 1 && launches.iter().all(|text| text.len() <= 256), "{launches:?}");
    let all: u32 = launches.iter().map(|text| text.parse::<Indexes>().unwrap().len()).sum();
    assert_eq!(all, 100);
}

#[test]
fn what_stopped_is_ended_and_what_it_came_to_is_in_the_same_record() {
    let wish = desired(json!({"result": {"shutdownReason": {}}, "parallelism": 1}));
    let stopped = InstanceState::Stopped;
    let plan = planned(&wish, &world(&[(0, stopped, "Client.InstanceInitiatedShutdown")]), 0);
    assert_eq!(calls(&plan).1, [id(0)]);
    assert_eq!(plan.ledger.progress.completed.to_string(), "0");
    assert_eq!(plan.ledger.victims().len(), 1);
    let plan = planned(&wish, &world(&[(0, stopped, "Client.UserInitiatedShutdown")]), 0);
    assert_eq!(calls(&plan).1, [id(0)]);
    assert!(plan.ledger.progress.completed.is_empty() && plan.ledger.progress.failures.is_empty());
    let stopping = world(&[(0, InstanceState::Stopping, "Client.InstanceInitiatedShutdown")]);
    assert!(planned(&wish, &stopping, 0).ledger.progress.completed.is_empty(), "not before it has stopped");
}

#[test]
fn workers_end_themselves_and_those_that_stay_are_ended() {
    let wish = desired(json!({"parallelism": 1}));
    let (observed, mut sight) = world(&[(0, RUNNING, "")]);
    sight.results.insert(Place { index: 0, instance: id(0) }, Told::Succeeded);
    let plan = planned(&wish, &(observed.clone(), sight.clone()), 0);
    assert_eq!(calls(&plan), nothing());
    assert_eq!(plan.ledger.progress.completed.to_string(), "0");
    sight.lingering.insert(id(0));
    let plan = planned(&wish, &(observed, sight), 0);
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
    let (mut observed, mut sight) = world(&[(0, RUNNING, ""), (1, RUNNING, ""), (2, RUNNING, ""), (3, RUNNING, "")]);
    sight.holders.extend([(id(2), Some(0)), (id(3), Some(1))]);
    let machines = &mut observed.roster.machines;
    machines.get_mut(&id(0)).unwrap().instance.launched_at = Some(at(2000));
    for parallelism in [2, 4] {
        let wish = desired(json!({"parallelism": parallelism}));
        let (_, mut ends) = calls(&planned(&wish, &(observed.clone(), sight.clone()), 0));
        ends.sort();
        assert_eq!(ends, [id(0), id(3)], "parallelism {parallelism}");
    }
}

#[test]
fn nothing_is_launched_while_there_may_be_machines_that_nobody_knows() {
    let (observed, mut sight) = world(&[(0, RUNNING, "")]);
    sight.hidden = 1;
    assert_eq!(calls(&planned(&desired(json!({})), &(observed, sight), 0)), nothing());
}

#[test]
fn a_suspended_job_learns_and_changes_nothing_in_aws() {
    let wish = desired(json!({"suspend": true, "activeDeadlineSeconds": 10}));
    let (observed, mut sight) = world(&[(0, RUNNING, ""), (1, InstanceState::Stopped, "Client.UserInitiatedShutdown")]);
    sight.results.insert(Place { index: 0, instance: id(0) }, Told::Succeeded);
    sight.lingering.insert(id(0));
    let plan = planned(&wish, &(observed, sight), 1000);
    assert_eq!(plan.actions, []);
    assert_eq!(plan.ledger.progress.completed.to_string(), "0");
    assert_eq!(plan.ledger.progress.finished, None, "nor does its deadline pass");
    assert_eq!(plan.ledger.progress.started, None);
    let (observed, mut sight) = world(&[(0, RUNNING, "")]);
    sight.before = plan.ledger.progress;
    let resumed = planned(&desired(json!({"activeDeadlineSeconds": 10})), &(observed, sight), 2000).ledger.progress;
    assert_eq!((resumed.started, resumed.finished), (Some(at(2000)), None), "it begins anew");
    let (observed, sight) = (Observed::default(), Sight::default());
    assert_eq!(planned(&wish, &(observed, sight), 0).ledger.progress.started, None);
}

#[test]
fn at_the_deadline_all_are_ended_and_nothing_is_launched() {
    let wish = desired(json!({"activeDeadlineSeconds": 10}));
    let machines = [(0, RUNNING, ""), (1, RUNNING, "")];
    assert_eq!(calls(&planned(&wish, &world(&machines), 9)).1, []);
    let plan = planned(&wish, &world(&machines), 10);
    assert_eq!(calls(&plan), (vec![], vec![id(0), id(1)]));
    let finish = Finish { outcome: JobOutcome::DeadlineExceeded, at: at(10) };
    assert_eq!(plan.ledger.progress.finished, Some(finish));
}

#[test]
fn a_finished_job_stays_as_it_is() {
    let wish = desired(json!({"maxFailedIndexes": 0}));
    let (observed, mut sight) = world(&[(3, RUNNING, "")]);
    sight.before.failed = [2].into_iter().collect();
    let plan = planned(&wish, &(observed.clone(), sight.clone()), 5);
    let finish = Finish { outcome: JobOutcome::MaxFailedIndexesExceeded, at: at(5) };
    assert_eq!((plan.ledger.progress.finished, calls(&plan)), (Some(finish), (vec![], vec![id(3)])));
    sight.before = plan.ledger.progress;
    (0..5).for_each(|index| sight.results.insert(Place { index, instance: id(9) }, Told::Succeeded));
    sight.ends = vec![End { id: id(8), index: Some(1), reason: "Client.InstanceInitiatedShutdown".into() }];
    assert_eq!(planned(&wish, &(observed, sight.clone()), 99).ledger.progress, sight.before);
}

#[test]
fn machines_of_an_earlier_job_hold_launches_back() {
    let (mut observed, sight) = world(&[]);
    observed.roster.orphans.insert(id(9), uid(EARLIER));
    let mut wish = desired(json!({}));
    let plan = planned(&wish, &(observed.clone(), sight.clone()), 0);
    assert_eq!((plan.actions.len(), plan.holds[&wish.role]), (0, Hold::Orphans));
    wish.ignore.insert(uid(EARLIER));
    assert_eq!(calls(&planned(&wish, &(observed, sight), 0)).0, ["0,1"]);
}

#[test]
fn a_job_that_is_deleted_ends_all_and_goes_when_nothing_is_left() {
    let (observed, _) = world(&[(0, RUNNING, ""), (1, InstanceState::ShuttingDown, "")]);
    let mut nonce = || 1;
    let mut pass = Pass { now: at(0), holder: "me", nonce: &mut nonce };
    let plan = plan_end(&observed, &Ledger::default(), &mut pass);
    assert_eq!(calls(&plan).1, [id(0)]);
    assert!(!has_ended(&observed, &Sight::default(), &plan.ledger));
    let (gone, _) = world(&[(1, InstanceState::ShuttingDown, "")]);
    assert!(has_ended(&gone, &Sight::default(), &Ledger::default()));
    let hidden = Sight { hidden: 1, ..Sight::default() };
    assert!(!has_ended(&gone, &hidden, &Ledger::default()), "there may be machines of which nobody knows");
    let open = Ledger { launches: plan_launch(), ..Ledger::default() };
    assert!(!has_ended(&gone, &Sight::default(), &open));
}

fn plan_launch() -> Vec<LaunchIntent> {
    planned(&desired(json!({})), &world(&[]), 0).ledger.launches
}

#[test]
fn a_long_progress_leaves_less_room_for_open_calls() {
    let wish = desired(json!({"completions": 10000, "parallelism": 10000}));
    let (observed, mut sight) = world(&[]);
    assert_eq!(
        planned(&wish, &(observed.clone(), sight.clone()), 0).ledger.launches.iter().map(|i| i.count).sum::<u32>(),
        500
    );
    sight.before.completed = (0..10_000).step_by(2).collect();
    sight.before.failures = (0..2000).map(|n| (n * 2 + 1, 1)).collect();
    let plan = planned(&wish, &(observed, sight), 0);
    assert_eq!(plan.ledger.launches.iter().map(|i| i.count).sum::<u32>(), 200);
    assert_eq!(plan.holds[&wish.role], Hold::Busy);
}
