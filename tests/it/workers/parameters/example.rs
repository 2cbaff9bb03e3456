//! examples/parameters, applied as its README says.

use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use muster::crd::worker_fleet::WorkerFleet;
use muster_sandbox::{SandboxConfig, WorkersConfig};
use serde_json::{Value, json};

use crate::support::{
    fleet::{live, wait_settled},
    scene::{PATIENCE, Scene},
};

/// A manifest of the example.
fn example(file: &str) -> Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/parameters").join(file);
    serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[tokio::test]
async fn the_example_behaves_as_its_readme_describes() {
    let workers = WorkersConfig { user_data: true, ..WorkersConfig::default() };
    let scene =
        Scene::without_account(SandboxConfig { throttling: false, workers: Some(workers), ..SandboxConfig::default() })
            .await;
    let mut account = example("10-account.yaml")["spec"].clone();
    let region = account["regions"][0].as_str().unwrap().to_owned();
    let bucket = account["grants"][0]["buckets"][0]["name"].as_str().unwrap().to_owned();
    let profile = account["grants"][0]["instanceProfiles"][0].as_str().unwrap().to_owned();
    scene.sandbox.s3().ensure_bucket(scene.account.as_str(), &region, &bucket).unwrap();
    scene.sandbox.put_instance_profile(&scene.account, &profile, "worker");
    // The namespace of this test.
    account["grants"][0]["namespaces"]["names"] = json!([scene.namespace]);
    let subnet = scene.sandbox.subnets(&scene.account, &region).remove(0).id;
    account["grants"][0]["subnets"] = json!([subnet]);
    scene.create_account(account).await;
    let _controller = scene.start().await;
    let mut secret = example("20-secret.yaml");
    secret["metadata"]["namespace"] = json!(scene.namespace);
    scene.api::<Secret>().create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    let mut fleet = example("30-fleet.yaml")["spec"].clone();
    fleet["aws"]["accountRef"]["name"] = json!(scene.namespace);
    fleet["template"]["subnets"]["ids"] = json!([subnet]);
    scene.create::<WorkerFleet>("web", fleet).await;
    wait_settled(&scene, "web", 2).await;
    for worker in live(&scene) {
        let is_it = |info: &muster_sandbox::WorkerInfo| info.instance_id == worker.id;
        let workers = scene.sandbox.wait_for_workers(|workers| workers.iter().any(is_it)).await;
        let made = workers.into_iter().find(is_it).unwrap().folder.join("opt/web/app.conf");
        let expected = "model = red-1.8.5\npassword = correct-horse-battery-staple\n";
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(50));
        let written = async {
            while std::fs::read_to_string(&made).ok().as_deref() != Some(expected) {
                ticks.tick().await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, written).await;
        assert!(waited.is_ok(), "{:?}", std::fs::read_to_string(&made));
    }
}
