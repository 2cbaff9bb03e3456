//! Parameters, from a Secret to the file that workers read.

mod example;
mod killed_at_every_call;
mod lost_key;
mod missing_values;
mod parameter_store;
mod plan_only;
mod s3_documents;
mod secrecy;
mod tampered_document;

use std::{collections::BTreeMap, os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use muster::{clock::Timings, config::Config, crd::worker_fleet::WorkerFleet};
use muster_sandbox::{Content, INSTANCE_PROFILE, Parameter, ParameterKind, SandboxConfig, WorkersConfig};
use serde_json::{Value, json};

use crate::support::{
    fleet::{live, spec, status, with},
    scene::{Controller, PATIENCE, REGION, Scene, condition},
};

const BUCKET: &str = "parameters";

/// A scene whose workers run their user data.
async fn scene() -> Scene {
    let workers = WorkersConfig { user_data: true, ..WorkersConfig::default() };
    let scene =
        Scene::with(SandboxConfig { throttling: false, workers: Some(workers), ..SandboxConfig::default() }).await;
    scene.sandbox.s3().ensure_bucket(scene.account.as_str(), REGION, BUCKET).unwrap();
    scene
}

/// Starts a controller that reconciles on changes only. A comparison of parameters is valid for an hour here.
async fn start(scene: &Scene) -> Controller {
    let config = scene.config();
    let config = Config { timings: Timings { sweep: PATIENCE, ..config.timings }, ..config };
    Controller::start(config, scene.connection(), |client| client).await
}

async fn create_secret(scene: &Scene, value: &str, watched: bool) -> Secret {
    let labels = if watched { json!({"muster.dev/watch": "true"}) } else { json!({}) };
    let secret = json!({"metadata": {"name": "db", "labels": labels}, "stringData": {"password": value}});
    scene.api::<Secret>().create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap()
}

async fn change_secret(scene: &Scene, value: &str) {
    scene.change::<Secret>("db", json!({"stringData": {"password": value}})).await;
}

fn in_s3() -> Value {
    json!({"s3": {"bucket": BUCKET, "prefix": "app"}})
}

fn in_parameter_store() -> Value {
    json!({"parameterStore": {"path": "/app"}})
}

fn password() -> Value {
    json!({"name": "dbPassword", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}})
}

fn parameters(store: Value, values: Value) -> Value {
    json!({"parameters": {"store": store, "values": values}})
}

/// A fleet whose workers have an instance profile and a script that runs after the parameters have been fetched.
fn fleet_spec(scene: &Scene, replicas: u32, parameters: Value) -> Value {
    let script = "#!/bin/sh\ncp etc/muster/parameters.json seen\nmv seen seen.json\n";
    let template = json!({"instanceProfile": INSTANCE_PROFILE, "userData": {"inline": script}});
    with(spec(scene, replicas, template), parameters)
}

/// The documents in the bucket, by key.
fn documents(scene: &Scene) -> BTreeMap<String, String> {
    let s3 = scene.sandbox.s3();
    let text = |key: &String| match s3.get(BUCKET, key).unwrap().content {
        Content::Bytes(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        Content::Generated { .. } => panic!("{key} is nothing that muster wrote"),
    };
    s3.keys(BUCKET, "").unwrap().into_iter().map(|key| (key.clone(), text(&key))).collect()
}

/// The values in a document.
fn values_of(document: &str) -> Value {
    serde_json::from_str::<Value>(document).unwrap()["values"].take()
}

fn stored(scene: &Scene) -> BTreeMap<String, Parameter> {
    scene.sandbox.parameters(&scene.account, REGION).into_iter().map(|p| (p.name.clone(), p)).collect()
}

fn value(parameter: &Parameter) -> (&str, ParameterKind, usize) {
    let newest = parameter.latest().unwrap();
    (&newest.value, newest.kind, parameter.versions.len())
}

fn synced(fleet: &WorkerFleet, truth: &str, reason: &str) -> bool {
    condition(&status(fleet).common.conditions, "ParametersSynced").is_some_and(|(t, r, _)| t == truth && r == reason)
}

/// Waits until a worker has written `file` below its folder, for which there is no notification, and returns the folder.
async fn written(folder: impl Fn() -> Option<PathBuf>, file: &str) -> PathBuf {
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    loop {
        ticks.tick().await;
        if let Some(folder) = folder().filter(|folder| folder.join(file).exists()) {
            return folder;
        }
    }
}

/// Waits until the script of a worker has run, and returns what it read, with the modes of the file and of its folder.
async fn read_on_worker(scene: &Scene, id: &str) -> (Value, u32, u32) {
    let folder = || scene.sandbox.worker(id).map(|worker| worker.folder);
    let Ok(folder) = tokio::time::timeout(PATIENCE, written(folder, "seen.json")).await else {
        panic!("{id} has no parameters: {:?}", std::fs::read_to_string(folder().unwrap().join("console.log")));
    };
    let mode = |path: &str| std::fs::metadata(folder.join(path)).unwrap().permissions().mode() & 0o777;
    let seen = std::fs::read(folder.join("seen.json")).unwrap();
    (serde_json::from_slice(&seen).unwrap(), mode("etc/muster/parameters.json"), mode("etc/muster"))
}

/// Requests a reconcile, and waits until it is complete.
async fn reconcile_now(scene: &Scene, name: &str, request: &str) -> WorkerFleet {
    let annotations = json!({"metadata": {"annotations": {"muster.dev/requested-at": request}}});
    scene.change::<WorkerFleet>(name, annotations).await;
    let handled = |fleet: &WorkerFleet| status(fleet).common.last_handled_requested_at.as_deref() == Some(request);
    scene.wait::<WorkerFleet>(name, "reconciled", handled).await
}

fn newest(scene: &Scene) -> String {
    live(scene).into_iter().max_by_key(|worker| worker.launch_time).unwrap().id
}
