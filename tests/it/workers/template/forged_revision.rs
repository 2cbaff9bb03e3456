//! Somebody who may write ControllerRevisions makes one with another launch request.

use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use muster::crd::worker_fleet::WorkerFleet;
use muster_sandbox::Fault;
use serde_json::json;

use crate::support::{
    fleet::{error, launches, live, spec, status, wait_settled},
    scene::{Scene, condition},
};

#[tokio::test]
async fn no_worker_is_launched_from_a_revision_that_muster_did_not_make() {
    let scene = Scene::new().await;
    let fault = scene.sandbox.add_fault(Fault::always("ec2", "RunInstances", error("UnauthorizedOperation")));
    let controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 2, json!({}))).await;
    let refused = |fleet: &WorkerFleet| {
        condition(&status(fleet).common.conditions, "Ready").is_some_and(|(_, reason, _)| reason == "AwsDenied")
            && status(fleet).update_revision.is_some()
    };
    let fleet = scene.wait::<WorkerFleet>("web", "a refused launch", refused).await;
    let name = status(&fleet).update_revision.unwrap();
    controller.kill().await;
    scene.sandbox.remove_fault(fault);
    let recorded = status(&fleet).workers.revisions;
    assert_eq!(recorded.iter().map(|of| &of.name).collect::<Vec<_>>(), [&name]);
    let (revisions, fleets) = (scene.api::<ControllerRevision>(), scene.api::<WorkerFleet>());
    let genuine = revisions.get(&name).await.unwrap();

    // With the digest on record, and as if the name had been computed beforehand.
    for is_recorded in [true, false] {
        let mut forged = genuine.clone();
        forged.metadata.resource_version = None;
        forged.metadata.uid = None;
        forged.data.0["request"]["instanceProfile"] = json!("admin");
        revisions.delete(&name, &DeleteParams::default()).await.unwrap();
        revisions.create(&PostParams::default(), &forged).await.unwrap();
        if !is_recorded {
            let forgotten = Patch::Merge(json!({"status": {"revisions": []}}));
            fleets.patch_status("web", &PatchParams::default(), &forgotten).await.unwrap();
        }
        let before = launches(&scene);
        let controller = scene.start().await;
        let told = |fleet: &WorkerFleet| {
            let stalled = condition(&status(fleet).common.conditions, "Stalled");
            stalled.is_some_and(|(_, reason, message)| reason == "RevisionConflict" && message.contains(&name))
        };
        scene.wait::<WorkerFleet>("web", "the conflict", told).await;
        controller.kill().await;
        assert_eq!((launches(&scene) - before, live(&scene).len()), (0, 0), "{is_recorded}");
        let reset = Patch::Merge(json!({"status": {"conditions": [], "revisions": recorded}}));
        fleets.patch_status("web", &PatchParams::default(), &reset).await.unwrap();
    }

    revisions.delete(&name, &DeleteParams::default()).await.unwrap();
    let _controller = scene.start().await;
    wait_settled(&scene, "web", 2).await;
    assert!(live(&scene).iter().all(|worker| worker.instance_profile.is_none()));
    assert_eq!(revisions.get(&name).await.unwrap().data, genuine.data);
}
