//! The rules of a plan, one table or case each.

use serde_json::json;

use super::*;
use crate::{
    crd::indexes::Indexes,
    ids::InstanceId,
    kinds::worker_job::{
        results::{Rejection, Told},
        sample::*,
    },
    workers::{
        ledger::progress::Finish,
        observe::tampered::Tampered,
        parameters::{Held, MAIN, Problem},
        plan::Action,
    },
};

fn planned(desired: &Desired, observed: &Observed, observation: &JobObservation, second: i64) -> Plan {
    let ledger = Ledger { progress: observation.before.clone(), ..Ledger::default() };
    in_context(second, |context| plan(desired, observed, observation, &ledger, context))
}

/// The plan at the start of the job.
fn first(desired: &Desired, (observed, observation): &(Observed, JobObservation)) -> Plan {
    planned(desired, observed, observation, 0)
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

#[test]
fn the_first_free_indexes_are_launched_together() {
    let plan = first(&desired(json!({"parallelism": 3})), &world(&[]));
    assert_eq!(calls(&plan), (vec!["0-2".into()], vec![]));
    assert_eq!(plan.ledger.launches[0].count, 3);
    assert_eq!(plan.ledger.progress.started, Some(at(0)));
}

#[test]
fn no_worker_is_launched_before_its_parameters_are_written() {
    let mut wanted = desired(json!({}));
    wanted.parameters.problem = Some(Problem::Held { why: Held::PlanOnly, roles: vec![MAIN.into()], values: 1 });
    assert_eq!(calls(&first(&wanted, &world(&[]))), nothing());
    assert_eq!(calls(&first(&wanted.freed(), &world(&[]))).0, ["0,1"], "and the plan shows it");
}

#[test]
fn an_index_is_free_only_when_no_instance_or_launch_holds_it() {
    let wanted = desired(json!({"parallelism": 5}));
    for (case, state) in [
        ("running", InstanceState::Running),
        ("pending", InstanceState::Pending),
        ("stopping", InstanceState::Stopping),
        ("shutting down", InstanceState::ShuttingDown),
    ] {
        let plan = first(&wanted, &world(&[(1, state, "")]));
        assert_eq!(calls(&plan).0, ["0,2-4"], "{case}");
    }
    let mut world = world(&[]);
    world.1.holders.insert(id(9), Some(1));
    assert_eq!(calls(&first(&wanted, &world)).0, ["0,2-4"], "shutting down, not shown");
    world.1.resting.insert(4);
    assert_eq!(calls(&first(&wanted, &world)).0, ["0,2,3"], "not yet");
    world.1.holders.insert(id(10), None);
    assert_eq!(calls(&first(&wanted, &world)), nothing(), "an instance whose index is unknown");
}

#[test]
fn an_open_launch_holds_its_indexes_and_counts() {
    let wanted = desired(json!({"parallelism": 3}));
    let (observed, observation) = world(&[]);
    let mut ledger = planned(&wanted, &observed, &observation, 0).ledger;
    ledger.launches[0].instance_ids = vec![id(1)];
    let plan = in_context(0, |context| plan(&wanted, &observed, &observation, &ledger, context));
    assert_eq!(calls(&plan), (vec!["3,4".into()], vec![]), "one of three was launched, and its index is not known yet");
}

#[test]
fn a_long_list_of_indexes_is_split_to_fit_into_a_tag() {
    let wanted = desired(json!({"completions": 10000, "parallelism": 100}));
    let (observed, mut observation) = world(&[]);
    observation.before.completed = (0..10_000).filter(|index| index % 2 == 0 || *index < 9000).collect();
    let (launches, _) = calls(&planned(&wanted, &observed, &observation, 0));
    assert!(launches.len() > 1 && launches.iter().all(|text| text.len() <= 256), "{launches:?}");
    let all: u32 = launches.iter().map(|text| text.parse::<Indexes>().unwrap().len()).sum();
    assert_eq!(all, 100);
}

#[test]
fn a_stopped_worker_is_terminated_and_its_result_is_in_the_same_record() {
    let wanted = desired(json!({"result": {"shutdownReason": {}}, "parallelism": 1}));
    let stopped = InstanceState::Stopped;
    let plan = first(&wanted, &world(&[(0, stopped, ITSELF)]));
    assert_eq!(calls(&plan).1, [id(0)]);
    assert_eq!(plan.ledger.progress.completed.to_string(), "0");
    assert_eq!(plan.ledger.victims().len(), 1);
    let plan = first(&wanted, &world(&[(0, stopped, "Client.UserInitiatedShutdown")]));
    assert_eq!(calls(&plan).1, [id(0)]);
    assert!(plan.ledger.progress.completed.is_empty() && plan.ledger.progress.failures.is_empty());
    let stopping = world(&[(0, InstanceState::Stopping, ITSELF)]);
    assert!(first(&wanted, &stopping).ledger.progress.completed.is_empty(), "not before it has stopped");
}

#[test]
fn workers_that_do_not_shut_down_themselves_are_terminated() {
    let wanted = desired(json!({"parallelism": 1}));
    let (observed, mut observation) = world(&[(0, RUNNING, "")]);
    observation.results.insert(result(0, 0), Told::Succeeded);
    let plan = planned(&wanted, &observed, &observation, 0);
    assert_eq!(calls(&plan), nothing());
    assert_eq!(plan.ledger.progress.completed.to_string(), "0");
    observation.lingering.insert(id(0));
    let plan = planned(&wanted, &observed, &observation, 0);
    assert_eq!(calls(&plan).1, [id(0)]);
    assert_eq!(plan.ledger.terminations[0].reason, TerminationReason::Finished);
}

#[test]
fn lower_parallelism_terminates_the_highest_indexes() {
    let world = world(&[(0, RUNNING, ""), (2, RUNNING, ""), (1, RUNNING, "")]);
    let plan = first(&desired(json!({"parallelism": 1})), &world);
    assert_eq!(calls(&plan), (vec![], vec![id(1), id(2)]));
    assert_eq!(plan.ledger.terminations[0].reason, TerminationReason::ScaleDown);
}

#[test]
fn of_two_workers_with_the_same_index_the_newer_is_terminated() {
    let (mut observed, mut observation) = world(&[0, 1, 2, 3].map(|n| (n, RUNNING, "")));
    observation.holders.extend([(id(2), Some(0)), (id(3), Some(1))]);
    observed.instances.shown.get_mut(&id(0)).unwrap().instance.launched_at = Some(at(2000));
    for parallelism in [2, 4] {
        let wanted = desired(json!({"parallelism": parallelism}));
        let (_, mut ends) = calls(&planned(&wanted, &observed, &observation, 0));
        ends.sort();
        assert_eq!(ends, [id(0), id(3)], "parallelism {parallelism}");
    }
}

#[test]
fn possible_unknown_instances_block_launches() {
    let (observed, mut observation) = world(&[(0, RUNNING, "")]);
    observation.hidden = 1;
    assert_eq!(calls(&planned(&desired(json!({})), &observed, &observation, 0)), nothing());
}

#[test]
fn a_suspended_job_reads_results_and_changes_nothing_in_aws() {
    let wanted = desired(json!({"suspend": true, "activeDeadlineSeconds": 10}));
    let (observed, mut observation) =
        world(&[(0, RUNNING, ""), (1, InstanceState::Stopped, "Client.UserInitiatedShutdown")]);
    observation.results.insert(result(0, 0), Told::Succeeded);
    observation.lingering.insert(id(0));
    let plan = planned(&wanted, &observed, &observation, 1000);
    assert_eq!(plan.actions, []);
    assert_eq!(plan.ledger.progress.completed.to_string(), "0");
    assert_eq!(plan.ledger.progress.finished, None, "its deadline does not pass either");
    assert_eq!(plan.ledger.progress.started, None);
    let (observed, mut observation) = world(&[(0, RUNNING, "")]);
    observation.before = plan.ledger.progress;
    let resumed = desired(json!({"activeDeadlineSeconds": 10}));
    let resumed = planned(&resumed, &observed, &observation, 2000).ledger.progress;
    assert_eq!((resumed.started, resumed.finished), (Some(at(2000)), None), "the deadline starts again");
    assert_eq!(first(&wanted, &Default::default()).ledger.progress.started, None);
}

#[test]
fn at_the_deadline_all_workers_are_terminated_and_none_is_launched() {
    let wanted = desired(json!({"activeDeadlineSeconds": 10}));
    let (observed, observation) = world(&[(0, RUNNING, ""), (1, RUNNING, "")]);
    assert_eq!(calls(&planned(&wanted, &observed, &observation, 9)).1, []);
    let plan = planned(&wanted, &observed, &observation, 10);
    assert_eq!(calls(&plan), (vec![], vec![id(0), id(1)]));
    let finish = Finish { outcome: JobOutcome::DeadlineExceeded, at: at(10) };
    assert_eq!(plan.ledger.progress.finished, Some(finish));
}

#[test]
fn a_finished_job_does_not_change() {
    let wanted = desired(json!({"maxFailedIndexes": 0}));
    let (observed, mut observation) = world(&[(3, RUNNING, "")]);
    observation.before.failed = [2].into_iter().collect();
    let plan = planned(&wanted, &observed, &observation, 5);
    let finish = Finish { outcome: JobOutcome::MaxFailedIndexesExceeded, at: at(5) };
    assert_eq!((plan.ledger.progress.finished, calls(&plan)), (Some(finish), (vec![], vec![id(3)])));
    observation.before = plan.ledger.progress;
    (0..5).for_each(|index| observation.results.insert(result(index, 9), Told::Succeeded));
    observation.ends = vec![ended(8, 1, ITSELF)];
    assert_eq!(planned(&wanted, &observed, &observation, 99).ledger.progress, observation.before);
}

#[test]
fn instances_of_an_earlier_job_block_launches() {
    let (mut observed, observation) = world(&[]);
    observed.instances.orphans.insert(id(9), orphan());
    let mut wanted = desired(json!({}));
    let plan = planned(&wanted, &observed, &observation, 0);
    assert_eq!((plan.actions.len(), plan.blockers[&wanted.role.role]), (0, Blocker::Orphans));
    wanted.ignore.insert(uid(EARLIER));
    assert_eq!(calls(&planned(&wanted, &observed, &observation, 0)).0, ["0,1"]);
}

#[test]
fn a_deleted_job_terminates_its_workers_and_is_then_removed() {
    let (observed, _) = world(&[(0, RUNNING, ""), (1, InstanceState::ShuttingDown, "")]);
    let plan = in_context(0, |context| plan_end(&observed, &Ledger::default(), context));
    assert_eq!(calls(&plan).1, [id(0)]);
    assert!(!has_ended(&observed, &JobObservation::default(), &plan.ledger));
    let (gone, _) = world(&[(1, InstanceState::ShuttingDown, "")]);
    assert!(has_ended(&gone, &JobObservation::default(), &Ledger::default()));
    let hidden = JobObservation { hidden: 1, ..JobObservation::default() };
    assert!(!has_ended(&gone, &hidden, &Ledger::default()), "unknown instances may exist");
    let open = Ledger { launches: first(&desired(json!({})), &world(&[])).ledger.launches, ..Ledger::default() };
    assert!(!has_ended(&gone, &JobObservation::default(), &open));
}

#[test]
fn an_index_whose_result_cannot_be_read_waits_and_the_others_are_run() {
    let wanted = desired(json!({"parallelism": 5}));
    let (observed, mut observation) = world(&[]);
    observation.results.hold(1, "", &Rejection::Crowded);
    let plan = first(&wanted, &(observed, observation));
    assert_eq!(calls(&plan).0, ["0,2-4"]);
}

#[test]
fn a_long_list_of_finished_indexes_limits_the_open_calls() {
    let wanted = desired(json!({"completions": 10000, "parallelism": 10000}));
    let (observed, mut observation) = world(&[]);
    let launched = |plan: &Plan| plan.ledger.launches.iter().map(|intent| intent.count).sum::<u32>();
    assert_eq!(launched(&planned(&wanted, &observed, &observation, 0)), 500);
    observation.before.completed = (0..10_000).step_by(2).collect();
    observation.before.failures = (0..2000).map(|n| (n * 2 + 1, 1)).collect();
    let plan = planned(&wanted, &observed, &observation, 0);
    assert!((200..400).contains(&launched(&plan)), "{}", launched(&plan));
    assert_eq!(plan.blockers[&wanted.role.role], Blocker::Busy);
}

#[test]
fn workers_whose_tags_were_changed_are_not_terminated_before_the_job_is_deleted() {
    let (mut observed, mut observation) = world(&[(0, RUNNING, ""), (1, InstanceState::Stopped, ""), (2, RUNNING, "")]);
    for n in 0..=2 {
        observed.instances.shown.get_mut(&id(n)).unwrap().tampered = Some(Tampered::sample(true));
    }
    observation.holders.insert(id(0), None);
    let wanted = desired(json!({"parallelism": 1}));
    let none = Ledger::default();
    let next = in_context(2_000, |context| plan(&wanted, &observed, &observation, &none, context));
    assert_eq!(next.actions, []);
    let ended = in_context(2_000, |context| plan_end(&observed, &none, context));
    assert_eq!(ended.ledger.victims().len(), 3);
}
