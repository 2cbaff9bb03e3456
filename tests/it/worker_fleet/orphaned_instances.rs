//! Instances that carry a fleet's tags but do not belong to it: those of an earlier fleet of the name, and foreign ones.

use std::collections::{BTreeMap, BTreeSet};

use kube::{ResourceExt, api::DeleteParams};
use muster::crd::worker_fleet::WorkerFleet;
use muster_sandbox::CallQuery;
use serde_json::json;

use crate::support::{
    fleet::{ids, launches, live, ready, spec, status, wait_settled, with},
    scene::{Controller, Scene, condition},
};

/// A scene with two instances of a deleted fleet `web`, and the UID of that fleet.
async fn with_orphans() -> (Scene, String) {
    let scene = Scene::new().await;
    let controller = scene.start().await;
    let desired = with(spec(&scene, 2, json!({})), json!({"deletionPolicy": "Retain"}));
    let uid = scene.create::<WorkerFleet>("web", desired).await.uid().unwrap();
    wait_settled(&scene, "web", 2).await;
    scene.api::<WorkerFleet>().delete("web", &DeleteParams::default()).await.unwrap();
    scene.wait_gone::<WorkerFleet>("web").await;
    controller.kill().await;
    (scene, uid)
}

/// Waits until launches are blocked by orphaned instances, and returns the message of the condition.
async fn held(scene: &Scene) -> String {
    let fleet = scene
        .wait::<WorkerFleet>("web", "held back", |fleet| {
            ready(fleet).is_some_and(|(truth, reason, _)| truth == "False" && reason == "OrphansFound")
        })
        .await;
    let conditions = status(&fleet).common.conditions;
    assert!(condition(&conditions, "Stalled").is_some());
    condition(&conditions, "OrphansFound").unwrap().2
}

#[tokio::test]
async fn instances_of_an_earlier_fleet_block_launches_and_are_named() {
    let (scene, uid) = with_orphans().await;
    let earlier = live(&scene);
    let before = launches(&scene);
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 3, json!({}))).await;
    let message = held(&scene).await;
    for text in
        [&earlier[0].id, &earlier[1].id, &format!("muster.dev/adopt={uid}"), &format!("muster.dev/ignore={uid}")]
    {
        assert!(message.contains(text), "{text} is not in: {message}");
    }
    assert_eq!(launches(&scene), before, "nothing is launched beside them");
    for instance in &earlier {
        scene.sandbox.terminate_instance(&instance.id).unwrap();
    }
    wait_settled(&scene, "web", 3).await;
}

#[tokio::test]
async fn adopted_instances_are_normal_workers() {
    let (scene, uid) = with_orphans().await;
    let earlier = ids(&live(&scene));
    let controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 3, json!({}))).await;
    held(&scene).await;
    scene.change::<WorkerFleet>("web", json!({"metadata": {"annotations": {"muster.dev/adopt": uid}}})).await;
    let fleet = wait_settled(&scene, "web", 3).await;
    let adopted: BTreeSet<_> = status(&fleet).adopted.iter().map(|adopted| adopted.id.to_string()).collect();
    assert_eq!(adopted, earlier);
    let three = ids(&live(&scene));
    assert!(three.len() == 3 && three.is_superset(&earlier));

    // They stay adopted without the annotation and for the next leader.
    controller.kill().await;
    let _successor = scene.start().await;
    scene.change::<WorkerFleet>("web", json!({"metadata": {"annotations": {"muster.dev/adopt": null}}})).await;
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 0}})).await;
    let fleet = wait_settled(&scene, "web", 0).await;
    assert_eq!(status(&fleet).adopted, []);
    assert_eq!(live(&scene).len(), 0, "adopted instances are terminated like any other");
}

#[tokio::test]
async fn ignored_orphans_are_not_changed_and_workers_are_launched() {
    let (scene, uid) = with_orphans().await;
    let earlier = ids(&live(&scene));
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 3, json!({}))).await;
    held(&scene).await;
    scene.change::<WorkerFleet>("web", json!({"metadata": {"annotations": {"muster.dev/ignore": uid}}})).await;
    wait_settled(&scene, "web", 3).await;
    assert_eq!(live(&scene).len(), 5);
    scene.api::<WorkerFleet>().delete("web", &DeleteParams::default()).await.unwrap();
    scene.wait_gone::<WorkerFleet>("web").await;
    assert_eq!(ids(&live(&scene)), earlier);
}

#[tokio::test]
async fn a_foreign_instance_with_the_fleets_tags_is_reported_and_never_counted_or_changed() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("db", spec(&scene, 1, json!({}))).await;
    wait_settled(&scene, "db", 1).await;
    let stranger = live(&scene).remove(0);
    let fleet = scene.create::<WorkerFleet>("web", spec(&scene, 2, json!({}))).await;
    wait_settled(&scene, "web", 2).await;
    // It no longer counts for `db`, which launches a replacement.
    let pasted = BTreeMap::from([
        ("muster.dev:fleet".to_owned(), format!("{}/web", scene.namespace)),
        ("muster.dev:owner-uid".to_owned(), fleet.uid().unwrap()),
    ]);
    scene.sandbox.tag_instance(&stranger.id, &pasted).unwrap();
    let reported = scene
        .wait::<WorkerFleet>("web", "the stranger", |fleet| {
            let found = condition(&status(fleet).common.conditions, "OrphansFound");
            found.is_some_and(|(truth, reason, message)| {
                truth == "True" && reason == "ForeignInstancesFound" && message.contains(&stranger.id)
            })
        })
        .await;
    assert_eq!(status(&reported).replicas, 2);
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 0}})).await;
    scene
        .wait::<WorkerFleet>("web", "no workers", |fleet| {
            status(fleet).replicas == 0 && status(fleet).workers.terminations.is_empty()
        })
        .await;
    scene.api::<WorkerFleet>().delete("web", &DeleteParams::default()).await.unwrap();
    scene.wait_gone::<WorkerFleet>("web").await;
    assert!(ids(&live(&scene)).contains(&stranger.id));
    let asked = scene.sandbox.calls(&CallQuery::operation("ec2", "TerminateInstances"));
    assert!(asked.iter().all(|call| call.parameters.values().all(|value| *value != stranger.id)));
}

#[tokio::test]
async fn after_a_change_of_the_cluster_name_no_instance_is_launched_again() {
    let scene = Scene::new().await;
    let controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 2, json!({}))).await;
    wait_settled(&scene, "web", 2).await;
    controller.kill().await;
    let calls = launches(&scene);
    let config = muster::config::Config { cluster_name: "renamed".into(), ..scene.config() };
    let _renamed = Controller::start(config, scene.connection(), |client| client).await;
    let fleet = scene
        .wait::<WorkerFleet>("web", "Stalled", |fleet| {
            ready(fleet).is_some_and(|(truth, reason, _)| truth == "False" && reason == "ClusterNameChanged")
        })
        .await;
    assert!(ready(&fleet).unwrap().2.contains("set the cluster name back"));
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 3}})).await;
    scene
        .wait::<WorkerFleet>("web", "the new generation", |fleet| {
            status(fleet).common.observed_generation == fleet.metadata.generation
        })
        .await;
    assert_eq!((live(&scene).len(), launches(&scene)), (2, calls));
}
