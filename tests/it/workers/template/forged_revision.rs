//! Somebody who may write ControllerRevisions makes one with another launch request.

use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::{
    ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use muster::{
    crd::{launches::LaunchIntent, worker_fleet::WorkerFleet},
    ids::{ClientToken, Uid},
    tags::{OWNER_UID_TAG, REVISION_TAG},
    workers::launch_spec::revision::digest,
};
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

/// Such instances would count as workers of the other object, which would then terminate its own as surplus.
#[tokio::test]
async fn a_forged_intent_launches_nothing_in_the_name_of_another_object() {
    let scene = Scene::new().await;
    let controller = scene.start().await;
    scene.create::<WorkerFleet>("good", spec(&scene, 1, json!({}))).await;
    scene.create::<WorkerFleet>("evil", spec(&scene, 0, json!({}))).await;
    let good = wait_settled(&scene, "good", 1).await;
    wait_settled(&scene, "evil", 0).await;
    controller.kill().await;
    let (revisions, fleets) = (scene.api::<ControllerRevision>(), scene.api::<WorkerFleet>());
    let evil = fleets.get("evil").await.unwrap();
    let (current, forged) = (status(&good).current_revision.unwrap(), "evil-forged");
    let mut revision = revisions.get(&current).await.unwrap();
    revision.metadata = serde_json::from_value(json!({
        "name": forged,
        "labels": {"muster.dev/owner-uid": evil.uid()},
        "ownerReferences": [{
            "apiVersion": "muster.dev/v1alpha1", "kind": "WorkerFleet", "name": "evil", "uid": evil.uid(),
        }],
    }))
    .unwrap();
    let tags = &mut revision.data.0["request"]["tags"];
    tags[OWNER_UID_TAG] = json!(evil.uid());
    tags[REVISION_TAG] = json!(forged);
    revisions.create(&PostParams::default(), &revision).await.unwrap();
    let worker = live(&scene).remove(0);
    let token = ClientToken::new(&Uid::try_from(good.uid().unwrap()).unwrap(), 7);
    let intent: LaunchIntent = serde_json::from_value(json!({
        "token": token, "holder": "somebody", "attempts": 1, "role": "main", "revision": forged, "count": 1,
        "subnet": worker.subnet_id, "instanceType": worker.instance_type, "imageID": worker.image_id,
        "startedAt": muster::clock::Clock.now().to_string(),
    }))
    .unwrap();
    let recorded = json!({"status": {
        "revisions": [{"name": forged, "digest": digest(&revision.data.0)}],
        "launches": [intent.sealed(&format!("muster.dev:fleet={}/evil", scene.namespace))],
    }});
    fleets.patch_status("evil", &PatchParams::default(), &Patch::Merge(recorded)).await.unwrap();
    let before = launches(&scene);
    let _controller = scene.start().await;
    let settled = |fleet: &WorkerFleet| status(fleet).workers.launches.is_empty();
    scene.wait::<WorkerFleet>("evil", "the intent settled by a search", settled).await;
    assert_eq!((launches(&scene) - before, live(&scene).len()), (0, 1));
}

/// Each could fill the memory of the controller.
#[tokio::test]
async fn many_large_revisions_of_others_neither_stay_in_memory_nor_hold_up_the_fleet() {
    let scene = Scene::new().await;
    let controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 1, json!({}))).await;
    let fleet = wait_settled(&scene, "web", 1).await;
    controller.kill().await;
    let revisions = scene.api::<ControllerRevision>();
    let genuine = revisions.get(&status(&fleet).current_revision.unwrap()).await.unwrap();
    for n in 0..20 {
        let mut large = genuine.clone();
        large.metadata.name = Some(format!("a-large-{n}"));
        large.metadata.resource_version = None;
        large.metadata.uid = None;
        large.data.0["request"]["userData"] = json!("x".repeat(900_000));
        revisions.create(&PostParams::default(), &large).await.unwrap();
    }
    let _controller = scene.start().await;
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 2}})).await;
    let fleet = wait_settled(&scene, "web", 2).await;
    assert_eq!(status(&fleet).current_revision, Some(genuine.name_any()));
}
