//! Buckets are used only if they belong to the expected account, and only below the granted prefix for the granted use.

use kube::{Api, api::PostParams};
use muster::{
    config::{Config, Namespaces},
    crd::{fleet_report::FleetReport, worker_fleet::WorkerFleet, worker_job::WorkerJob},
};
use muster_sandbox::{Access, CallQuery};
use muster_world::KubeApi;
use serde_json::{Value, json};

use crate::support::{
    fleet::{self, status, wait_settled, with},
    job,
    scene::{self, Controller, REGION, Scene, condition},
};

const STRANGER: &str = "999999999999";

/// Whoever finds the name free can create the bucket, and open it to everybody.
fn made_by_a_stranger(scene: &Scene, bucket: &str) {
    let s3 = scene.sandbox.s3();
    s3.ensure_bucket(STRANGER, REGION, bucket).unwrap();
    s3.open_bucket(bucket, scene.account.as_str(), Access::ReadWrite).unwrap();
}

fn granted(scene: &Scene, bucket: &Value) -> Value {
    json!({"spec": {"grants": [with(scene.full_grant(), json!({"buckets": [bucket]}))]}})
}

fn report(scene: &Scene, bucket: &str, prefix: &str) -> Value {
    json!({
        "sources": [{"name": "all", "bucket": bucket, "prefix": prefix, "aws": scene.aws()}],
        "interval": "1s",
        "fields": [{"name": "all", "path": "$.*"}],
    })
}

fn told_of_the_owner(message: &str, scene: &Scene) {
    assert!(message.contains(&format!("must belong to account {}", scene.account)), "{message}");
    assert!(message.contains("as its accountID"), "{message}");
}

#[tokio::test]
async fn a_bucket_of_a_stranger_is_neither_written_nor_read_until_the_grant_names_its_owner() {
    let scene = Scene::new().await;
    made_by_a_stranger(&scene, "shared");
    scene.sandbox.s3().put("shared", "i-00000000000000001.json", "{\"app\": \"1\"}").unwrap();
    let _controller = scene.start().await;
    let store = json!({"parameters": {"store": {"s3": {"bucket": "shared"}}, "values": [{"name": "a", "value": "1"}]}});
    scene.create::<WorkerFleet>("web", with(fleet::spec(&scene, 1, json!({})), store)).await;
    scene.create::<FleetReport>("web", report(&scene, "shared", "")).await;
    scene
        .create::<WorkerJob>(
            "work",
            with(job::spec(&scene, 1, 1, json!({})), json!({"result": {"s3": {"bucket": "shared"}}})),
        )
        .await;

    let refused = |fleet: &WorkerFleet| {
        condition(&status(fleet).common.conditions, "ParametersSynced")
            .is_some_and(|(_, reason, _)| reason == "AwsDenied")
    };
    let fleet = scene.wait::<WorkerFleet>("web", "refused", refused).await;
    told_of_the_owner(&condition(&status(&fleet).common.conditions, "ParametersSynced").unwrap().2, &scene);
    let conditions = |report: &FleetReport| report.status.clone().unwrap_or_default().common.conditions;
    let refused = |report: &FleetReport| condition(&conditions(report), "Stalled").is_some();
    let report = scene.wait::<FleetReport>("web", "refused", refused).await;
    told_of_the_owner(&condition(&conditions(&report), "Stalled").unwrap().2, &scene);
    let unread = |job: &WorkerJob| {
        condition(&job::status(job).common.conditions, "Stalled").is_some_and(|(_, reason, _)| reason == "AwsDenied")
    };
    let job = scene.wait::<WorkerJob>("work", "refused", unread).await;
    told_of_the_owner(&condition(&job::status(&job).common.conditions, "Stalled").unwrap().2, &scene);
    assert_eq!(scene.sandbox.s3().keys("shared", "").unwrap().len(), 1);
    assert_eq!(fleet::launches(&scene), 0);

    let uses = ["Reports", "Results", "Parameters"];
    let trusted = json!({"name": "shared", "accountID": STRANGER, "uses": uses});
    scene.change_account(granted(&scene, &trusted)).await;
    wait_settled(&scene, "web", 1).await;
    let collected = |report: &FleetReport| {
        report.status.as_ref().is_some_and(|status| status.reports.as_ref().is_some_and(|counts| counts.fresh == 1))
    };
    scene.wait::<FleetReport>("web", "collected", collected).await;
}

#[tokio::test]
async fn a_report_of_another_namespace_reads_no_parameters_from_a_shared_bucket() {
    let scene = Scene::new().await;
    scene.sandbox.s3().ensure_bucket(scene.account.as_str(), REGION, "shared").unwrap();
    let other = KubeApi::shared().await.namespace().await.unwrap();
    let theirs = json!({"namespaces": {"names": [other]}, "kinds": ["*"], "buckets": [
        {"name": "shared", "prefix": "reports/", "uses": ["Reports"]},
        {"name": "shared", "prefix": "ours/", "uses": ["Results", "Parameters"]},
    ]});
    scene.change_account(json!({"spec": {"grants": [scene.full_grant(), theirs]}})).await;
    let namespaces = Namespaces::Only(vec![scene.namespace.clone(), other.clone()]);
    let config = Config { namespaces, ..scene.config() };
    let _controller = Controller::start(config, scene.connection(), |client| client).await;
    let store = json!({"parameters": {"store": {"s3": {"bucket": "shared", "prefix": "ours"}},
        "values": [{"name": "a", "value": "secret"}]}});
    scene.create::<WorkerFleet>("web", with(fleet::spec(&scene, 1, json!({})), store)).await;
    wait_settled(&scene, "web", 1).await;

    let api = Api::<FleetReport>::namespaced(scene.kube.clone(), &other);
    for (name, prefix) in [("whole", ""), ("parameters", "ours/"), ("beginning", "rep")] {
        let spec = serde_json::from_value(report(&scene, "shared", prefix)).unwrap();
        api.create(&PostParams::default(), &FleetReport::new(name, spec)).await.unwrap();
        let conditions = |report: &FleetReport| report.status.clone().unwrap_or_default().common.conditions;
        let stalled = |report: &FleetReport| condition(&conditions(report), "Stalled").is_some();
        let report = scene::wait(api.clone(), name, "refused", stalled).await;
        let (_, reason, message) = condition(&conditions(&report), "Stalled").unwrap();
        assert_eq!(reason, "NotGranted", "{message}");
        let line = if prefix == "ours/" {
            "{name: shared, prefix: ours/, uses: [Reports]}"
        } else {
            "{name: shared, uses: [Reports]}"
        };
        assert!(message.ends_with(&format!("buckets: [{line}]")), "{message}");
        assert!(!serde_json::to_string(&report.status).unwrap().contains("secret"));
    }
    assert_eq!(scene.sandbox.calls(&CallQuery::operation("s3", "ListObjectsV2")).len(), 0);
}
