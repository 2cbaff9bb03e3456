//! `maxUnhealthy`, `maxReplacementsPerHour` and `onStopped` limit replacements, and nothing is replaced while EC2 fails.

use std::collections::BTreeSet;

use muster::crd::worker_fleet::WorkerFleet;
use muster_sandbox::{Fault, FaultAction, HealthStatus, InstanceState};
use serde_json::json;

use crate::support::{
    fleet::{
        calls_at_rest, ids, launches, live, ready, settled, spec, start_at_once, status, terminations, wait_settled,
        with,
    },
    scene::{Scene, condition},
};

const IMPAIRED: Option<HealthStatus> = Some(HealthStatus::Impaired);

fn condition_of(fleet: &WorkerFleet, type_: &str) -> String {
    let found = condition(&status(fleet).common.conditions, type_);
    found.map_or_else(|| "-".into(), |(truth, reason, _)| format!("{truth}/{reason}"))
}

#[tokio::test]
async fn many_simultaneous_failures_are_not_replaced_and_few_are() {
    let scene = Scene::new().await;
    start_at_once(&scene);
    let _controller = scene.start().await;
    let guard = json!({"readiness": {"check": "StatusChecks", "startupDeadline": "3s"}});
    scene.create::<WorkerFleet>("web", with(spec(&scene, 4, json!({})), guard)).await;
    wait_settled(&scene, "web", 4).await;
    let workers = live(&scene);
    for worker in &workers[..2] {
        scene.sandbox.set_health(&worker.id, IMPAIRED, None).unwrap();
    }
    let held = scene
        .wait::<WorkerFleet>("web", "held", |fleet| condition_of(fleet, "Healthy") == "False/TooManyUnhealthy")
        .await;
    let (_, _, message) = condition(&status(&held).common.conditions, "Healthy").unwrap();
    assert!(workers[..2].iter().all(|worker| message.contains(&worker.id)) && message.contains("20%"), "{message}");
    assert_eq!(ready(&held).unwrap().1, "TooManyUnhealthy");
    calls_at_rest(&scene).await;
    assert_eq!((ids(&live(&scene)), terminations(&scene)), (ids(&workers), 0));

    // With maxUnhealthy 20%, one of four may be replaced.
    scene.sandbox.set_health(&workers[0].id, None, None).unwrap();
    scene
        .wait::<WorkerFleet>("web", "one replaced", |fleet| {
            settled(fleet, 4) && !ids(&live(&scene)).contains(&workers[1].id)
        })
        .await;
    assert!(ids(&live(&scene)).is_superset(&ids(&[&workers[..1], &workers[2..]].concat())));
}

#[tokio::test]
async fn while_describe_fails_no_instance_is_terminated_or_launched() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 6, json!({}))).await;
    wait_settled(&scene, "web", 6).await;
    let before = (ids(&live(&scene)), launches(&scene), terminations(&scene));
    let unavailable = FaultAction::Error { code: "Unavailable".into(), message: None, status: Some(503) };
    let fault = scene.sandbox.add_fault(Fault::always("ec2", "DescribeInstances", unavailable));
    scene.sandbox.wait_for_hits(fault, 3).await;
    scene
        .wait::<WorkerFleet>("web", "the failure", |fleet| ready(fleet).is_some_and(|r| r.1 == "AwsUnavailable"))
        .await;
    scene.sandbox.remove_fault(fault);
    wait_settled(&scene, "web", 6).await;
    assert_eq!((ids(&live(&scene)), launches(&scene), terminations(&scene)), before);
}

#[tokio::test]
async fn the_replacement_limit_holds_and_scaling_up_does_not_count() {
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
        .wait::<WorkerFleet>("web", "the limit", |fleet| {
            condition_of(fleet, "Healthy") == "False/ReplacementLimitReached"
        })
        .await;
    assert_eq!(status(&held).replicas, 3);
    let made = launches(&scene);
    calls_at_rest(&scene).await;
    assert_eq!((live(&scene).len(), launches(&scene)), (3, made));
    // Scaling up launches only the additional workers; the lost one is still not replaced.
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 6}})).await;
    scene.wait::<WorkerFleet>("web", "two more", |fleet| status(fleet).ready_replicas == 5).await;
    scene.change::<WorkerFleet>("web", json!({"spec": {"maxReplacementsPerHour": 2}})).await;
    wait_settled(&scene, "web", 6).await;
}

#[tokio::test]
async fn a_stopped_worker_is_kept_with_on_stopped_ignore() {
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
    assert_eq!((ids(&live(&scene)), terminations(&scene)), (before, 0));
    scene.sandbox.start_instance(&stopped).unwrap();
    wait_settled(&scene, "web", 2).await;
}

#[tokio::test]
async fn interrupted_spot_workers_are_replaced_and_never_exceed_the_desired_number() {
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
