//! Faults while workers or whole fleets are terminated, one case each.

use std::{collections::BTreeSet, time::Duration};

use kube::api::{DeleteParams, Patch, PatchParams};
use muster::crd::worker_fleet::WorkerFleet;
use muster_sandbox::{CallQuery, Fault, FaultAction, Lifecycle, SandboxConfig};
use serde_json::json;

use crate::support::{
    fleet::{LAG, error, ever, ids, live, one_call, ready, settled, spec, status, victims, wait_settled},
    scene::{Scene, condition},
};

#[tokio::test]
async fn one_instance_that_cannot_be_terminated_does_not_block_the_others() {
    for (code, rule) in
        [("InvalidInstanceID.NotFound", "bad id"), ("UnauthorizedOperation", "vanished under tag-scoped IAM")]
    {
        let scene = Scene::new().await;
        let _controller = scene.start().await;
        scene.create::<WorkerFleet>("web", spec(&scene, 4, json!({}))).await;
        wait_settled(&scene, "web", 4).await;
        let gone = live(&scene).remove(0);
        // Every call that contains this ID fails.
        for place in 1..=4 {
            let named = Fault::always("ec2", "TerminateInstances", error(code));
            scene.sandbox.add_fault(named.parameter(&format!("InstanceId.{place}"), &gone.id));
        }
        scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 0}})).await;
        scene
            .wait::<WorkerFleet>("web", "the others' end", |fleet| {
                status(fleet).workers.terminations.iter().map(|t| t.instance_ids.len()).sum::<usize>() == 1
                    && status(fleet).replicas == 0
            })
            .await;
        assert_eq!(ids(&live(&scene)), BTreeSet::from([gone.id.clone()]), "{rule}");
        scene.sandbox.terminate_instance(&gone.id).unwrap();
        wait_settled(&scene, "web", 0).await;
    }
}

#[tokio::test]
async fn a_denied_termination_is_shown_with_its_code() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 1, json!({}))).await;
    wait_settled(&scene, "web", 1).await;
    let denied = scene.sandbox.add_fault(Fault::always("ec2", "TerminateInstances", error("UnauthorizedOperation")));
    scene.api::<WorkerFleet>().delete("web", &DeleteParams::default()).await.unwrap();
    scene
        .wait::<WorkerFleet>("web", "the refusal", |fleet| {
            ready(fleet).is_some_and(|(_, _, message)| message.contains("UnauthorizedOperation"))
        })
        .await;
    assert_eq!(live(&scene).len(), 1);
    let blocked = status(&scene.api::<WorkerFleet>().get("web").await.unwrap());
    assert_eq!((blocked.replicas, blocked.ready_replicas, blocked.available_replicas), (1, 0, 0));
    for type_ in ["Available", "Healthy"] {
        let (truth, reason, _) = condition(&blocked.common.conditions, type_).unwrap();
        assert_eq!((truth.as_str(), reason.as_str()), ("Unknown", "Deleting"), "{type_}");
    }
    scene.sandbox.remove_fault(denied);
    scene.wait_gone::<WorkerFleet>("web").await;
    assert_eq!(live(&scene).len(), 0);
}

#[tokio::test]
async fn a_new_controller_terminates_the_victims_and_no_other_instance() {
    let scene = Scene::new().await;
    let controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 4, json!({}))).await;
    wait_settled(&scene, "web", 4).await;
    let hold = scene.sandbox.add_fault(Fault::once("ec2", "TerminateInstances", FaultAction::DropBefore));
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 2}})).await;
    scene.sandbox.wait_for_hits(hold, 1).await;
    controller.kill().await;
    let chosen = victims(&scene, "web").await;
    assert_eq!(chosen.len(), 2);
    scene.change::<WorkerFleet>("web", json!({"spec": {"scaleDownPolicy": "Newest"}})).await;
    let _successor = scene.start().await;
    wait_settled(&scene, "web", 2).await;
    assert!(ids(&live(&scene)).is_disjoint(&chosen));
    assert_eq!(ever(&scene), 4);
}

#[tokio::test]
async fn deletion_waits_for_a_launch_with_an_unknown_outcome() {
    let scene = Scene::new().await;
    let controller = scene.start().await;
    let hold = scene.sandbox.add_fault(Fault::once("ec2", "RunInstances", FaultAction::DropAfter));
    scene.create::<WorkerFleet>("web", one_call(&scene, 3)).await;
    scene.sandbox.wait_for_hits(hold, 1).await;
    controller.kill().await;
    scene.sandbox.set_describe_lag(LAG);
    scene.api::<WorkerFleet>().delete("web", &DeleteParams::default()).await.unwrap();
    let _successor = scene.start().await;
    scene.wait_gone::<WorkerFleet>("web").await;
    assert_eq!(live(&scene).len(), 0);
    assert!(ever(&scene) <= 3);
}

#[tokio::test]
async fn a_worker_that_terminates_slowly_is_replaced_meanwhile() {
    let lifecycle = Lifecycle { shutting_down: Duration::from_secs(3600), ..Lifecycle::default() };
    let scene = Scene::with(SandboxConfig { lifecycle, throttling: false, ..SandboxConfig::default() }).await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 2, json!({}))).await;
    wait_settled(&scene, "web", 2).await;
    let ended = live(&scene)[0].id.clone();
    scene.sandbox.terminate_instance(&ended).unwrap();
    scene
        .wait::<WorkerFleet>("web", "a replacement", |fleet| {
            settled(fleet, 2) && status(fleet).instances.iter().all(|worker| worker.id.as_str() != ended)
        })
        .await;
    assert_eq!((live(&scene).len(), ever(&scene)), (2, 3));
}

#[tokio::test]
async fn a_deletion_that_ec2_denies_shows_the_error_and_the_annotation() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 1, json!({}))).await;
    wait_settled(&scene, "web", 1).await;
    scene.sandbox.add_fault(Fault::always("ec2", "TerminateInstances", error("UnauthorizedOperation")));
    scene.api::<WorkerFleet>().delete("web", &DeleteParams::default()).await.unwrap();
    let kept = scene
        .wait::<WorkerFleet>("web", "blocked", |fleet| {
            ready(fleet).is_some_and(|(_, reason, _)| reason == "DeletionBlocked")
        })
        .await;
    let (_, _, message) = ready(&kept).unwrap();
    assert!(message.contains("UnauthorizedOperation") && message.contains("muster.dev/orphan=true"), "{message}");
    let orphan = json!({"metadata": {"annotations": {"muster.dev/orphan": "true"}}});
    scene.change::<WorkerFleet>("web", orphan).await;
    scene.wait_gone::<WorkerFleet>("web").await;
    assert_eq!(live(&scene).len(), 1);
}

#[tokio::test]
async fn an_unreadable_object_is_released_by_its_annotation() {
    let scene = Scene::new().await;
    let controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 1, json!({}))).await;
    wait_settled(&scene, "web", 1).await;
    controller.kill().await;
    let garbled = json!({"status": {"launches": [{
        "token": "", "holder": "x", "attempts": 1, "revision": "x", "subnet": "x", "instanceType": "x", "imageID": "x",
        "count": 1, "startedAt": "2026-01-01T00:00:00Z",
    }]}});
    let params = PatchParams::default();
    let raw = kube::core::ApiResource::erase::<WorkerFleet>(&());
    let raw = kube::Api::<kube::core::DynamicObject>::namespaced_with(scene.kube.clone(), &scene.namespace, &raw);
    raw.patch_status("web", &params, &Patch::Merge(garbled)).await.unwrap();
    raw.delete("web", &DeleteParams::default()).await.unwrap();
    let _controller = scene.start().await;
    let told = |object: &kube::core::DynamicObject| {
        let conditions = object.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|c| c["message"].as_str().is_some_and(|m| m.contains("muster.dev/orphan=true")))
    };
    let patience = tokio::time::timeout(crate::support::scene::PATIENCE, async {
        while !told(&raw.get("web").await.unwrap()) {
            tokio::task::yield_now().await;
        }
    });
    patience.await.expect("the way out is named");
    let orphan = json!({"metadata": {"annotations": {"muster.dev/orphan": "true"}}});
    raw.patch("web", &params, &Patch::Merge(orphan)).await.unwrap();
    tokio::time::timeout(crate::support::scene::PATIENCE, async {
        while raw.get_opt("web").await.unwrap().is_some() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("it is gone");
    assert_eq!(live(&scene).len(), 1);
}

#[tokio::test]
async fn a_removed_permission_to_terminate_causes_no_storm_of_calls() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 300, json!({}))).await;
    wait_settled(&scene, "web", 300).await;
    let denied = scene.sandbox.add_fault(Fault::always("ec2", "TerminateInstances", error("UnauthorizedOperation")));
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 0}})).await;
    scene
        .wait::<WorkerFleet>("web", "refused", |fleet| {
            ready(fleet).is_some_and(|(_, reason, _)| reason == "TerminationRefused")
        })
        .await;
    let calls = scene.sandbox.calls(&CallQuery::operation("ec2", "TerminateInstances")).len();
    // The burst of 100 and what is refilled meanwhile. One call for each of 300 instances would take 599 calls.
    assert!(calls < 150, "{calls} calls");
    scene.sandbox.remove_fault(denied);
    wait_settled(&scene, "web", 0).await;
    assert_eq!(live(&scene).len(), 0);
}
