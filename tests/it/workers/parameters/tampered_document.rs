//! A document in S3 that somebody else replaced.

use muster::crd::worker_fleet::WorkerFleet;
use muster_sandbox::{CallQuery, Fault, FaultAction, Moment};
use serde_json::json;

use super::{
    BUCKET, documents, fleet_spec, in_s3, newest, parameters, read_on_worker, reconcile_now, scene, start, written,
};
use crate::support::{
    fleet::{events, settled, wait_settled},
    scene::PATIENCE,
};

#[tokio::test]
async fn no_worker_uses_a_tampered_document_and_it_is_written_again() {
    let scene = scene().await;
    let _controller = start(&scene).await;
    let values = json!([{"name": "run", "value": "/opt/app"}]);
    scene.create::<WorkerFleet>("web", fleet_spec(&scene, 0, parameters(in_s3(), values))).await;
    wait_settled(&scene, "web", 0).await;
    let intact = documents(&scene);
    let key = intact.keys().next().unwrap();
    for forged in [
        intact[key].replace("/opt/app", "/tmp/evil"),
        r#"{"run": "/tmp/evil"}"#.into(),
        format!(r#"{{"salt": "", "values": {{"run": "{}"}}}}"#, "x".repeat(5 * 1024 * 1024)),
    ] {
        scene.sandbox.s3().put(BUCKET, key, forged.clone()).unwrap();
        reconcile_now(&scene, "web", &format!("{} bytes", forged.len())).await;
        assert_eq!(documents(&scene), intact);
    }
    let told = events(&scene, "ParametersTampered").await;
    assert!(told.iter().all(|note| note.contains(&format!("s3://{BUCKET}/{key} had another content"))), "{told:?}");
    assert!(!told.is_empty());

    // Between the comparison and the boot of a worker.
    let launch = Fault::once("ec2", "RunInstances", FaultAction::Hold { moment: Moment::Before });
    let launch = scene.sandbox.add_fault(launch);
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 1}})).await;
    scene.sandbox.wait_for_hits(launch, 1).await;
    scene.sandbox.s3().put(BUCKET, key, intact[key].replace("/opt/app", "/tmp/evil")).unwrap();
    scene.sandbox.remove_fault(launch);
    scene.wait::<WorkerFleet>("web", "a worker", |fleet| settled(fleet, 1)).await;
    let id = newest(&scene);
    let read = |calls: &[muster_sandbox::Call]| {
        calls.iter().filter(|call| call.principal_arn.iter().any(|arn| arn.ends_with(&id))).count() >= 2
    };
    let query = CallQuery::operation("s3", "GetObject");
    let waited = scene.sandbox.wait_for_calls(&query, read);
    tokio::time::timeout(PATIENCE, waited).await.expect("the worker tries again");
    let folder = written(|| scene.sandbox.worker(&id).map(|worker| worker.folder), "console.log").await;
    let console = std::fs::read_to_string(folder.join("console.log")).unwrap();
    assert!(console.contains("is not the document that muster wrote"), "{console}");
    assert!(!folder.join("etc/muster/parameters.json").exists() && !folder.join("seen.json").exists());
    reconcile_now(&scene, "web", "again").await;
    assert_eq!(read_on_worker(&scene, &id).await.0, json!({"run": "/opt/app"}));
}
