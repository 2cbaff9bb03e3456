//! Parameters in S3: one document for each role and each content.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    ResourceExt,
    api::{DeleteParams, PostParams},
};
use muster::crd::worker_fleet::WorkerFleet;
use muster_sandbox::{CallQuery, Fault};
use serde_json::json;

use super::{
    BUCKET, change_secret, create_secret, documents, fleet_spec, in_s3, newest, parameters, password, read_on_worker,
    scene, synced, values_of,
};
use crate::support::fleet::{self, error, live, ready, settled, status, wait_settled, with};

#[tokio::test]
async fn workers_read_one_document_from_s3_that_is_updated_and_deleted_with_the_fleet() {
    let scene = scene().await;
    create_secret(&scene, "first", true).await;
    let map = json!({"metadata": {"name": "app"}, "data": {"model": "red-1.8.5"}});
    scene.api::<ConfigMap>().create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();
    let model = json!({"name": "model", "valueFrom": {"configMapKeyRef": {"name": "app", "key": "model"}}});
    let values = json!([password(), model, {"name": "threads", "value": "4"}]);
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", fleet_spec(&scene, 1, parameters(in_s3(), values))).await;
    let before = wait_settled(&scene, "web", 1).await;
    assert!(synced(&before, "True", "ParametersWritten"), "{:?}", before.status);
    let hash = status(&before).workers.parameters.parameters_hash.unwrap();
    let key = |hash: &str| format!("app/{}/main/{hash}.json", before.uid().unwrap());
    let document = |password: &str| json!({"dbPassword": password, "model": "red-1.8.5", "threads": "4"});
    let found = documents(&scene);
    assert_eq!(found.keys().collect::<Vec<_>>(), [&key(&hash)]);
    assert_eq!(values_of(&found[&key(&hash)]), document("first"));
    let first = newest(&scene);
    assert_eq!(read_on_worker(&scene, &first).await, (document("first"), 0o600, 0o700));

    // A change applies to new workers. The running one may reboot and read its own document.
    change_secret(&scene, "second").await;
    let after = scene
        .wait::<WorkerFleet>("web", "another hash", |fleet| {
            status(fleet).workers.parameters.parameters_hash.is_some_and(|now| now != hash) && settled(fleet, 1)
        })
        .await;
    let other = status(&after).workers.parameters.parameters_hash.unwrap();
    assert_eq!(newest(&scene), first);
    assert_eq!(documents(&scene).into_keys().collect::<BTreeSet<_>>(), BTreeSet::from([key(&hash), key(&other)]));
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 2}})).await;
    wait_settled(&scene, "web", 2).await;
    assert_eq!(read_on_worker(&scene, &newest(&scene)).await.0, document("second"));

    // The first document is removed with the last worker that could read it.
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 1}})).await;
    scene
        .wait::<WorkerFleet>("web", "one document", |fleet| {
            settled(fleet, 1) && status(fleet).workers.parameters.parameters.is_some_and(|p| p.written.len() == 1)
        })
        .await;
    assert_eq!(documents(&scene).into_keys().collect::<Vec<_>>(), [key(&other)]);
    scene.api::<WorkerFleet>().delete("web", &DeleteParams::default()).await.unwrap();
    scene.wait_gone::<WorkerFleet>("web").await;
    assert_eq!(documents(&scene), BTreeMap::new());
}

#[tokio::test]
async fn a_requested_reconcile_rewrites_a_removed_document() {
    let scene = scene().await;
    let _controller = scene.start().await;
    let values = json!([{"name": "threads", "value": "4"}]);
    scene.create::<WorkerFleet>("web", fleet_spec(&scene, 1, parameters(in_s3(), values))).await;
    wait_settled(&scene, "web", 1).await;
    let written = documents(&scene);
    scene.sandbox.s3().remove(BUCKET, written.keys().next().unwrap()).unwrap();
    scene.change::<WorkerFleet>("web", json!({"metadata": {"annotations": {"muster.dev/requested-at": "1"}}})).await;
    let handled = |fleet: &WorkerFleet| status(fleet).common.last_handled_requested_at.as_deref() == Some("1");
    scene.wait::<WorkerFleet>("web", "the reconcile", handled).await;
    assert_eq!(documents(&scene), written);
}

#[tokio::test]
async fn a_missing_bucket_is_reported_and_does_not_block_the_deletion() {
    let scene = scene().await;
    let _controller = scene.start().await;
    let store = json!({"s3": {"bucket": "no-such-bucket"}});
    let values = json!([{"name": "model", "value": "red"}]);
    scene.create::<WorkerFleet>("web", fleet_spec(&scene, 1, parameters(store, values))).await;
    let fleet = scene.wait::<WorkerFleet>("web", "told", |fleet| synced(fleet, "False", "AwsNotFound")).await;
    let (_, _, message) = ready(&fleet).unwrap();
    assert!(message.contains("NoSuchBucket") && message.contains("create what is missing"), "{message}");
    scene.api::<WorkerFleet>().delete("web", &DeleteParams::default()).await.unwrap();
    scene.wait_gone::<WorkerFleet>("web").await;
    assert_eq!(fleet::launches(&scene), 0);
}

#[tokio::test]
async fn a_role_reads_its_own_values_and_a_change_replaces_running_workers_with_replace() {
    let scene = scene().await;
    create_secret(&scene, "first", true).await;
    let _controller = scene.start().await;
    let values = json!([password(), {"name": "threads", "value": "4"}]);
    let leader = json!({"name": "leader", "replicas": 1, "parameters": [{"name": "threads", "value": "8"}]});
    let more = json!({"roles": [leader, {"name": "helper", "replicas": 1}], "parameters": {"onChange": "Replace"}});
    scene.create::<WorkerFleet>("web", with(fleet_spec(&scene, 1, parameters(in_s3(), values)), more)).await;
    let complete = |earlier: BTreeSet<String>| {
        let scene = &scene;
        move |fleet: &WorkerFleet| {
            let now = fleet::ids(&live(scene));
            let written = status(fleet).workers.parameters.parameters.map_or(0, |parameters| parameters.written.len());
            settled(fleet, 1) && now.len() == 3 && now.is_disjoint(&earlier) && written == 2
        }
    };
    let by_role = || {
        let role = |worker: &muster_sandbox::Instance| (worker.tags["muster.dev:role"].clone(), worker.id.clone());
        live(&scene).iter().map(role).collect::<BTreeMap<_, _>>()
    };
    scene.wait::<WorkerFleet>("web", "a worker of each role", complete(BTreeSet::new())).await;
    let first = by_role();
    for (password, earlier) in [("first", BTreeSet::new()), ("second", first.values().cloned().collect())] {
        if password == "second" {
            change_secret(&scene, password).await;
        }
        scene.wait::<WorkerFleet>("web", &format!("all read the {password}"), complete(earlier)).await;
        let workers = by_role();
        for (role, threads) in [("main", "4"), ("leader", "8"), ("helper", "4")] {
            let document = json!({"dbPassword": password, "threads": threads});
            assert_eq!(read_on_worker(&scene, &workers[role]).await.0, document, "{role}");
        }
    }
    let names: Vec<_> = documents(&scene).into_keys().map(|key| key.split('/').nth(2).unwrap().to_owned()).collect();
    assert_eq!(names, ["leader", "main"]);
}

#[tokio::test]
async fn the_document_of_an_interrupted_write_is_not_removed_as_obsolete() {
    let scene = scene().await;
    let _controller = scene.start().await;
    let values = |model| json!([{"name": "model", "value": model}, {"name": "threads", "value": "4"}]);
    let leader = json!({"name": "leader", "replicas": 1, "parameters": [{"name": "threads", "value": "8"}]});
    let desired = with(fleet_spec(&scene, 1, parameters(in_s3(), values("red"))), json!({"roles": [leader]}));
    scene.create::<WorkerFleet>("web", desired).await;
    let both = |fleet: &WorkerFleet| settled(fleet, 1) && live(&scene).len() == 2;
    scene.wait::<WorkerFleet>("web", "both", both).await;
    let first = documents(&scene);
    let denied = scene.sandbox.add_fault(Fault::always("s3", "PutObject", error("AccessDenied")).skip(1));
    scene.change::<WorkerFleet>("web", json!({"spec": {"parameters": {"values": values("blue")}}})).await;
    scene.wait::<WorkerFleet>("web", "the refusal", |fleet| synced(fleet, "False", "AwsDenied")).await;
    assert_eq!((first.len(), documents(&scene).len()), (2, 3));
    assert!(scene.sandbox.calls(&CallQuery::operation("s3", "DeleteObject")).is_empty());
    scene.sandbox.remove_fault(denied);
    scene.wait::<WorkerFleet>("web", "all", |fleet| synced(fleet, "True", "ParametersWritten")).await;
    assert_eq!(documents(&scene).len(), 4, "those of the workers that run, and those of the workers to come");
}
