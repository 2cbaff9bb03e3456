//! Instances whose owner is gone are reported in the status of their AwsAccount, and not touched.

use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use muster::crd::{aws_account::AwsAccount, worker_fleet::WorkerFleet};
use muster_sandbox::AMAZON_LINUX_X86_64;
use serde_json::json;

use super::{is, message, wait};
use crate::support::{
    fleet::{live, spec, wait_settled},
    scene::{REGION, Scene},
};

#[tokio::test]
async fn instances_without_an_owner_are_reported_and_not_changed() {
    let scene = Scene::new().await;
    let controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 1, json!({}))).await;
    scene.create::<WorkerFleet>("other", spec(&scene, 1, json!({}))).await;
    for fleet in ["web", "other"] {
        wait_settled(&scene, fleet, 1).await;
    }
    let path = format!("{}/web", scene.namespace);
    let left = live(&scene).into_iter().find(|worker| worker.tags["muster.dev:fleet"] == path).unwrap();
    // Its tags on an instance of somebody else do not make muster advise to terminate that.
    let subnet = scene.sandbox.subnets(&scene.account, REGION).remove(0).id;
    let request = [
        ("ImageId", AMAZON_LINUX_X86_64),
        ("InstanceType", "m6i.large"),
        ("MinCount", "1"),
        ("MaxCount", "1"),
        ("SubnetId", &subnet),
    ];
    let anothers = scene.sandbox.launch(&scene.account, REGION, &request).unwrap().remove(0);
    scene.sandbox.tag_instance(&anothers, &left.tags).unwrap();
    let left = left.id;
    scene.change::<WorkerFleet>("web", json!({"metadata": {"annotations": {"muster.dev/orphan": "true"}}})).await;
    scene.api::<WorkerFleet>().delete("web", &DeleteParams::default()).await.unwrap();
    scene.wait_gone::<WorkerFleet>("web").await;
    // Nor does the status of another object hide it.
    let forged = json!({"status": {"adopted": [{"id": left, "role": "main"}]}});
    let fleets = scene.api::<WorkerFleet>();
    fleets.patch_status("other", &PatchParams::default(), &Patch::Merge(forged)).await.unwrap();
    let accounts = Api::<AwsAccount>::all(scene.kube.clone());
    let reconcile = async |at: &str| {
        let annotations = json!({"metadata": {"annotations": {"muster.dev/requested-at": at}}});
        accounts.patch(&scene.namespace, &PatchParams::default(), &Patch::Merge(annotations)).await.unwrap();
    };
    reconcile("now").await;
    let told = wait(&scene, "the instance", |a| is(a, "OrphansFound", "True", "OrphansFound")).await;
    let told = message(&told, "OrphansFound");
    assert!(!told.contains(&anothers), "{told}");
    assert!(
        told.contains(&format!("{left} in {REGION} (of \"{path}\" with uid ")) && !told.contains("/other"),
        "{told}"
    );
    assert_eq!(live(&scene).len(), 3);

    // No object uses the region any more, and the condition is updated all the same.
    scene.api::<WorkerFleet>().delete("other", &DeleteParams::default()).await.unwrap();
    scene.wait_gone::<WorkerFleet>("other").await;
    controller.kill().await;
    scene.sandbox.terminate_instance(&left).unwrap();
    let _controller = scene.start().await;
    wait(&scene, "no instance", |a| is(a, "OrphansFound", "False", "NoOrphans")).await;
}

#[tokio::test]
async fn instances_of_a_removed_object_are_found_after_a_start_and_can_be_adopted() {
    let scene = Scene::new().await;
    let controller = scene.start().await;
    let uid = scene.create::<WorkerFleet>("web", spec(&scene, 1, json!({}))).await.uid().unwrap();
    wait_settled(&scene, "web", 1).await;
    let left = live(&scene).remove(0).id;
    controller.kill().await;
    scene.change::<WorkerFleet>("web", json!({"metadata": {"finalizers": null}})).await;
    scene.api::<WorkerFleet>().delete("web", &DeleteParams::default()).await.unwrap();
    scene.wait_gone::<WorkerFleet>("web").await;

    let _controller = scene.start().await;
    let told = wait(&scene, "the instance", |a| is(a, "OrphansFound", "True", "OrphansFound")).await;
    let told = message(&told, "OrphansFound");
    let path = format!("{}/web", scene.namespace);
    assert!(told.contains(&format!("{left} in {REGION} (of \"{path}\" with uid {uid})")), "{told}");
    assert!(told.contains("muster.dev/adopt=<uid>"), "{told}");
    scene.create::<WorkerFleet>("web", spec(&scene, 1, json!({}))).await;
    scene.change::<WorkerFleet>("web", json!({"metadata": {"annotations": {"muster.dev/adopt": uid}}})).await;
    wait_settled(&scene, "web", 1).await;
    assert_eq!(live(&scene).into_iter().map(|worker| worker.id).collect::<Vec<_>>(), [left]);
    wait(&scene, "no instance", |a| is(a, "OrphansFound", "False", "NoOrphans")).await;
}
