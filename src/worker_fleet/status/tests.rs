//! What people read, case by case.

use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::{
    aws::Class,
    ids::{ClientToken, InstanceType, SubnetId, Uid},
    worker_fleet::crd::WorkerFleetSpec,
    workers::{
        draft::Lessons,
        health::Health,
        instance::{Instance, InstanceState},
        launch::LaunchIntent,
        ownership::{Owner, REVISION_TAG},
        parameters::Synced,
        pools::Pool,
        roster::Sighting,
    },
};

const EARLIER: &str = "11111111-9d0c-4f6e-8f0e-1f7a2b3c4d5e";

fn desired(replicas: i32) -> Desired {
    let spec: WorkerFleetSpec = serde_json::from_value(json!({
        "replicas": replicas,
        "aws": {"region": "eu-west-1"},
        "template": {
            "ami": {"id": "ami-00000001"}, "instanceTypes": ["m6i.large"], "subnets": {"ids": ["subnet-0000000a"]},
        },
    }))
    .unwrap();
    let uid = Uid::try_from("6b4d2a3e-9d0c-4f6e-8f0e-1f7a2b3c4d5e").unwrap();
    let owner = Owner {
        cluster: "c".into(),
        tag: crate::workers::ownership::OWNER_TAG,
        namespace: "ns".into(),
        name: "web".into(),
        uid,
    };
    Desired::parse(&spec, owner, Synced::default(), |_| None).unwrap().supplied()
}

fn id(n: u32) -> InstanceId {
    InstanceId::try_from(format!("i-{n:08x}")).unwrap()
}

fn world(running: u32, pending: u32) -> Observed {
    let mut observed = Observed::default();
    for n in 1..=running + pending {
        let instance = Instance {
            tags: BTreeMap::from([(REVISION_TAG.into(), if n <= 2 { "old" } else { "new" }.to_owned())]),
            ..Instance::sample(n, if n <= pending { InstanceState::Pending } else { InstanceState::Running })
        };
        observed.roster.machines.insert(id(n), Sighting { instance, swept: true, checks_passed: true });
    }
    observed
}

fn at_once(observed: &Observed) -> State {
    let health = observed.roster.machines.values().map(|machine| {
        let ready = machine.instance.state == InstanceState::Running;
        (machine.instance.id.clone(), Health { ready, available: ready, was_ready: ready, ..Health::default() })
    });
    State { health: health.collect(), ..State::default() }
}

fn cause(class: Class, code: &str) -> aws::Error {
    aws::Error { operation: "ec2:RunInstances", class, code: code.into(), message: "no".into() }
}

fn pool() -> Pool {
    Pool {
        subnet: SubnetId::try_from("subnet-0000000a").unwrap(),
        instance_type: InstanceType::try_from("m6i.large").unwrap(),
    }
}

fn launching() -> Ledger {
    let token = ClientToken::new(&desired(1).owner.uid, 1);
    let intent = LaunchIntent { revision: "new".into(), ..LaunchIntent::sample(token, 1) };
    Ledger { launches: vec![intent], ..Ledger::default() }
}

fn told(desired: &Desired, observed: &Observed, ledger: &Ledger, hold: Option<Hold>) -> Vec<String> {
    told_without(None, desired, observed, ledger, hold)
}

fn told_without(
    absent: Option<&AbsentReport>,
    desired: &Desired,
    observed: &Observed,
    ledger: &Ledger,
    hold: Option<Hold>,
) -> Vec<String> {
    let holds = hold.map(|hold| (Role::main(), hold)).into_iter().collect();
    let (undying, state) = (BTreeMap::new(), at_once(observed));
    lines(&View { absent, holds: &holds, ..view(desired, observed, ledger, &state, &undying) })
}

/// With nothing in the way and nothing lost.
fn view<'a>(
    desired: &'a Desired,
    observed: &'a Observed,
    ledger: &'a Ledger,
    state: &'a State,
    undying: &'a BTreeMap<InstanceId, aws::Error>,
) -> View<'a> {
    const NONE: &BTreeMap<Role, Hold> = &BTreeMap::new();
    View { desired, observed, ledger, holds: NONE, state, late: false, undying, absent: None, lost: "", estranged: &[] }
}

fn lines(view: &View<'_>) -> Vec<String> {
    let line =
        |v: Verdict| format!("{}={} {}: {}", v.condition.as_str(), v.truth.as_str(), v.reason.as_str(), v.message);
    view.verdicts().into_iter().map(line).collect()
}

#[test]
fn conditions_say_what_is_so_and_what_to_do() {
    let none = Ledger::default();
    let mut refused = world(0, 0);
    let refusal = Refusal { cause: cause(Class::Denied, "UnauthorizedOperation"), retry: false };
    refused
        .lessons
        .refusals
        .insert(desired(4).groups[0].supplied.supply.as_ref().unwrap().revision.name.clone(), refusal);
    let mut updating = world(2, 0);
    updating.lessons = refused.lessons.clone();
    let outdated =
        State { outdated: BTreeMap::from([(Role::main(), BTreeSet::from(["old".to_owned()]))]), ..at_once(&updating) };
    let mut full = world(1, 0);
    full.lessons = Lessons {
        cooling: BTreeMap::from([(pool(), cause(Class::NoCapacity, "InsufficientInstanceCapacity"))]),
        ..Lessons::default()
    };
    let mut orphaned = world(0, 0);
    orphaned.roster.orphans.insert(id(9), Uid::try_from(EARLIER).unwrap());
    let mut strangers = world(1, 0);
    strangers.roster.strangers.insert(id(9));
    let looking = |replicas| Desired { suspended: true, plan_only: true, ..desired(replicas) };
    let absent = |stalls| AbsentReport { name: "prod".into(), stalls };
    let (wish, there, undying) = (desired(2), world(1, 0), BTreeMap::new());
    let state = at_once(&there);
    let lost = View {
        lost: "i-00000008 (Server.InternalError: Internal error on launch)",
        estranged: &[id(9)],
        ..view(&wish, &there, &none, &state, &undying)
    };
    let cases = BTreeMap::from([
        ("lost some", lines(&lost)),
        ("refused while updating", lines(&view(&wish, &updating, &none, &outdated, &undying))),
        ("all ready", told(&desired(2), &world(2, 0), &none, None)),
        ("launching", told(&desired(2), &world(1, 0), &launching(), None)),
        ("starting", told(&desired(2), &world(1, 1), &none, None)),
        ("refused", told(&desired(2), &refused, &none, Some(Hold::Refused))),
        ("no capacity", told(&desired(2), &full, &none, Some(Hold::NoCapacity))),
        ("another pool", told(&desired(1), &full, &none, None)),
        ("orphans", told(&desired(2), &orphaned, &none, Some(Hold::Orphans))),
        ("plan only", told(&looking(2), &world(1, 0), &none, Some(Hold::Suspended))),
        ("plan only, nothing to do", told(&looking(1), &world(1, 0), &none, None)),
        ("no report yet", told_without(Some(&absent(false)), &desired(2), &world(1, 1), &none, None)),
        ("no report", told_without(Some(&absent(true)), &desired(2), &world(1, 1), &none, None)),
        ("no report, and none is wanted", told_without(Some(&absent(true)), &desired(0), &world(0, 0), &none, None)),
        ("strangers", told(&desired(1), &strangers, &none, None)),
    ]);
    insta::assert_yaml_snapshot!(cases);
}

#[test]
fn counts_and_lists_are_of_what_is_there() {
    let (wish, observed, undying) = (desired(70), world(65, 5), BTreeMap::new());
    let ledger = launching();
    let outdated = BTreeMap::from([(Role::main(), ["old", "new"].map(str::to_owned).into())]);
    let state = State { outdated, ..at_once(&observed) };
    let view = view(&wish, &observed, &ledger, &state, &undying);
    let Mark { wish: _, updated, available, leaving } = view.mark();
    assert_eq!((updated, available, leaving), (0, 65, 71), "all are of older revisions");
    let status = view.status(WorkerFleetStatus::default());
    assert_eq!((status.replicas, status.ready_replicas, status.desired_replicas), (71, 65, 70));
    assert_eq!(
        (status.instances.len(), status.workers.instances_total, status.workers.instances_truncated),
        (50, 70, true)
    );
    assert!(status.instances[..5].iter().all(|worker| !worker.ready), "those that are not ready come first");
    assert_eq!(status.current_revision.as_deref(), Some("new"));
    assert_eq!(
        status.update_revision.as_deref(),
        Some(wish.groups[0].supplied.supply.as_ref().unwrap().revision.name.as_str())
    );
    assert_eq!(status.updated_replicas, 0);
    let stored = serde_json::to_vec(&status).unwrap();
    assert!(stored.len() < 64 * 1024, "{} bytes", stored.len());
}

#[test]
fn one_group_does_not_stand_in_for_another() {
    let mut wish = desired(1);
    wish.groups.push(Group { role: Role::try_from("leader").unwrap(), replicas: 1, ..wish.groups[0].clone() });
    wish.suspended = true;
    let (there, none, undying) = (world(2, 0), Ledger::default(), BTreeMap::new());
    let state = at_once(&there);
    let view = view(&wish, &there, &none, &state, &undying);
    assert!(!view.is_settled());
    let told = lines(&view);
    assert!(told.iter().any(|line| line.starts_with("Ready=False")), "{told:?}");
    let available = "Available=False MinimumUnavailable: 2 of 2 workers are available; of leader 0 of 1";
    assert!(told.iter().any(|line| line == available), "{told:?}");
}
