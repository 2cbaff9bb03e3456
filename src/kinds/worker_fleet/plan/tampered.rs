//! Somebody changes tags of workers: no plan ends them, or launches others in their place.

use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::{
    aws::ec2::instance::InstanceState,
    kinds::worker_fleet::sample::*,
    workers::observe::{instances::ObservedInstance, tampered::Tampered},
};

fn tampered(n: u32, state: InstanceState, is_identified: bool) -> ObservedInstance {
    ObservedInstance { tampered: Some(Tampered::sample(is_identified)), ..worker(n, state) }
}

#[test]
fn workers_whose_tags_were_changed_count_and_are_not_terminated() {
    use InstanceState::{Running, Stopped};
    let all = |state| observed((1..=4).map(|n| tampered(n, state, true)));
    let some = |state| observed((1..=2).map(|n| tampered(n, state, true)).chain((3..=4).map(|n| worker(n, Running))));
    let limit = json!({"maxUnhealthy": "100%"});
    for (case, replicas, world, ended, launches) in [
        ("at rest", 4, all(Running), vec![], 0),
        ("scaled down", 1, all(Running), vec![], 0),
        ("scaled down, others first", 2, some(Running), vec![3, 4], 0),
        ("scaled up", 6, all(Running), vec![], 2),
        ("stopped", 4, all(Stopped), vec![], 0),
        ("some stopped", 4, some(Stopped), vec![], 0),
    ] {
        let plan = planned(&desired(replicas, limit.clone()), &world, &Ledger::default());
        assert_eq!(terminated(&plan), ended.iter().map(|n| id(*n)).collect::<Vec<_>>(), "{case}");
        assert_eq!(launched(&plan).iter().map(|(_, _, count)| count).sum::<u32>(), launches, "{case}");
    }
}

#[test]
fn an_available_worker_stays_while_one_with_changed_tags_is_unavailable() {
    use InstanceState::{Running, Stopped};
    let world = observed([tampered(1, Stopped, true)].into_iter().chain((2..=4).map(|n| worker(n, Running))));
    for (replicas, ended) in [(1, vec![2, 3]), (2, vec![2]), (3, vec![])] {
        let wanted = desired(replicas, json!({"maxUnhealthy": "100%", "update": {"maxUnavailable": 0, "maxSurge": 1}}));
        let plan = planned(&wanted, &world, &Ledger::default());
        assert_eq!(terminated(&plan), ended.iter().map(|n| id(*n)).collect::<Vec<_>>(), "{replicas}");
        assert_eq!(launched(&plan), [], "{replicas}");
    }
}

#[test]
fn an_update_replaces_only_workers_with_their_own_tags() {
    let wanted = desired(4, json!({"update": {"maxSurge": 1, "maxUnavailable": 1}}));
    let world = observed(
        (1..=2)
            .map(|n| tampered(n, InstanceState::Running, true))
            .chain((3..=4).map(|n| worker(n, InstanceState::Running))),
    );
    let state = State {
        outdated: BTreeMap::from([(Role::main(), BTreeSet::from([String::new()]))]),
        ..at_once(&wanted, &world)
    };
    let none = Ledger::default();
    let plan = in_context(2_000, |context| plan(&wanted, &state, &world, &none, context));
    assert_eq!(terminated(&plan), [id(3)]);
    assert_eq!(launched(&plan).iter().map(|(_, _, count)| count).sum::<u32>(), 2);
}

#[test]
fn while_the_role_of_a_worker_is_not_known_nothing_is_launched_or_terminated() {
    let leader = json!({"roles": [{"name": "leader", "replicas": 1}]});
    let workers = (2..=9).map(|n| worker(n, InstanceState::Running));
    let world = observed([tampered(1, InstanceState::Running, false)].into_iter().chain(workers));
    let plan = planned(&desired(3, leader), &world, &Ledger::default());
    assert_eq!((plan.actions.len(), blocker(&plan)), (0, Some(Blocker::TagsChanged)));
    let ended = in_context(2_000, |context| plan_end(DeletionPolicy::Terminate, &world, &Ledger::default(), context));
    assert_eq!(terminated(&ended).len(), 9, "with their fleet they end");
}
