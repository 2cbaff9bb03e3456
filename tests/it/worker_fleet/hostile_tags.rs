//! Somebody who may tag instances changes the tags of workers.

use std::collections::BTreeMap;

use kube::api::DeleteParams;
use muster::crd::worker_fleet::WorkerFleet;
use serde_json::json;

use crate::support::{
    fleet::{calls_at_rest, live, spec, wait_settled},
    scene::Scene,
};

#[tokio::test]
async fn a_revision_tag_that_is_no_valid_name_stops_neither_scaling_nor_deletion() {
    let long = "a".repeat(256);
    for revision in ["a/b", "..", "../../secrets/x", "%2e%2e", "a\u{1}\n", &long] {
        let scene = Scene::new().await;
        let _controller = scene.start().await;
        scene.create::<WorkerFleet>("web", spec(&scene, 2, json!({}))).await;
        wait_settled(&scene, "web", 2).await;
        let tags = BTreeMap::from([("muster.dev:revision".to_owned(), revision.to_owned())]);
        scene.sandbox.tag_instance(&live(&scene)[0].id, &tags).unwrap();
        calls_at_rest(&scene).await;
        scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 3}})).await;
        wait_settled(&scene, "web", 3).await;
        scene.api::<WorkerFleet>().delete("web", &DeleteParams::default()).await.unwrap();
        scene.wait_gone::<WorkerFleet>("web").await;
        assert_eq!(live(&scene).len(), 0, "{revision:?}");
    }
}
