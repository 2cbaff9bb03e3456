//! Workers that a fleet loses without its doing: it says which, and why.

use muster::worker_fleet::WorkerFleet;
use serde_json::json;

use crate::{
    fleet::{calls_at_rest, ids, live, settled, spec, status, wait_settled},
    guards::events,
    scene::{Scene, condition},
};

#[tokio::test]
async fn who_ends_by_itself_is_replaced_and_told_once_with_the_reason() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 3, json!({}))).await;
    wait_settled(&scene, "web", 3).await;
    let lost = live(&scene).remove(0).id;
    scene.sandbox.fail_instance(&lost).unwrap();
    let told = |fleet: &WorkerFleet| {
        let (truth, _, message) = condition(&status(fleet).common.conditions, "Healthy").unwrap_or_default();
        settled(fleet, 3) && truth == "True" && message.contains(&format!("{lost} (Server.InternalError"))
    };
    scene.wait::<WorkerFleet>("web", "the reason, and another", told).await;
    assert!(!ids(&live(&scene)).contains(&lost));

    // What the fleet ends itself is no loss.
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 1}})).await;
    wait_settled(&scene, "web", 1).await;
    calls_at_rest(&scene).await;
    let events = events(&scene, "WorkersLost").await;
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(events[0].contains(&lost) && events[0].contains("Internal error on launch"), "{events:?}");
}
