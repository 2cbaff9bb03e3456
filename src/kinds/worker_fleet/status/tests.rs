//! The messages of the conditions, case by case.

use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::{
    aws::{
        Class,
        ec2::instance::{Instance, InstanceState},
    },
    crd::{launches::LaunchIntent, worker_fleet::WorkerFleetSpec},
    ids::{ClientToken, InstanceType, SubnetId, Uid},
    inventory::ownership::Owner,
    tags::REVISION_TAG,
    workers::{
        observe::{
            health::Health,
            instances::ObservedInstance,
            observed::{LaunchFeedback, Refusal},
        },
        parameters::Synced,
        plan::pools::Pool,
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
    let owner =
        Owner { cluster: "c".into(), tag: crate::tags::FLEET_TAG, namespace: "ns".into(), name: "web".into(), uid };
    Desired::parse(&spec, owner, Synced::default(), |_| None).unwrap().resolved()
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
        observed.instances.shown.insert(id(n), ObservedInstance { instance, swept: true, checks_passed: true });
    }
    observed
}

fn at_once(observed: &Observed) -> State {
    let health = observed.instances.shown.values().map(|worker| {
        let ready = worker.instance.state == InstanceState::Running;
        (worker.instance.id.clone(), Health { ready, available: ready, was_ready: ready, ..Health::default() })
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

fn shown(desired: &Desired, observed: &Observed, ledger: &Ledger, blocker: Option<Blocker>) -> Vec<String> {
    shown_without(None, desired, observed, ledger, blocker)
}

fn shown_without(
    absent: Option<&AbsentReport>,
    desired: &Desired,
    observed: &Observed,
    ledger: &Ledger,
    blocker: Option<Blocker>,
) -> Vec<String> {
    let blockers = blocker.map(|blocker| (Role::main(), blocker)).into_iter().collect();
    let (termination_failed, state) = (BTreeMap::new(), at_once(observed));
    lines(&View { absent, blockers: &blockers, ..view(desired, observed, ledger, &state, &termination_failed) })
}

/// Without obstacles and losses.
fn view<'a>(
    desired: &'a Desired,
    observed: &'a Observed,
    ledger: &'a Ledger,
    state: &'a State,
    termination_failed: &'a BTreeMap<InstanceId, aws::Error>,
) -> View<'a> {
    const NONE: &BTreeMap<Role, Blocker> = &BTreeMap::new();
    View {
        desired,
        observed,
        ledger,
        blockers: NONE,
        state,
        late: false,
        termination_failed,
        absent: None,
        lost: "",
        untagged: &[],
    }
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
        .feedback
        .refusals
        .insert(desired(4).roles[0].resolved.launch_spec.as_ref().unwrap().revision.name.clone(), refusal);
    let mut updating = world(2, 0);
    updating.feedback = refused.feedback.clone();
    let outdated =
        State { outdated: BTreeMap::from([(Role::main(), BTreeSet::from(["old".to_owned()]))]), ..at_once(&updating) };
    let mut full = world(1, 0);
    full.feedback = LaunchFeedback {
        unavailable: BTreeMap::from([(pool(), cause(Class::NoCapacity, "InsufficientInstanceCapacity"))]),
        ..LaunchFeedback::default()
    };
    let mut orphaned = world(0, 0);
    orphaned.instances.orphans.insert(id(9), Uid::try_from(EARLIER).unwrap());
    let mut foreign = world(1, 0);
    foreign.instances.foreign.insert(id(9));
    let plan_only = |replicas| Desired { suspended: true, plan_only: true, ..desired(replicas) };
    let absent = |stalls| AbsentReport { name: "prod".into(), stalls };
    let (wanted, there, termination_failed) = (desired(2), world(1, 0), BTreeMap::new());
    let state = at_once(&there);
    let lost = View {
        lost: "i-00000008 (Server.InternalError: Internal error on launch)",
        untagged: &[id(9)],
        ..view(&wanted, &there, &none, &state, &termination_failed)
    };
    let cases = BTreeMap::from([
        ("lost some", lines(&lost)),
        ("refused while updating", lines(&view(&wanted, &updating, &none, &outdated, &termination_failed))),
        ("all ready", shown(&desired(2), &world(2, 0), &none, None)),
        ("launching", shown(&desired(2), &world(1, 0), &launching(), None)),
        ("starting", shown(&desired(2), &world(1, 1), &none, None)),
        ("refused", shown(&desired(2), &refused, &none, Some(Blocker::Refused))),
        ("no capacity", shown(&desired(2), &full, &none, Some(Blocker::NoCapacity))),
        ("another pool", shown(&desired(1), &full, &none, None)),
        ("orphans", shown(&desired(2), &orphaned, &none, Some(Blocker::Orphans))),
        ("plan only", shown(&plan_only(2), &world(1, 0), &none, Some(Blocker::Suspended))),
        ("plan only, nothing to do", shown(&plan_only(1), &world(1, 0), &none, None)),
        ("no report yet", shown_without(Some(&absent(false)), &desired(2), &world(1, 1), &none, None)),
        ("no report", shown_without(Some(&absent(true)), &desired(2), &world(1, 1), &none, None)),
        ("no report, and none is wanted", shown_without(Some(&absent(true)), &desired(0), &world(0, 0), &none, None)),
        ("strangers", shown(&desired(1), &foreign, &none, None)),
    ]);
    insta::assert_yaml_snapshot!(cases);
}

#[test]
fn counts_and_lists_are_of_what_is_there() {
    let (wanted, observed, termination_failed) = (desired(70), world(65, 5), BTreeMap::new());
    let ledger = launching();
    let outdated = BTreeMap::from([(Role::main(), ["old", "new"].map(str::to_owned).into())]);
    let state = State { outdated, ..at_once(&observed) };
    let view = view(&wanted, &observed, &ledger, &state, &termination_failed);
    let ProgressMark { wish: _, updated, available, leaving } = view.mark();
    assert_eq!((updated, available, leaving), (0, 65, 71), "all are of older revisions");
    let status = view.status(WorkerFleetStatus::default());
    assert_eq!((status.replicas, status.ready_replicas, status.desired_replicas), (71, 65, 70));
    assert_eq!(
        (status.instances.len(), status.workers.instances_total, status.workers.instances_truncated),
        (50, 70, true)
    );
    assert!(status.instances[..5].iter().all(|worker| !worker.ready), "unready workers come first");
    assert_eq!(status.current_revision.as_deref(), Some("new"));
    assert_eq!(
        status.update_revision.as_deref(),
        Some(wanted.roles[0].resolved.launch_spec.as_ref().unwrap().revision.name.as_str())
    );
    assert_eq!(status.updated_replicas, 0);
    let stored = serde_json::to_vec(&status).unwrap();
    assert!(stored.len() < 64 * 1024, "{} bytes", stored.len());
}

#[test]
fn one_group_does_not_stand_in_for_another() {
    let mut wanted = desired(1);
    wanted.roles.push(DesiredRole { role: Role::try_from("leader").unwrap(), replicas: 1, ..wanted.roles[0].clone() });
    wanted.suspended = true;
    let (there, none, termination_failed) = (world(2, 0), Ledger::default(), BTreeMap::new());
    let state = at_once(&there);
    let view = view(&wanted, &there, &none, &state, &termination_failed);
    assert!(!view.is_settled());
    let shown = lines(&view);
    assert!(shown.iter().any(|line| line.starts_with("Ready=False")), "{shown:?}");
    let available = "Available=False MinimumUnavailable: 2 of 2 workers are available; role leader: 0 of 1";
    assert!(shown.iter().any(|line| line == available), "{shown:?}");
}
