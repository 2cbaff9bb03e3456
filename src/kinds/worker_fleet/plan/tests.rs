//! The rules of a plan, one table or case each.

use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::{
    aws::{Class, ec2::instance::InstanceState},
    crd::launches::LaunchIntent,
    kinds::worker_fleet::sample::*,
    workers::{
        launch_spec::resolve::unresolved::{Field, Unresolved, Why},
        ledger::{MAX_OPEN_LAUNCHED, MAX_OPEN_VICTIMS, settle::Standing},
        observe::{instances::KnownInstance, observed::Refusal},
        parameters::{Held, Problem},
        plan::Action,
    },
};

#[test]
fn the_first_launch_records_exactly_what_it_sends() {
    let plan = planned(&desired(5, json!({})), &running([]), &Ledger::default());
    insta::assert_json_snapshot!(plan.ledger.launches);
    let sent: Vec<_> = plan.ledger.launches.iter().cloned().map(Action::Launch).collect();
    assert_eq!(plan.actions, sent);
    assert_eq!(blocker(&plan), None);
}

#[test]
fn no_worker_is_launched_before_its_parameters_are_written() {
    for why in [Held::Suspended, Held::PlanOnly] {
        let mut wanted = desired(2, json!({}));
        wanted.parameters.problem = Some(Problem::Held { why, roles: vec!["main".into()], values: 1 });
        let plan = planned(&wanted, &running([]), &Ledger::default());
        assert_eq!((launched(&plan), blocker(&plan)), (vec![], Some(Blocker::Parameters)), "{why:?}");
        let shown = planned(&wanted.freed(), &running([]), &Ledger::default());
        assert_eq!(launched(&shown).len(), 2, "and the plan shows it");
    }
    let mut wanted = desired(2, json!({}));
    wanted.parameters.problem = Some(Problem::StoreChanged);
    assert_eq!(launched(&planned(&wanted.freed(), &running([]), &Ledger::default())), [], "it would still be blocked");
}

#[test]
fn an_unresolved_template_blocks_launches_and_updates() {
    for known in [true, false] {
        let mut wanted = desired(3, json!({}));
        let why = Why::Nothing("no image matches".into());
        wanted.roles[0].resolved.unresolved = Some(Unresolved { field: Field::Ami, why, image: None });
        if !known {
            wanted.roles[0].resolved.launch_spec = None;
        }
        let short = planned(&wanted, &running([1, 2]), &Ledger::default());
        assert_eq!((short.actions.len(), blocker(&short)), (0, Some(Blocker::Unresolved)));
        let world = running([1, 2, 3]);
        let outdated = BTreeMap::from([(Role::main(), BTreeSet::from([String::new()]))]);
        let state = State { outdated, ..at_once(&wanted, &world) };
        let rolling = in_context(2_000, |context| plan(&wanted, &state, &world, &Ledger::default(), context));
        assert_eq!(rolling.actions, []);
        // Scaling down still works.
        let surplus = planned(&wanted, &running([1, 2, 3, 4]), &Ledger::default());
        assert_eq!(terminated(&surplus).len(), 1);
    }
}

#[test]
fn a_complete_fleet_needs_no_action() {
    let plan = planned(&desired(3, json!({})), &running([1, 2, 3]), &Ledger::default());
    assert_eq!((bare(plan.ledger), plan.actions, plan.blockers), (Ledger::default(), vec![], BTreeMap::new()));
}

#[test]
fn only_the_difference_is_launched() {
    let mut world = running([1, 2]);
    world.instances.shown.insert(id(3), worker(3, InstanceState::ShuttingDown));
    let plan = planned(&desired(4, json!({})), &world, &Ledger::default());
    assert_eq!(launched(&plan), [(&subnet('b'), "m6i.large", 2)]);
    assert_eq!(terminated(&plan), []);
}

#[test]
fn a_missing_instance_counts_until_it_is_confirmed_gone() {
    let mut world = running([1, 2]);
    world.instances.missing.insert(id(3), KnownInstance::default());
    assert_eq!(launched(&planned(&desired(3, json!({})), &world, &Ledger::default())), []);
    world.instances.gone = std::mem::take(&mut world.instances.missing).into_keys().collect();
    assert_eq!(launched(&planned(&desired(3, json!({})), &world, &Ledger::default())).len(), 1);
}

#[test]
fn an_open_launch_counts_in_full_and_is_repeated_with_its_token() {
    let open = launches([intent(7, "another process", 3, &[])]);
    let plan = planned(&desired(3, json!({})), &running([]), &open);
    let taken_over = LaunchIntent { holder: "me".into(), attempts: 2, ..open.launches[0].clone() };
    assert_eq!(plan.actions, [Action::Launch(taken_over.clone())]);
    assert_eq!(plan.ledger.launches, [taken_over]);
}

#[test]
fn instances_returned_after_the_last_observation_count() {
    let answered = launches([intent(7, "me", 3, &[1, 2, 3])]);
    let plan = planned(&desired(3, json!({})), &running([]), &answered);
    assert_eq!((plan.actions, bare(plan.ledger)), (vec![], answered));
}

#[test]
fn an_open_launch_is_repeated_as_recorded_even_when_it_is_not_desired() {
    let open = launches([intent(7, "me", 3, &[])]);
    let plan = planned(&desired(0, json!({})), &running([]), &open);
    assert_eq!(launched(&plan), [(&subnet('a'), "m6i.large", 3)]);
    let plan = in_context(2_000, |context| plan_end(DeletionPolicy::Terminate, &running([]), &open, context));
    assert_eq!(launched(&plan), [(&subnet('a'), "m6i.large", 3)]);
}

#[test]
fn a_launch_is_settled_when_all_returned_instances_were_observed_or_terminated() {
    let settled = |world: &Observed| planned(&desired(2, json!({})), world, &launches([intent(7, "me", 3, &[1, 2])]));
    let mut world = observed([launched_with(&token(7), 1)]);
    world.instances.missing.insert(id(2), KnownInstance::default());
    assert_eq!(settled(&world).ledger.launches.len(), 1, "one is not seen yet");
    let mut by_id = launched_with(&token(7), 2);
    by_id.swept = false;
    world.instances.missing.clear();
    world.instances.shown.insert(id(2), by_id);
    assert_eq!(settled(&world).ledger.launches.len(), 1, "seen by id; the sweep of a successor would not show it");
    world.instances.shown.get_mut(&id(2)).unwrap().swept = true;
    assert_eq!(bare(settled(&world).ledger), Ledger::default());
    world.instances.shown.remove(&id(2));
    world.instances.gone.insert(id(2));
    let plan = settled(&world);
    assert_eq!(plan.ledger.launches.len(), 1);
    assert_ne!(plan.ledger.launches[0].token, token(7), "a lost instance is replaced under a new token");
}

#[test]
fn a_launch_without_a_response_is_settled_when_all_its_instances_are_observed() {
    let world = observed([launched_with(&token(7), 1), launched_with(&token(7), 2)]);
    let two = planned(&desired(2, json!({})), &world, &launches([intent(7, "other", 2, &[])]));
    assert_eq!((two.actions, bare(two.ledger)), (vec![], Ledger::default()));
    let three = planned(&desired(3, json!({})), &world, &launches([intent(7, "other", 3, &[])]));
    let repeated = [(&subnet('a'), "m6i.large", 3)];
    assert_eq!(launched(&three), repeated, "the third may only be missing, so the call is repeated");
    assert_eq!(three.ledger.launches.len(), 1);
}

#[test]
fn an_unrepeatable_launch_is_settled_by_a_search() {
    let open = launches([intent(7, "other", 2, &[])]);
    let with = |standing: Standing| {
        let mut world = running([]);
        world.feedback.standing.insert(token(7), standing);
        planned(&desired(2, json!({})), &world, &open)
    };
    let waiting = with(Standing::Waiting);
    assert_eq!((waiting.actions, bare(waiting.ledger)), (vec![], open.clone()));
    let nothing = with(Standing::Searched(vec![]));
    assert!(nothing.ledger.launches.iter().all(|intent| intent.token != token(7)));
    assert_eq!(launched(&nothing).iter().map(|(_, _, count)| count).sum::<u32>(), 2);
    let found = with(Standing::Searched(vec![id(4)]));
    assert_eq!(found.ledger.launches[0].instance_ids, [id(4)]);
}

#[test]
fn a_suspended_fleet_sends_no_calls_and_still_settles_launches() {
    let suspended = desired(5, json!({"suspend": true}));
    let world = observed([launched_with(&token(7), 1)]);
    let open = Ledger { launches: vec![intent(7, "me", 1, &[]), intent(8, "other", 1, &[])], ..victims(&[9]) };
    let plan = planned(&suspended, &world, &open);
    assert_eq!(plan.actions, []);
    assert_eq!(blocker(&plan), Some(Blocker::Suspended));
    assert_eq!(bare(plan.ledger), Ledger { launches: vec![intent(8, "other", 1, &[])], ..victims(&[9]) });
}

#[test]
fn surplus_workers_are_selected_by_readiness_then_age() {
    let mut world = running([1, 2, 4]);
    world.instances.shown.insert(id(3), worker(3, InstanceState::Pending));
    for (policy, expected) in [("Oldest", [1, 3]), ("Newest", [3, 4])] {
        let plan = planned(&desired(2, json!({"scaleDownPolicy": policy})), &world, &Ledger::default());
        assert_eq!(terminated(&plan), expected.map(id), "{policy}");
        assert_eq!(plan.ledger.victims(), expected.map(id).into_iter().collect(), "{policy}");
        assert_eq!(launched(&plan), []);
    }
}

#[test]
fn unconfirmed_instances_cause_no_termination() {
    let open = launches([intent(7, "me", 5, &[])]);
    let plan = planned(&desired(2, json!({})), &running([1, 2]), &open);
    assert_eq!(terminated(&plan), []);
}

#[test]
fn victims_that_ec2_does_not_terminate_are_recorded_within_the_schema_bounds() {
    let (mut ledger, mut left) = (Ledger::default(), 400);
    while left > 0 {
        left -= 1;
        ledger = planned(&desired(left, json!({})), &running(1..=400), &ledger).ledger;
    }
    assert_eq!(ledger.victims().len(), 400);
    assert_eq!(ledger.terminations.len(), 1);
}

#[test]
fn victims_are_selected_once_and_terminated_again_only_after_a_delay() {
    let mut world = running([1, 2, 3]);
    let plan = planned(&desired(2, json!({})), &world, &victims(&[2]));
    assert_eq!(terminated(&plan), [id(2)]);
    world.feedback.asked.insert(id(2));
    let plan = planned(&desired(2, json!({})), &world, &victims(&[2]));
    assert_eq!((plan.actions, bare(plan.ledger)), (vec![], victims(&[2])));
    world.instances.shown.insert(id(2), worker(2, InstanceState::ShuttingDown));
    assert_eq!(bare(planned(&desired(2, json!({})), &world, &victims(&[2])).ledger), Ledger::default());
}

#[test]
fn a_stopped_worker_is_replaced_or_ignored() {
    let mut world = running([1]);
    world.instances.shown.insert(id(2), worker(2, InstanceState::Stopped));
    let plan = planned(&desired(2, json!({})), &world, &Ledger::default());
    assert_eq!(terminated(&plan), [id(2)]);
    assert_eq!(plan.ledger.terminations[0].reason, TerminationReason::Stopped);
    assert_eq!(launched(&plan).len(), 1);
    let plan = planned(&desired(2, json!({"onStopped": "Ignore"})), &world, &Ledger::default());
    assert_eq!(plan.actions, []);
}

#[test]
fn orphans_block_launches_until_they_are_adopted_or_ignored() {
    let mut world = running([]);
    world.instances.orphans.insert(id(8), orphan());
    let mut wanted = desired(2, json!({}));
    let held = planned(&wanted, &world, &Ledger::default());
    assert_eq!((blocker(&held), held.actions), (Some(Blocker::Orphans), vec![]));
    wanted.ignore.insert(uid(EARLIER));
    let beside = planned(&wanted, &world, &Ledger::default());
    assert_eq!(launched(&beside).iter().map(|(_, _, count)| count).sum::<u32>(), 2);
    wanted.ignore.clear();
    wanted.adopt.insert(uid(EARLIER));
    let taken = planned(&wanted, &world, &Ledger::default());
    assert_eq!(taken.ledger.adopted(), [id(8)].into());
    assert_eq!(launched(&taken).iter().map(|(_, _, count)| count).sum::<u32>(), 1);
}

#[test]
fn without_capacity_the_next_pool_is_used_until_none_is_left() {
    let cause = || cause(Class::NoCapacity, "InsufficientInstanceCapacity");
    let wanted = desired(2, json!({}));
    let mut world = running([]);
    let pools: Vec<_> = wanted.roles[0].resolved.launch_spec.as_ref().unwrap().places.pools().collect();
    world.feedback.unavailable.insert(pools[0].clone(), cause());
    let plan = planned(&wanted, &world, &Ledger::default());
    assert_eq!(launched(&plan), [(&subnet('a'), "m5.large", 1), (&subnet('b'), "m6i.large", 1)]);
    world.feedback.unavailable.extend(pools.into_iter().map(|pool| (pool, cause())));
    let plan = planned(&wanted, &world, &Ledger::default());
    assert_eq!((blocker(&plan), plan.actions), (Some(Blocker::NoCapacity), vec![]));
}

#[test]
fn a_rejected_launch_is_not_retried_before_its_delay() {
    let revision = desired(2, json!({})).roles[0].resolved.launch_spec.as_ref().unwrap().revision.name.clone();
    let cause = cause(Class::Denied, "UnauthorizedOperation");
    let mut world = running([]);
    world.feedback.refusals.insert(revision.clone(), Refusal { cause: cause.clone(), retry: false });
    let plan = planned(&desired(2, json!({})), &world, &Ledger::default());
    assert_eq!((blocker(&plan), plan.actions), (Some(Blocker::Refused), vec![]));
    world.feedback.refusals.insert(revision, Refusal { cause, retry: true });
    assert_eq!(blocker(&planned(&desired(2, json!({})), &world, &Ledger::default())), None);
}

#[test]
fn the_number_of_open_launches_and_victims_is_bounded() {
    let plan = planned(&desired(10_000, json!({})), &running([]), &Ledger::default());
    assert_eq!(plan.ledger.launches.iter().map(|intent| intent.count).sum::<u32>(), MAX_OPEN_LAUNCHED);
    assert_eq!(blocker(&plan), Some(Blocker::Busy));
    let plan = planned(&desired(0, json!({})), &running(1..=1500), &Ledger::default());
    assert_eq!(terminated(&plan).len(), MAX_OPEN_VICTIMS);
}

#[test]
fn a_deleted_fleet_terminates_all_of_its_instances_or_none() {
    let world = running([1, 2]);
    let end = |policy, ledger: &Ledger| in_context(2_000, |context| plan_end(policy, &world, ledger, context));
    assert_eq!(terminated(&end(DeletionPolicy::Terminate, &Ledger::default())), [id(1), id(2)]);
    assert_eq!(end(DeletionPolicy::Retain, &Ledger::default()).actions, []);
    let open = launches([intent(7, "me", 1, &[])]);
    for (policy, world, ledger, ended) in [
        (DeletionPolicy::Terminate, running([1]), Ledger::default(), false),
        (DeletionPolicy::Retain, running([1]), Ledger::default(), true),
        (DeletionPolicy::Terminate, observed([worker(1, InstanceState::ShuttingDown)]), Ledger::default(), true),
        (DeletionPolicy::Terminate, running([]), open.clone(), false),
        (DeletionPolicy::Retain, running([]), open, false),
        (DeletionPolicy::Terminate, running([]), victims(&[1]), false),
    ] {
        assert_eq!(has_ended(policy, &world, &ledger), ended, "{policy:?} {ledger:?}");
    }
}
