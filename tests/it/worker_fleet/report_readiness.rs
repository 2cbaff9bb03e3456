//! Workers that are ready when their report has been collected.

use kube::ResourceExt;
use muster::crd::{fleet_report::FleetReport, worker_fleet::WorkerFleet};
use serde_json::{Value, json};

use crate::support::{
    fleet::{calls_at_rest, ids, live, spec, start_at_once, status, terminations, wait_settled, with},
    scene::{REGION, Scene, condition},
};

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
        .wait::<FleetReport>("prod", "the reconcile", |report| {
            report.status.as_ref().is_some_and(|s| s.common.last_handled_requested_at.as_deref() == Some(mark))
        })
        .await;
}

#[tokio::test]
async fn a_worker_is_ready_when_its_report_arrives_and_no_deadline_runs_without_collections() {
    let scene = Scene::new().await;
    start_at_once(&scene);
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
    // By two sweeps of the controller, long past the deadline.
    for _ in 0..2 {
        calls_at_rest(&scene).await;
    }
    assert_eq!(
        (ids(&live(&scene)), terminations(&scene)),
        (ids(&workers), 0),
        "a deadline without a report does not count"
    );

    let bucket = scene.sandbox.s3();
    bucket.ensure_bucket(scene.account.as_str(), REGION, "reports").unwrap();
    for worker in &workers {
        bucket.put("reports", &format!("{}.json", worker.id), report(&worker.id)).unwrap();
    }
    scene.create::<FleetReport>("prod", report_spec(&scene, "reports")).await;
    wait_settled(&scene, "web", 2).await;
    assert_eq!(ids(&live(&scene)), ids(&workers));

    // A third worker never reports. Now its deadline counts, and that of each replacement, until one reports.
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 3}})).await;
    scene.wait::<WorkerFleet>("web", "one that is late", |_| terminations(&scene) >= 1).await;
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
