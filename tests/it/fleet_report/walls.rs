//! A FleetReport shows only what it collected itself and may still read.

use kube::{
    Api,
    api::{Patch, PatchParams},
};
use muster::{
    config::{Config, Namespaces},
    crd::{aws_account::AwsAccount, fleet_report::FleetReport},
};
use muster_sandbox::SandboxConfig;
use muster_world::KubeApi;
use serde_json::{Value, json};

use super::{bucket, calls, collect_now, collected, condition_of, counts, id, message, put, spec, status, wait, with};
use crate::support::scene::{self, Controller, REGION, Scene};

async fn change_account(scene: &Scene, change: Value) {
    let accounts = Api::<AwsAccount>::all(scene.kube.clone());
    accounts.patch(&scene.namespace, &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
}

fn grant(namespace: &str, bucket: &str) -> Value {
    let buckets = json!([{"name": bucket, "uses": ["Reports"]}]);
    json!({"namespaces": {"names": [namespace]}, "kinds": ["FleetReport"], "buckets": buckets})
}

/// A scene with the buckets `ours` and `theirs`, each granted to one namespace, and the other namespace.
async fn two_tenants() -> (Scene, String, Controller) {
    let scene = Scene::without_account(SandboxConfig { throttling: false, ..SandboxConfig::default() }).await;
    let other = KubeApi::shared().await.namespace().await.unwrap();
    put(&scene, &bucket(&scene, "ours"), 1, "1.0.0");
    put(&scene, &bucket(&scene, "theirs"), 2, "2.0.0-secret");
    let grants = json!([grant(&scene.namespace, "ours"), grant(&other, "theirs")]);
    scene.create_account(json!({"regions": [REGION], "grants": grants})).await;
    let namespaces = Namespaces::Only(vec![scene.namespace.clone(), other.clone()]);
    let config = Config { namespaces, ..scene.config() };
    let controller = Controller::start(config, scene.connection(), |client| client).await;
    let report = json!({
        "apiVersion": "muster.dev/v1alpha1", "kind": "FleetReport", "metadata": {"name": "theirs"},
        "spec": spec(&scene, &["theirs"]),
    });
    let api = Api::<FleetReport>::namespaced(scene.kube.clone(), &other);
    api.create(&Default::default(), &serde_json::from_value(report).unwrap()).await.unwrap();
    scene::wait(api, "theirs", "collected", |r| condition_of(r, "Collected") == "True/AllSourcesCollected").await;
    (scene, other, controller)
}

/// `ours`, with `bucket` as its only source.
fn pointed_at(scene: &Scene, bucket: &str) -> Value {
    json!({"spec": {"sources": [{"name": "ours", "bucket": bucket, "aws": scene.aws()}]}})
}

#[tokio::test]
async fn a_source_changed_while_its_account_is_suspended_shows_no_reports_of_another_tenant() {
    let (scene, _, _controller) = two_tenants().await;
    scene.create::<FleetReport>("ours", with(spec(&scene, &["ours"]), json!({"interval": "1s"}))).await;
    assert_eq!(counts(&collected(&scene, "ours").await), [1, 0, 0, 0, 0, 0]);
    change_account(&scene, json!({"spec": {"suspend": true}})).await;
    wait(&scene, "ours", "doubtful", |r| condition_of(r, "Collected") == "False/NoSourceCollected").await;
    let before = calls(&scene, "ListObjectsV2") + calls(&scene, "GetObject");
    scene.change::<FleetReport>("ours", pointed_at(&scene, "theirs")).await;
    // The checks come first.
    let found = wait(&scene, "ours", "refused", |r| message(r, "Ready").contains("does not grant")).await;
    let shown = serde_json::to_string(&found.status).unwrap();
    assert!(!shown.contains("secret") && !shown.contains(&id(2)), "{shown}");
    assert_eq!(calls(&scene, "ListObjectsV2") + calls(&scene, "GetObject"), before);
}

#[tokio::test]
async fn a_granted_bucket_that_was_not_collected_yet_shows_nothing_while_the_account_is_suspended() {
    let (scene, other, _controller) = two_tenants().await;
    scene.create::<FleetReport>("ours", with(spec(&scene, &["ours"]), json!({"interval": "1s"}))).await;
    collected(&scene, "ours").await;
    let grants = [grant(&scene.namespace, "*"), grant(&other, "theirs")];
    change_account(&scene, json!({"spec": {"suspend": true, "grants": grants}})).await;
    wait(&scene, "ours", "doubtful", |r| condition_of(r, "Collected") == "False/NoSourceCollected").await;
    scene.change::<FleetReport>("ours", pointed_at(&scene, "theirs")).await;
    let found = collect_now(&scene, "ours", "suspended").await;
    let shown = serde_json::to_string(&found.status).unwrap();
    assert!(!shown.contains("secret") && !shown.contains(&id(2)), "{shown}");
    // What it collects itself is shown.
    change_account(&scene, json!({"spec": {"suspend": false}})).await;
    let found = collected(&scene, "ours").await;
    assert_eq!(status(&found).versions[0].value, "2.0.0-secret");
}

#[tokio::test]
async fn reports_of_a_source_disappear_with_its_grant() {
    let (scene, other, _controller) = two_tenants().await;
    scene.create::<FleetReport>("ours", with(spec(&scene, &["ours"]), json!({"interval": "1s"}))).await;
    assert_eq!(counts(&collected(&scene, "ours").await), [1, 0, 0, 0, 0, 0]);
    let grants = [grant(&scene.namespace, "another"), grant(&other, "theirs")];
    change_account(&scene, json!({"spec": {"grants": grants}})).await;
    let refused = wait(&scene, "ours", "forgotten", |r| status(r).reports.is_none()).await;
    assert!(status(&refused).versions.is_empty() && status(&refused).sources[0].objects == 0, "{refused:#?}");
    wait(&scene, "ours", "refused", |r| condition_of(r, "Stalled") == "True/NotGranted").await;
}
