//! What is served at /healthz, /readyz and /metrics.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use kube::{Api, api::PostParams};
use muster::{
    crd::{aws_account::AwsAccount, worker_fleet::WorkerFleet},
    http::{health, server::Limits},
    metrics::Metrics,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::ready;
use crate::support::{
    fleet::{spec, wait_settled},
    scene::{self, Controller, Scene},
};

/// The annotation in which kubectl keeps what was applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The watch caches drop both, and a status is written as a whole object.
#[tokio::test]
async fn managed_fields_and_last_applied_survive_every_write() {
    let scene = Scene::new().await;
    let manifest = json!({
        "apiVersion": "muster.dev/v1alpha1", "kind": "WorkerFleet", "spec": spec(&scene, 0, json!({})),
        "metadata": {"name": "web", "annotations": {LAST_APPLIED: "{\"spec\":{}}\n", "team": "a"}, "labels": {"app": "web"}},
    });
    let params = PostParams { field_manager: Some("kubectl-client-side-apply".into()), ..PostParams::default() };
    let fleet: WorkerFleet = serde_json::from_value(manifest).unwrap();
    let made = scene.api::<WorkerFleet>().create(&params, &fleet).await.unwrap();
    let _controller = scene.start().await;
    wait_settled(&scene, "web", 0).await;
    // What follows is written over an object from the cache.
    let asked = json!({"metadata": {"annotations": {"muster.dev/requested-at": "now"}}});
    scene.change::<WorkerFleet>("web", asked).await;
    let handled = |fleet: &WorkerFleet| {
        fleet.status.as_ref().is_some_and(|s| s.common.last_handled_requested_at.as_deref() == Some("now"))
    };
    let fleet = scene.wait::<WorkerFleet>("web", "handled", handled).await;
    let mut annotations = fleet.metadata.annotations.unwrap();
    annotations.remove("muster.dev/requested-at");
    assert_eq!((Some(annotations), fleet.metadata.labels), (made.metadata.annotations, made.metadata.labels));
    let fields = fleet.metadata.managed_fields.unwrap();
    assert!(made.metadata.managed_fields.unwrap().iter().all(|field| fields.contains(field)), "{fields:?}");
    assert!(fields.iter().any(|field| field.subresource.as_deref() == Some("status")), "{fields:?}");
}

#[tokio::test]
async fn health_and_metrics_are_served() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (metrics, is_ready) = (Arc::new(Metrics::default()), Arc::new(AtomicBool::new(false)));
    let _server = tokio::spawn(health::serve(listener, Limits::default(), metrics.clone(), is_ready.clone()));
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
