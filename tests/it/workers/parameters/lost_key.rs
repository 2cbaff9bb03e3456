//! The key of the release: who creates it, and what its loss changes.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
    runtime::events::Reporter,
};
use muster::{
    config::{Config, SecretName},
    crd::worker_fleet::WorkerFleet,
    k8s::{cluster::Cluster, release_key::ReleaseKey},
};
use muster_sandbox::CallQuery;
use muster_world::KubeApi;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{
    create_secret, documents, fleet_spec, in_parameter_store, in_s3, parameters, password, reconcile_now, scene,
    stored, synced, value,
};
use crate::{
    chart,
    support::{
        fleet::{ids, launches, live, settled, status, with},
        scene::{Controller, PATIENCE, Scene, condition},
    },
};

/// A controller with a key of its own, as if the Secret had been lost before it started.
async fn start_without_key(scene: &Scene) -> Controller {
    let config = Config { key_secret: None, ..scene.config() };
    Controller::start_as(chart::identity().await, config, scene.connection(), |client| client)
}

fn hashes(fleet: &WorkerFleet) -> Vec<String> {
    let written = status(fleet).workers.parameters.parameters.unwrap();
    written.hashes.into_iter().map(|of| of.hash).collect()
}

/// What was written: documents, or values with their versions.
fn content(scene: &Scene) -> Value {
    let stored = stored(scene);
    let stored: Vec<_> =
        stored.iter().map(|(name, parameter)| (name, value(parameter).0, value(parameter).2)).collect();
    json!([documents(scene), stored])
}

async fn a_lost_key_replaces_nobody(store: Value) {
    let scene = scene().await;
    create_secret(&scene, "first", true).await;
    let first = start_without_key(&scene).await;
    let leader =
        |threads: &str| json!({"name": "leader", "replicas": 1, "parameters": [{"name": "threads", "value": threads}]});
    let values = json!([password(), {"name": "threads", "value": "4"}]);
    let more = json!({"roles": [leader("8")], "parameters": {"onChange": "Replace"}});
    scene.create::<WorkerFleet>("web", with(fleet_spec(&scene, 1, parameters(store, values)), more)).await;
    let both = |fleet: &WorkerFleet| settled(fleet, 1) && live(&scene).len() == 2;
    let before = scene.wait::<WorkerFleet>("web", "a worker of each role", both).await;
    let (workers, written) = (ids(&live(&scene)), content(&scene));
    first.stop().await.unwrap();

    let second = start_without_key(&scene).await;
    for request in ["1", "2"] {
        let after = reconcile_now(&scene, "web", request).await;
        assert!(settled(&after, 1), "{after:#?}");
        assert_eq!(
            (hashes(&after), ids(&live(&scene)), content(&scene)),
            (hashes(&before), workers.clone(), written.clone())
        );
    }
    assert_eq!(launches(&scene), 2);

    // Values that change are still told from those that do not.
    scene.change::<WorkerFleet>("web", json!({"spec": {"roles": [leader("16")]}})).await;
    // The document that only the earlier leader read is removed last.
    let names = |fleet: &WorkerFleet| status(fleet).workers.parameters.parameters.map_or(0, |all| all.written.len());
    let replaced = |fleet: &WorkerFleet| both(fleet) && ids(&live(&scene)) != workers && names(fleet) == names(&before);
    let changed = scene.wait::<WorkerFleet>("web", "another leader", replaced).await;
    let kept: BTreeSet<_> = ids(&live(&scene)).intersection(&workers).cloned().collect();
    assert_eq!(kept.len(), 1, "the worker of the main role");
    let same = hashes(&before).into_iter().zip(hashes(&changed)).filter(|(before, after)| before == after);
    assert_eq!(same.count(), 1, "the hash of the main role");
    second.stop().await.unwrap();

    // Two keys are lost now.
    let (workers, written) = (ids(&live(&scene)), content(&scene));
    let _third = start_without_key(&scene).await;
    let after = reconcile_now(&scene, "web", "3").await;
    assert!(settled(&after, 1), "{after:#?}");
    assert_eq!((hashes(&after), ids(&live(&scene)), content(&scene)), (hashes(&changed), workers, written));
    let puts = scene.sandbox.calls(&CallQuery::operation("s3", "PutObject")).len();
    assert!(puts == 0 || puts == 3, "{puts} writes");
}

#[tokio::test]
async fn a_lost_key_replaces_no_worker_and_writes_no_document() {
    Box::pin(a_lost_key_replaces_nobody(in_s3())).await;
}

#[tokio::test]
async fn a_lost_key_replaces_no_worker_and_writes_no_parameter() {
    Box::pin(a_lost_key_replaces_nobody(in_parameter_store())).await;
}

#[tokio::test]
async fn replicas_that_start_together_share_one_key_and_none_overwrites_it() {
    let kube = KubeApi::shared().await;
    let namespace = kube.namespace().await.unwrap();
    let client = Client::try_from(chart::identity_in(&namespace).await).unwrap();
    let cluster = Cluster {
        client,
        reporter: Reporter::from("muster"),
        call_deadline: Duration::from_secs(30),
        written: Default::default(),
    };
    let place = SecretName { namespace: namespace.clone(), name: "muster-key".into() };
    let load = async || ReleaseKey::load(&cluster, &place).await;
    let keys: Vec<_> = join_all((0..8).map(|_| load())).await.into_iter().map(Result::unwrap).collect();
    assert!(keys.iter().all(|key| *key == keys[0]));
    let secrets: Api<Secret> = Api::namespaced(kube.admin().await.unwrap(), &namespace);
    let secret = secrets.get("muster-key").await.unwrap();
    assert_eq!((secret.immutable, secret.data.unwrap()["key"].0.len()), (Some(true), 32));
    assert_eq!(load().await.unwrap(), keys[0], "after a restart");

    secrets.delete("muster-key", &DeleteParams::default()).await.unwrap();
    assert_ne!(load().await.unwrap(), keys[0], "after a loss");
    secrets.delete("muster-key", &DeleteParams::default()).await.unwrap();
    let other = json!({"metadata": {"name": "muster-key"}, "stringData": {"key": "short"}});
    secrets.create(&PostParams::default(), &serde_json::from_value(other).unwrap()).await.unwrap();
    let refused = load().await.unwrap_err().to_string();
    assert!(
        refused.contains("/muster-key has no entry \"key\" of 32 bytes") && !refused.contains("short"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_replica_is_not_ready_until_it_has_the_key() {
    let kube = KubeApi::shared().await;
    let scene = scene().await;
    let secrets = scene.api::<Secret>();
    let other = json!({"metadata": {"name": "muster-key"}, "stringData": {"key": "short"}});
    secrets.create(&PostParams::default(), &serde_json::from_value(other).unwrap()).await.unwrap();
    let place = SecretName { namespace: scene.namespace.clone(), name: "muster-key".into() };
    let address = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
    let config = Config { key_secret: Some(place), metrics_addr: address, ..scene.config() };
    let identity = chart::identity_in(&scene.namespace).await;
    let reads = Arc::new(AtomicUsize::new(0));
    let counted = reads.clone();
    let count = move |client: Client| {
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            counted.fetch_add(usize::from(request.uri().path().ends_with("/secrets/muster-key")), Ordering::Relaxed);
            let client = client.clone();
            async move { client.send(request).await }
        });
        Client::new(service, "default")
    };
    let _controller = Controller::start_as(identity, config, scene.connection(), count);
    let until = async |what: &str, holds: &dyn Fn(&str) -> bool| {
        let waited = async {
            while !holds(&get(address, "/readyz").await) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waited).await.expect(what);
    };
    until("several attempts", &|_| reads.load(Ordering::Relaxed) > 2).await;
    until("not ready", &|answer| answer.starts_with("HTTP/1.1 503")).await;
    kube.kubectl(&["delete", "secret", "muster-key", "-n", &scene.namespace]).await.unwrap();
    until("ready", &|answer| answer.starts_with("HTTP/1.1 200")).await;
    assert_eq!(secrets.get("muster-key").await.unwrap().data.unwrap()["key"].0.len(), 32);
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut answer = String::new();
    let Ok(mut stream) = TcpStream::connect(address).await else { return answer };
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_key_is_no_value_for_workers() {
    let scene = scene().await;
    let place = SecretName { namespace: scene.namespace.clone(), name: "muster-key".into() };
    let config = Config { key_secret: Some(place), ..scene.config() };
    let identity = chart::identity_in(&scene.namespace).await;
    let _controller = Controller::start_as(identity, config, scene.connection(), |client| client);
    let key = json!([{"name": "a", "valueFrom": {"secretKeyRef": {"name": "muster-key", "key": "key"}}}]);
    scene.create::<WorkerFleet>("web", fleet_spec(&scene, 1, parameters(in_s3(), key))).await;
    let fleet = scene.wait::<WorkerFleet>("web", "refused", |fleet| synced(fleet, "False", "InvalidSpec")).await;
    let (_, _, message) = condition(&status(&fleet).common.conditions, "ParametersSynced").unwrap();
    assert!(message.contains("Secret muster-key holds the key of this release"), "{message}");
    assert!(documents(&scene).is_empty() && live(&scene).is_empty());
}
