//! What keeps a fleet from doing more harm than good.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::api::events::v1::Event;
use kube::{Api, ResourceExt, api::ListParams};
use muster::{fleet_report::FleetReport, worker_fleet::WorkerFleet};
use muster_sandbox::{CallQuery, Fault, FaultAction, HealthStatus, InstanceState, Lifecycle, Settings};
use serde_json::{Value, json};

use crate::{
    fleet::{calls_at_rest, ids, launches, live, ready, settled, spec, status, wait_settled, with},
    scene::{REGION, Scene, condition},
};

const IMPAIRED: Option<HealthStatus> = Some(HealthStatus::Impaired);

fn says(fleet: &WorkerFleet, type_: &str) -> String {
    let found = condition(&status(fleet).common.conditions, type_);
    found.map_or_else(|| "-".into(), |(truth, reason, _)| format!("{truth}/{reason}"))
}

/// Machines start at once, so that only those which the test holds back are late.
fn quick(scene: &Scene) {
    let at_once = Duration::from_millis(20);
    start(scene, Lifecycle { pending: at_once, initializing: at_once, ..Lifecycle::default() });
}

fn start(scene: &Scene, lifecycle: Lifecycle) {
    scene.sandbox.configure(&Settings { lifecycle: Some(lifecycle), throttling: None, describe_lag: None });
}

fn ended(scene: &Scene) -> usize {
    scene.sandbox.calls(&CallQuery::operation("ec2", "TerminateInstances")).len()
}

/// The events about the fleet with this reason.
pub(crate) async fn events(scene: &Scene, reason: &str) -> Vec<String> {
    let all =
        Api::<Event>::namespaced(scene.kube.clone(), &scene.namespace).list(&ListParams::default()).await.unwrap();
    let told = all.into_iter().filter(|event| event.reason.as_deref() == Some(reason));
    told.map(|event| event.note.unwrap_or_default()).collect()
}

#[tokio::test]
async fn many_that_fail_at_once_are_held_and_few_are_replaced() {
    let scene = Scene::new().await;
    quick(&scene);
    let _controller = scene.start().await;
    let guard = json!({"readiness": {"check": "StatusChecks", "startupDeadline": "3s"}});
    scene.create::<WorkerFleet>("web", with(spec(&scene, 4, json!({})), guard)).await;
    wait_settled(&scene, "web", 4).await;
    let workers = live(&scene);
    for worker in &workers[..2] {
        scene.sandbox.set_health(&worker.id, IMPAIRED, None).unwrap();
    }
    let held =
        scene.wait::<WorkerFleet>("web", "held", |fleet| says(fleet, "Healthy") == "False/TooManyUnhealthy").await;
    let (_, _, message) = condition(&status(&held).common.conditions, "Healthy").unwrap();
    assert!(workers[..2].iter().all(|worker| message.contains(&worker.id)) && message.contains("20%"), "{message}");
    assert_eq!(ready(&held).unwrap().1, "TooManyUnhealthy");
    calls_at_rest(&scene).await;
    assert_eq!((ids(&live(&scene)), ended(&scene)), (ids(&workers), 0));

    // One of four is what a share of 20% lets replace.
    scene.sandbox.set_health(&workers[0].id, None, None).unwrap();
    scene
        .wait::<WorkerFleet>("web", "one replaced", |fleet| {
            settled(fleet, 4) && !ids(&live(&scene)).contains(&workers[1].id)
        })
        .await;
    assert!(ids(&live(&scene)).is_superset(&ids(&[&workers[..1], &workers[2..]].concat())));
}

#[tokio::test]
async fn while_describe_fails_nothing_is_ended_or_launched() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 6, json!({}))).await;
    wait_settled(&scene, "web", 6).await;
    let before = (ids(&live(&scene)), launches(&scene), ended(&scene));
    let unavailable = FaultAction::Error { code: "Unavailable".into(), message: None, status: Some(503) };
    let fault = scene.sandbox.add_fault(Fault::always("ec2", "DescribeInstances", unavailable));
    scene.sandbox.wait_for_hits(fault, 3).await;
    scene
        .wait::<WorkerFleet>("web", "the failure", |fleet| ready(fleet).is_some_and(|r| r.1 == "AwsUnavailable"))
        .await;
    scene.sandbox.remove_fault(fault);
    wait_settled(&scene, "web", 6).await;
    assert_eq!((ids(&live(&scene)), launches(&scene), ended(&scene)), before);
}

/// The event about a worker that read the values `before` and never became ready, and the worker's id. Where there are
/// values `after`, another process sees these only.
async fn last_words(scene: &Scene, before: Value, after: Option<Value>, words: &str) -> (String, String) {
    quick(scene);
    scene.sandbox.s3().ensure_bucket(scene.account.as_str(), REGION, "words").unwrap();
    let never = Lifecycle { initializing: Duration::from_secs(3600), ..Lifecycle::default() };
    start(scene, never);
    let mut controller = scene.start().await;
    let guard = json!({
        "readiness": {"check": "StatusChecks", "startupDeadline": "3s"},
        "maxUnhealthy": "100%",
        "parameters": {"store": {"s3": {"bucket": "words", "prefix": "app"}}, "values": before},
    });
    scene.create::<WorkerFleet>("web", with(spec(scene, 1, json!({})), guard)).await;
    scene.wait::<WorkerFleet>("web", "a worker", |_| live(scene).len() == 1).await;
    let first = live(scene).remove(0).id;
    scene.sandbox.set_console_output(&first, words.as_bytes()).unwrap();
    if let Some(after) = after {
        controller.kill().await;
        scene.change::<WorkerFleet>("web", json!({"spec": {"parameters": {"values": after}}})).await;
        controller = scene.start().await;
    }
    // What starts from now on starts well.
    scene.sandbox.set_health(&first, IMPAIRED, IMPAIRED).unwrap();
    let at_once = Duration::from_millis(20);
    start(scene, Lifecycle { pending: at_once, initializing: at_once, ..Lifecycle::default() });
    scene
        .wait::<WorkerFleet>("web", "another worker", |fleet| settled(fleet, 1) && !ids(&live(scene)).contains(&first))
        .await;
    drop(controller);
    let mut told = events(scene, "StartupDeadlineExceeded").await;
    assert_eq!(told.len(), 1, "{told:?}");
    (told.remove(0), first)
}

#[tokio::test]
async fn a_worker_that_never_passes_its_checks_is_replaced_with_its_last_words_in_an_event() {
    let scene = Scene::new().await;
    let words = format!("{}\r\nmodel \u{1b}[31mred\u{1b}[0m failed\r\nworker: exit 7\r\n", "x".repeat(2000));
    let (note, first) = last_words(&scene, json!([{"name": "model", "value": "red"}]), None, &words).await;
    assert!(note.contains(&first) && note.contains("its console ended with"), "{note}");
    assert!(note.contains("| model red failed | worker: exit 7"), "{note}");
    assert!(!note.contains('\u{1b}') && note.len() < 1000, "{note}");
}

#[tokio::test]
async fn the_console_of_a_worker_that_may_know_a_secret_is_not_quoted() {
    let value = |key: &str| json!({"name": key, "valueFrom": {"secretKeyRef": {"name": "app", "key": key}}});
    let plain = json!({"name": "model", "value": "red"});
    // A secret, one that the worker knows no more, and values that nobody knows any more.
    for (case, before, after) in [
        ("reads a secret", json!([value("password")]), None),
        ("read one", json!([value("password"), plain]), Some(json!([plain]))),
        ("read what this process has not seen", json!([plain]), Some(json!([{"name": "model", "value": "blue"}]))),
    ] {
        let scene = Scene::new().await;
        let secret = json!({"metadata": {"name": "app"}, "stringData": {"password": "open-sesame"}});
        let secrets = scene.api::<k8s_openapi::api::core::v1::Secret>();
        secrets.create(&Default::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
        let (note, first) =
            last_words(&scene, before, after, "login with open-sesame, in base64 b3Blbi1zZXNhbWU=").await;
        assert!(note.contains(&first) && note.contains("get-console-output"), "{case}: {note}");
        assert!(!note.contains("login") && !note.contains("b3Blbi1zZXNhbWU"), "{case}: {note}");
    }
}

#[tokio::test]
async fn no_more_are_replaced_within_the_hour_than_may_be_and_growth_does_not_count() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    let guard = json!({"maxReplacementsPerHour": 1});
    scene.create::<WorkerFleet>("web", with(spec(&scene, 3, json!({})), guard)).await;
    wait_settled(&scene, "web", 3).await;
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 4}})).await;
    let filled = wait_settled(&scene, "web", 4).await;
    assert_eq!(status(&filled).replacements, []);
    let first = live(&scene).remove(0).id;
    scene.sandbox.terminate_instance(&first).unwrap();
    let counted = scene
        .wait::<WorkerFleet>("web", "a replacement", |fleet| {
            settled(fleet, 4) && status(fleet).replacements.iter().map(|span| span.count).sum::<u32>() == 1
        })
        .await;
    assert_eq!(live(&scene).len(), 4, "{counted:#?}");
    let second = live(&scene).remove(0).id;
    scene.sandbox.terminate_instance(&second).unwrap();
    let held = scene
        .wait::<WorkerFleet>("web", "the limit", |fleet| says(fleet, "Healthy") == "False/ReplacementLimitReached")
        .await;
    assert_eq!(status(&held).replicas, 3);
    let made = launches(&scene);
    calls_at_rest(&scene).await;
    assert_eq!((live(&scene).len(), launches(&scene)), (3, made));
    // A larger fleet is wanted, and still the one that was lost is not replaced.
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 6}})).await;
    scene.wait::<WorkerFleet>("web", "two more", |fleet| status(fleet).ready_replicas == 5).await;
    scene.change::<WorkerFleet>("web", json!({"spec": {"maxReplacementsPerHour": 2}})).await;
    wait_settled(&scene, "web", 6).await;
}

#[tokio::test]
async fn a_stopped_worker_is_left_where_the_fleet_ignores_it() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", with(spec(&scene, 2, json!({})), json!({"onStopped": "Ignore"}))).await;
    wait_settled(&scene, "web", 2).await;
    let before = ids(&live(&scene));
    let stopped = before.first().unwrap().clone();
    scene.sandbox.stop_instance(&stopped).unwrap();
    let seen = scene
        .wait::<WorkerFleet>("web", "one not ready", |fleet| {
            status(fleet).instances.iter().any(|worker| worker.id.as_str() == stopped && worker.state == "stopped")
        })
        .await;
    assert_eq!((status(&seen).replicas, status(&seen).ready_replicas), (2, 1));
    assert_eq!((ids(&live(&scene)), ended(&scene)), (before, 0));
    scene.sandbox.start_instance(&stopped).unwrap();
    wait_settled(&scene, "web", 2).await;
}

#[tokio::test]
async fn a_plan_is_shown_and_nothing_is_done() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 2, json!({}))).await;
    wait_settled(&scene, "web", 2).await;
    let before = ids(&live(&scene));
    let last = scene.sandbox.calls(&CallQuery::default()).last().unwrap().number;
    let only = json!({"metadata": {"annotations": {"muster.dev/plan-only": "true"}}});
    scene.change::<WorkerFleet>("web", only).await;
    scene
        .wait::<WorkerFleet>("web", "an empty plan", |f| status(f).workers.plan.is_some_and(|p| p.steps.is_empty()))
        .await;
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 0}})).await;
    let steps = |wanted: &'static str| {
        move |fleet: &WorkerFleet| {
            status(fleet)
                .workers
                .plan
                .is_some_and(|plan| !plan.steps.is_empty() && plan.steps.iter().all(|s| s.starts_with(wanted)))
        }
    };
    let plan = status(&scene.wait::<WorkerFleet>("web", "ends", steps("end ")).await).workers.plan.unwrap();
    assert!(before.iter().all(|id| plan.steps[0].contains(id)), "{plan:?}");
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 5}})).await;
    scene.wait::<WorkerFleet>("web", "launches", steps("launch ")).await;
    calls_at_rest(&scene).await;
    let query = CallQuery { service: Some("ec2".into()), after: Some(last), ..CallQuery::default() };
    let called: BTreeSet<_> = scene.sandbox.calls(&query).into_iter().map(|call| call.operation).collect();
    assert!(called.iter().all(|operation| operation.starts_with("Describe")), "{called:?}");
    assert_eq!(ids(&live(&scene)), before);
    scene.change::<WorkerFleet>("web", json!({"metadata": {"annotations": {"muster.dev/plan-only": null}}})).await;
    let done = wait_settled(&scene, "web", 5).await;
    assert_eq!(status(&done).workers.plan, None);
}

fn report(id: &str) -> String {
    json!({"update_date": muster::clock::Clock.now().to_string(), "instance_id": id, "app_version": "1.0.0"})
        .to_string()
}

fn report_spec(scene: &Scene, bucket: &str) -> Value {
    json!({
        "sources": [{"name": "prod", "bucket": bucket, "aws": scene.aws()}],
        "interval": "1h",
        "timestamp": {"path": "$.update_date"},
        "identity": {"path": "$.instance_id"},
        "fields": [{"name": "app", "path": "$.app_version"}],
    })
}

async fn collect(scene: &Scene, mark: &str) {
    let annotation = json!({"metadata": {"annotations": {"muster.dev/requested-at": mark}}});
    scene.change::<FleetReport>("prod", annotation).await;
    scene
        .wait::<FleetReport>("prod", "the look", |report| {
            report.status.as_ref().is_some_and(|s| s.common.last_handled_requested_at.as_deref() == Some(mark))
        })
        .await;
}

#[tokio::test]
async fn a_worker_is_ready_when_its_report_arrives_and_none_is_late_while_nobody_collects() {
    let scene = Scene::new().await;
    quick(&scene);
    let _controller = scene.start().await;
    let guard = json!({
        "readiness": {"check": "Report", "reportRef": {"name": "prod"}, "startupDeadline": "1s"}, "maxUnhealthy": "100%",
    });
    scene.create::<WorkerFleet>("web", with(spec(&scene, 2, json!({})), guard)).await;
    // There is no FleetReport yet.
    let waiting = |fleet: &WorkerFleet| {
        let running = status(fleet).instances.iter().filter(|worker| worker.state == "running").count();
        running == 2 && status(fleet).ready_replicas == 0
    };
    scene.wait::<WorkerFleet>("web", "two that run", waiting).await;
    let named = |fleet: &WorkerFleet| {
        let conditions = status(fleet).common.conditions;
        let told = |type_: &str| {
            let (_, reason, message) = condition(&conditions, type_)?;
            Some(reason == "FleetReportNotFound" && message.contains("FleetReport prod does not exist"))
        };
        told("Ready") == Some(true) && told("Stalled") == Some(true)
    };
    scene.wait::<WorkerFleet>("web", "what it waits for", named).await;
    let workers = live(&scene);
    // Long past the deadline, by the controller's own looks.
    for _ in 0..2 {
        calls_at_rest(&scene).await;
    }
    assert_eq!((ids(&live(&scene)), ended(&scene)), (ids(&workers), 0), "a deadline without a report does not count");

    let bucket = scene.sandbox.s3();
    bucket.ensure_bucket(scene.account.as_str(), REGION, "reports").unwrap();
    for worker in &workers {
        bucket.put("reports", &format!("{}.json", worker.id), report(&worker.id)).unwrap();
    }
    scene.create::<FleetReport>("prod", report_spec(&scene, "reports")).await;
    wait_settled(&scene, "web", 2).await;
    assert_eq!(ids(&live(&scene)), ids(&workers));

    // A third never reports: now its deadline counts, and again for each that takes its place, until one reports.
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 3}})).await;
    scene.wait::<WorkerFleet>("web", "one that is late", |_| ended(&scene) >= 1).await;
    scene.change::<WorkerFleet>("web", json!({"spec": {"readiness": {"startupDeadline": "10m"}}})).await;
    let fresh = scene
        .wait::<WorkerFleet>("web", "a third", |fleet| {
            let listed = status(fleet).instances;
            let running = listed.iter().filter(|worker| worker.state == "running").count();
            fleet.metadata.generation == status(fleet).common.observed_generation && running == 3
        })
        .await;
    for worker in status(&fresh).instances {
        bucket.put("reports", &format!("{}.json", worker.id), report(worker.id.as_str())).unwrap();
    }
    collect(&scene, "now").await;
    wait_settled(&scene, "web", 3).await;
    assert!(ids(&live(&scene)).is_superset(&ids(&workers)));
    assert!(fresh.name_any() == "web");
}

#[tokio::test]
async fn spot_capacity_that_is_taken_back_is_replaced_and_never_exceeds_what_is_wanted() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 4, json!({"capacityType": "Spot"}))).await;
    wait_settled(&scene, "web", 4).await;
    let before = live(&scene);
    assert!(before.iter().all(|worker| worker.spot_request_id.is_some()));
    let mut events = scene.sandbox.instance_events();
    for worker in &before[..2] {
        scene.sandbox.reclaim_spot_instance(&worker.id).unwrap();
    }
    let taken = ids(&before[..2]);
    scene
        .wait::<WorkerFleet>("web", "two others", |fleet| settled(fleet, 4) && ids(&live(&scene)).is_disjoint(&taken))
        .await;
    assert!(ids(&live(&scene)).is_superset(&ids(&before[2..])));
    let mut there: BTreeSet<_> = ids(&before);
    while let Ok(event) = events.try_recv() {
        match event.state {
            InstanceState::ShuttingDown | InstanceState::Terminated => there.remove(&event.instance_id),
            InstanceState::Pending | InstanceState::Running | InstanceState::Stopping | InstanceState::Stopped => {
                there.insert(event.instance_id)
            }
        };
        assert!(there.len() <= 4, "{there:?}");
    }
}
