//! Workers that end without an action of muster are replaced, and an event or condition says which and why.

use std::collections::BTreeMap;

use kube::api::DeleteParams;
use muster::crd::worker_fleet::WorkerFleet;
use serde_json::json;

use crate::support::{
    fleet::{calls_at_rest, events, ids, live, settled, spec, status, wait_settled},
    scene::{Scene, condition},
};

#[tokio::test]
async fn a_lost_worker_is_replaced_and_reported_once_with_the_reason() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 3, json!({}))).await;
    wait_settled(&scene, "web", 3).await;
    let lost = live(&scene).remove(0).id;
    scene.sandbox.fail_instance(&lost).unwrap();
    let told = |fleet: &WorkerFleet| {
        let (truth, _, message) = condition(&status(fleet).common.conditions, "Healthy").unwrap_or_default();
        truth == "True" && message.contains(&format!("{lost} (Server.InternalError"))
    };
    scene.wait::<WorkerFleet>("web", "the reason", told).await;
    let replaced = |fleet: &WorkerFleet| settled(fleet, 3) && !told(fleet);
    scene.wait::<WorkerFleet>("web", "another, and no complaint", replaced).await;
    assert!(!ids(&live(&scene)).contains(&lost));

    // A worker that the fleet itself terminates is not reported.
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 1}})).await;
    wait_settled(&scene, "web", 1).await;
    calls_at_rest(&scene).await;
    let events = events(&scene, "WorkersLost").await;
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(events[0].contains(&lost) && events[0].contains("Internal error on launch"), "{events:?}");
}

#[tokio::test]
async fn an_untagged_worker_is_replaced_and_named_until_it_is_terminated() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 2, json!({}))).await;
    wait_settled(&scene, "web", 2).await;
    let bare = live(&scene).remove(0).id;
    let another = BTreeMap::from([("muster.dev:cluster".to_owned(), "another".to_owned())]);
    scene.sandbox.tag_instance(&bare, &another).unwrap();
    let orphans = |fleet: &WorkerFleet| condition(&status(fleet).common.conditions, "OrphansFound").unwrap_or_default();
    let told = |fleet: &WorkerFleet| {
        let (truth, reason, message) = orphans(fleet);
        settled(fleet, 2) && (truth.as_str(), reason.as_str()) == ("True", "TagsLost") && message.contains(&bare)
    };
    scene.wait::<WorkerFleet>("web", "the one without tags", told).await;
    calls_at_rest(&scene).await;
    let instances = ids(&live(&scene));
    assert!(instances.len() == 3 && instances.contains(&bare), "{bare} of {instances:?} runs on");
    let events = events(&scene, "TagsLost").await;
    assert!(events.len() == 1 && events[0].contains(&bare), "{events:?}");

    scene.sandbox.terminate_instance(&bare).unwrap();
    scene.wait::<WorkerFleet>("web", "none", |fleet| orphans(fleet).1 == "NoOrphans" && settled(fleet, 2)).await;
    scene.api::<WorkerFleet>().delete("web", &DeleteParams::default()).await.unwrap();
    scene.wait_gone::<WorkerFleet>("web").await;
    assert_eq!(live(&scene).len(), 0);
}
