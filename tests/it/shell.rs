//! What the shell does for every kind: leadership, shutdown, health.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use kube::Api;
use muster::{aws_account::AwsAccount, config::LeaseName, controller, health, metrics::Metrics};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::scene::{self, Controller, Scene};

fn ready(account: &AwsAccount) -> bool {
    let conditions = account.status.iter().flat_map(|s| &s.common.conditions);
    conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

#[tokio::test]
async fn a_standby_takes_over_when_the_leader_dies() {
    let scene = Scene::new().await;
    let lease = LeaseName { namespace: scene.namespace.clone(), name: "muster".into() };
    let config =
        |pod: &str| muster::config::Config { lease: Some(lease.clone()), pod_name: pod.into(), ..scene.config() };
    let accounts = Api::<AwsAccount>::all(scene.kube.clone());
    let leader = Controller::start(config("a"), scene.connection(), |client| client).await;
    scene::wait(accounts.clone(), &scene.namespace, "Ready", ready).await;
    let _standby = Controller::start(config("b"), scene.connection(), |client| client).await;
    leader.kill().await;

    let mut second = scene.create_account_named(&format!("{}-b", scene.namespace), account_spec()).await;
    second = scene::wait(accounts, second.metadata.name.as_deref().unwrap(), "Ready", ready).await;
    assert!(second.status.is_some());
}

#[tokio::test]
async fn a_controller_ends_when_told_and_when_its_lease_is_taken() {
    let scene = Scene::new().await;
    let lease = LeaseName { namespace: scene.namespace.clone(), name: "muster".into() };
    let config =
        |pod: &str| muster::config::Config { lease: Some(lease.clone()), pod_name: pod.into(), ..scene.config() };
    let accounts = Api::<AwsAccount>::all(scene.kube.clone());
    let told = Controller::start(config("told"), scene.connection(), |client| client).await;
    scene::wait(accounts.clone(), &scene.namespace, "Ready", ready).await;
    told.stop().await.unwrap();

    let robbed = Controller::start(config("robbed"), scene.connection(), |client| client).await;
    let leases = scene.api::<k8s_openapi::api::coordination::v1::Lease>();
    scene::wait(leases, "muster", "held by the second", |lease| {
        lease.spec.as_ref().and_then(|s| s.holder_identity.as_deref()).is_some_and(|h| h.starts_with("robbed"))
    })
    .await;
    let theft = serde_json::json!({"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 3600}});
    scene.change::<k8s_openapi::api::coordination::v1::Lease>("muster", theft).await;
    assert!(matches!(robbed.ended().await, Err(controller::Error::Lost(_))));
}

#[tokio::test]
async fn health_and_metrics_are_served() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (metrics, is_ready) = (Arc::new(Metrics::default()), Arc::new(AtomicBool::new(false)));
    let _server = tokio::spawn(health::serve(listener, metrics.clone(), is_ready.clone()));
    let get = async |path: &str| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    assert!(get("/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(get("/readyz").await.starts_with("HTTP/1.1 503"));
    is_ready.store(true, Ordering::Relaxed);
    assert!(get("/readyz").await.starts_with("HTTP/1.1 200"));
    metrics.reconciled("WorkerFleet", 0.1, Some("AwsDenied"));
    let exposition = get("/metrics").await;
    assert!(exposition.contains("muster_reconcile_total{kind=\"WorkerFleet\"} 1"), "{exposition}");
    assert!(exposition.contains("muster_reconcile_errors_total{kind=\"WorkerFleet\",reason=\"AwsDenied\"} 1"));
    assert!(exposition.contains("muster_build_info{version="));
}

#[tokio::test]
async fn calls_to_aws_are_counted_by_operation_and_outcome() {
    let scene = Scene::new().await;
    let address = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
    let config = muster::config::Config { metrics_addr: address, ..scene.config() };
    let _controller = Controller::start(config, scene.connection(), |client| client).await;
    scene::wait(Api::<AwsAccount>::all(scene.kube.clone()), &scene.namespace, "Ready", ready).await;
    let exposition = get(address, "/metrics").await;
    let counted = r#"muster_aws_requests_total{service="STS",operation="GetCallerIdentity",outcome="ok"}"#;
    assert!(exposition.contains(counted), "{exposition}");
    assert!(exposition.contains("muster_leading 1"), "{exposition}");
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn account_spec() -> serde_json::Value {
    serde_json::json!({"regions": [scene::REGION]})
}
