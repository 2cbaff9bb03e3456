//! The messages of the conditions, case by case.

use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::{
    aws::{
        Class,
        ec2::instance::{Instance, InstanceState},
    },
    crd::launches::LaunchIntent,
    ids::InstanceType,
    kinds::worker_fleet::sample::{at_once, cause, desired, id, intent, launches, observed, orphan, subnet},
    tags::REVISION_TAG,
    workers::{
        observe::{
            instances::ObservedInstance,
            observed::{LaunchFeedback, Refusal},
            tampered::Tampered,
        },
        plan::pools::Pool,
    },
};

fn wanted(replicas: i32) -> Desired {
    desired(replicas, json!({}))
}

fn world(running: u32, pending: u32) -> Observed {
    observed((1..=running + pending).map(|n| {
        let instance = Instance {
            tags: BTreeMap::from([(REVISION_TAG.into(), if n <= 2 { "old" } else { "new" }.to_owned())]),
            ..Instance::sample(n, if n <= pending { InstanceState::Pending } else { InstanceState::Running })
        };
        ObservedInstance::sample(instance)
    }))
}

fn launching() -> Ledger {
    launches([LaunchIntent { revision: "new".into(), ..intent(1, "me", 1, &[]) }])
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
    let state = at_once(desired, observed);
    lines(&View { absent, blockers: &blockers, ..view(desired, observed, ledger, &state) })
}

/// Without obstacles and losses.
fn view<'a>(desired: &'a Desired, observed: &'a Observed, ledger: &'a Ledger, state: &'a State) -> View<'a> {
    const NO_BLOCKERS: &BTreeMap<Role, Blocker> = &BTreeMap::new();
    const NONE_FAILED: &BTreeMap<InstanceId, aws::Error> = &BTreeMap::new();
    View {
        desired,
        observed,
        ledger,
        blockers: NO_BLOCKERS,
        state,
        late: false,
        termination_failed: NONE_FAILED,
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
fn conditions_state_the_problem_and_what_to_do() {
    let none = Ledger::default();
    let mut refused = world(0, 0);
    let refusal = Refusal { cause: cause(Class::Denied, "UnauthorizedOperation"), retry: false };
    refused.feedback.refusals.extend(wanted(4).revisions().into_iter().map(|revision| (revision, refusal.clone())));
    let mut updating = world(2, 0);
    updating.feedback = refused.feedback.clone();
    let outdated = BTreeMap::from([(Role::main(), BTreeSet::from(["old".to_owned()]))]);
    let outdated = State { outdated, ..at_once(&wanted(2), &updating) };
    let mut full = world(1, 0);
    let pool = Pool { subnet: subnet('a'), instance_type: InstanceType::try_from("m6i.large").unwrap() };
    let unavailable = BTreeMap::from([(pool, cause(Class::NoCapacity, "InsufficientInstanceCapacity"))]);
    full.feedback = LaunchFeedback { unavailable, ..LaunchFeedback::default() };
    let mut orphaned = world(0, 0);
    orphaned.instances.orphans.insert(id(9), orphan());
    let mut foreign = world(1, 0);
    foreign.instances.foreign.insert(id(9));
    let tampered = |is_identified| {
        let mut world = world(2, 0);
        world.instances.shown.get_mut(&id(1)).unwrap().tampered = Some(Tampered::sample(is_identified));
        world
    };
    let plan_only = |replicas| Desired { suspended: true, plan_only: true, ..wanted(replicas) };
    let absent = |stalls| AbsentReport { name: "prod".into(), stalls };
    let (two, there) = (wanted(2), world(1, 0));
    let state = at_once(&two, &there);
    let lost = View {
        lost: "i-00000008 (Server.InternalError: Internal error on launch)",
        untagged: &[id(9)],
        ..view(&two, &there, &none, &state)
    };
    let cases = BTreeMap::from([
        ("lost some", lines(&lost)),
        ("refused while updating", lines(&view(&two, &updating, &none, &outdated))),
        ("all ready", shown(&two, &world(2, 0), &none, None)),
        ("launching", shown(&two, &there, &launching(), None)),
        ("starting", shown(&two, &world(1, 1), &none, None)),
        ("refused", shown(&two, &refused, &none, Some(Blocker::Refused))),
        ("no capacity", shown(&two, &full, &none, Some(Blocker::NoCapacity))),
        ("another pool", shown(&wanted(1), &full, &none, None)),
        ("orphans", shown(&two, &orphaned, &none, Some(Blocker::Orphans))),
        ("plan only", shown(&plan_only(2), &there, &none, Some(Blocker::Suspended))),
        ("plan only, nothing to do", shown(&plan_only(1), &there, &none, None)),
        ("no report yet", shown_without(Some(&absent(false)), &two, &world(1, 1), &none, None)),
        ("no report", shown_without(Some(&absent(true)), &two, &world(1, 1), &none, None)),
        ("no report, and none is wanted", shown_without(Some(&absent(true)), &wanted(0), &world(0, 0), &none, None)),
        ("changed tags", shown(&two, &tampered(true), &none, None)),
        ("changed tags, unknown role", shown(&two, &tampered(false), &none, Some(Blocker::TagsChanged))),
        ("foreign instances", shown(&wanted(1), &foreign, &none, None)),
    ]);
    insta::assert_yaml_snapshot!(cases);
}

#[test]
fn the_status_counts_and_lists_existing_workers() {
    let (wanted, observed, ledger) = (wanted(70), world(65, 5), launching());
    let outdated = BTreeMap::from([(Role::main(), ["old", "new"].map(str::to_owned).into())]);
    let state = State { outdated, ..at_once(&wanted, &observed) };
    let view = view(&wanted, &observed, &ledger, &state);
    let ProgressMark { desired: _, updated, available, leaving } = view.mark();
    assert_eq!((updated, available, leaving), (0, 65, 71), "all are of older revisions");
    let status = view.status(WorkerFleetStatus::default());
    assert_eq!((status.replicas, status.ready_replicas, status.desired_replicas), (71, 65, 70));
    let listed = (status.instances.len(), status.workers.instances_total, status.workers.instances_truncated);
    assert_eq!(listed, (50, 70, true));
    assert!(status.instances[..5].iter().all(|worker| !worker.ready), "unready workers come first");
    assert_eq!(status.current_revision.as_deref(), Some("new"));
    assert!(status.update_revision.is_some() && status.update_revision == wanted.revision(&Role::main()));
    assert_eq!(status.updated_replicas, 0);
    let stored = serde_json::to_vec(&status).unwrap();
    assert!(stored.len() < 64 * 1024, "{} bytes", stored.len());
}

#[test]
fn workers_of_one_role_do_not_count_for_another() {
    let mut wanted = wanted(1);
    wanted.roles.push(DesiredRole { role: Role::try_from("leader").unwrap(), replicas: 1, ..wanted.roles[0].clone() });
    wanted.suspended = true;
    let (there, none) = (world(2, 0), Ledger::default());
    let state = at_once(&wanted, &there);
    let view = view(&wanted, &there, &none, &state);
    assert!(!view.is_settled());
    let shown = lines(&view);
    assert!(shown.iter().any(|line| line.starts_with("Ready=False")), "{shown:?}");
    let available = "Available=False MinimumUnavailable: 2 of 2 workers are available; role leader: 0 of 1";
    assert!(shown.iter().any(|line| line == available), "{shown:?}");
}
