//! Values that do not exist yet or no longer exist: nothing is launched, and running workers stay.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use http::{Request, Response, StatusCode};
use k8s_openapi::api::core::v1::Secret;
use kube::{Client, client::Body};
use muster::{clock::Timings, config::Config, crd::worker_fleet::WorkerFleet};
use serde_json::json;

use super::{change_secret, create_secret, documents, fleet_spec, in_s3, parameters, password, scene, synced};
use crate::support::{
    fleet::{self, live, status, wait_settled},
    scene::{Controller, PATIENCE, condition},
};

#[tokio::test]
async fn a_missing_value_blocks_launches_and_running_workers_are_kept() {
    let scene = scene().await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", fleet_spec(&scene, 1, parameters(in_s3(), json!([password()])))).await;
    let stalled = |fleet: &WorkerFleet| condition(&status(fleet).common.conditions, "Stalled").map(|c| c.1);
    let early = scene.wait::<WorkerFleet>("web", "told", |fleet| synced(fleet, "False", "ValueMissing")).await;
    let (_, _, message) = condition(&status(&early).common.conditions, "ParametersSynced").unwrap();
    assert!(message.contains("Secret db does not exist") && message.contains("dbPassword"), "{message}");
    assert_eq!(stalled(&early), None, "things are applied together");
    scene
        .wait::<WorkerFleet>("web", "Stalled after a while", |fleet| stalled(fleet).as_deref() == Some("ValueMissing"))
        .await;
    assert_eq!((fleet::launches(&scene), documents(&scene).len()), (0, 0));

    create_secret(&scene, "first", false).await;
    wait_settled(&scene, "web", 1).await;
    scene.change::<Secret>("db", json!({"data": {"password": null, "other": "eA=="}})).await;
    let fleet =
        scene.wait::<WorkerFleet>("web", "told of the key", |fleet| synced(fleet, "False", "ValueMissing")).await;
    let (_, _, message) = condition(&status(&fleet).common.conditions, "ParametersSynced").unwrap();
    assert!(message.contains("Secret db has no key password"), "{message}");
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 2}})).await;
    scene
        .wait::<WorkerFleet>("web", "the new spec reconciled", |fleet| {
            status(fleet).common.observed_generation == fleet.metadata.generation
        })
        .await;
    assert_eq!(live(&scene).len(), 1);
    change_secret(&scene, "second").await;
    wait_settled(&scene, "web", 2).await;
}

/// A client to an API server that fails requests for Secrets until `serves` is set.
fn failing(client: Client, serves: Arc<AtomicBool>) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, serves) = (client.clone(), serves.clone());
        async move {
            if request.uri().path().ends_with("/secrets/db") && !serves.load(Ordering::Relaxed) {
                let overloaded = Response::builder().status(StatusCode::SERVICE_UNAVAILABLE);
                return Ok(overloaded.body(Body::from(b"overloaded".to_vec())).unwrap());
            }
            client.send(request).await
        }
    });
    Client::new(service, namespace)
}

#[tokio::test]
async fn an_overloaded_api_server_does_not_stall_the_fleet() {
    let scene = scene().await;
    create_secret(&scene, "first", true).await;
    let config = scene.config();
    let seldom = Config { timings: Timings { sweep: PATIENCE * 10, ..config.timings }, ..config };
    let serves = Arc::new(AtomicBool::new(false));
    let until = serves.clone();
    let _controller = Controller::start(seldom, scene.connection(), |client| failing(client, until)).await;
    scene.create::<WorkerFleet>("web", fleet_spec(&scene, 1, parameters(in_s3(), json!([password()])))).await;
    let told = |fleet: &WorkerFleet| synced(fleet, "False", "KubernetesError");
    let fleet = scene.wait::<WorkerFleet>("web", "told of the API server", told).await;
    let conditions = status(&fleet).common.conditions;
    let (_, _, message) = condition(&conditions, "ParametersSynced").unwrap();
    assert!(message.contains("Secret db cannot be read: overloaded"), "{message}");
    assert_eq!((condition(&conditions, "Stalled"), fleet::launches(&scene)), (None, 0));
    serves.store(true, Ordering::Relaxed);
    wait_settled(&scene, "web", 1).await;
}
