//! Values that are not there yet, or not any more.

use k8s_openapi::api::core::v1::Secret;
use muster::worker_fleet::WorkerFleet;
use serde_json::json;

use super::{change_secret, create_secret, documents, fleet_spec, in_s3, parameters, password, scene, synced};
use crate::{
    fleet::{self, live, status, wait_settled},
    scene::condition,
};

#[tokio::test]
async fn nothing_is_launched_before_a_missing_value_is_there_and_what_runs_stays() {
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
        .wait::<WorkerFleet>("web", "the new spec looked at", |fleet| {
            status(fleet).common.observed_generation == fleet.metadata.generation
        })
        .await;
    assert_eq!(live(&scene).len(), 1);
    change_secret(&scene, "second").await;
    wait_settled(&scene, "web", 2).await;
}
