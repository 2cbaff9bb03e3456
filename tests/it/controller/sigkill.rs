//! The shipped program is ended with SIGKILL, during calls to EC2 and at random moments, and nothing is lost or doubled.

use std::{process::Stdio, time::Duration};

use kube::api::DeleteParams;
use muster::crd::worker_fleet::WorkerFleet;
use muster_sandbox::{Fault, FaultAction, Moment};
use muster_world::KubeApi;
use serde_json::json;
use tokio::process::{Child, Command};

use crate::{
    chart,
    support::{
        crash::lagging_ec2,
        fleet::{ever, live, spec, wait_settled},
        scene::{PATIENCE, REGION, Scene},
    },
};

async fn start(scene: &Scene) -> Child {
    chart::identity_in(&scene.namespace).await;
    let kubeconfig = KubeApi::shared().await.kubeconfig_as_service_account(&scene.namespace, "muster").await.unwrap();
    Command::new(env!("CARGO_BIN_EXE_muster"))
        .args(["controller", "--cluster-name=test", "--metrics-addr=127.0.0.1:0", "--sweep-seconds=1"])
        .arg(format!("--namespaces={}", scene.namespace))
        .arg(format!("--account-selector=muster.test/scene={}", scene.namespace))
        .env_clear()
        .env("KUBECONFIG", kubeconfig)
        .env("AWS_ENDPOINT_URL", scene.sandbox.endpoint())
        .env("AWS_REGION", REGION)
        .env("AWS_ACCESS_KEY_ID", format!("AKIASANDBOX{}", scene.account))
        .env("AWS_SECRET_ACCESS_KEY", "sandbox")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Kills it while EC2 processes `operation`, which is still carried out.
async fn kill_during_call(scene: &Scene, operation: &str, moment: Moment) {
    let fault = scene.sandbox.add_fault(Fault::once("ec2", operation, FaultAction::Hold { moment }));
    let mut program = start(scene).await;
    tokio::time::timeout(PATIENCE, scene.sandbox.wait_for_hits(fault, 1)).await.expect("the call");
    program.kill().await.unwrap();
    scene.sandbox.remove_fault(fault);
}

/// Starts and kills it repeatedly; each time it gets a little further.
async fn kill_at_random_times(scene: &Scene) {
    for life in 1..=6 {
        let mut program = start(scene).await;
        tokio::time::sleep(Duration::from_millis(150) * life).await;
        program.kill().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_the_program_at_any_time_neither_loses_nor_duplicates_instances() {
    let scene = Scene::with(lagging_ec2()).await;
    scene.create::<WorkerFleet>("web", spec(&scene, 0, json!({}))).await;
    for (replicas, operation, moment, launched) in [
        (5, "RunInstances", Moment::Before, 5),
        (8, "RunInstances", Moment::After, 8),
        (3, "TerminateInstances", Moment::Before, 8),
        (1, "TerminateInstances", Moment::After, 8),
    ] {
        let case = format!("killed {moment:?} {operation}");
        scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": replicas}})).await;
        kill_during_call(&scene, operation, moment).await;
        kill_at_random_times(&scene).await;
        let mut successor = start(&scene).await;
        wait_settled(&scene, "web", replicas).await;
        successor.kill().await.unwrap();
        assert_eq!((live(&scene).len(), ever(&scene)), (replicas as usize, launched), "{case}");
    }
    scene.api::<WorkerFleet>().delete("web", &DeleteParams::default()).await.unwrap();
    kill_during_call(&scene, "TerminateInstances", Moment::Before).await;
    kill_at_random_times(&scene).await;
    let _successor = start(&scene).await;
    scene.wait_gone::<WorkerFleet>("web").await;
    assert_eq!((live(&scene).len(), ever(&scene)), (0, 8));
}
