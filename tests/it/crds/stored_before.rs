//! An object that was stored before a rule of the schema existed: it keeps its status and can be deleted, and nothing of
//! it gets into a path. On its own API server, because the CRDs change.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::Request;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    client::Body,
    runtime::wait::{await_condition, conditions},
};
use muster::crd::worker_fleet::WorkerFleet;
use muster_sandbox::{Sandbox, SandboxConfig};
use muster_world::KubeApi;
use serde_json::{Value, json};

use crate::support::{
    fleet::{live, spec, status},
    scene::{Controller, PATIENCE, REGION, Scene, condition},
};

const OUTSIDE: &str = "../../default/secrets/x";

/// Installs the CRDs, changed by `change`.
async fn install(kube: &Client, change: fn(&mut JSONSchemaProps)) {
    let api = Api::<CustomResourceDefinition>::all(kube.clone());
    for mut crd in muster::kinds::crds() {
        let schema = crd.spec.versions[0].schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut());
        change(schema.expect("a schema"));
        let name = crd.name_any();
        api.patch(&name, &PatchParams::apply("test").force(), &Patch::Apply(&crd)).await.unwrap();
        let established = await_condition(api.clone(), &name, conditions::is_crd_established());
        tokio::time::timeout(PATIENCE, established).await.expect("the CRD is established").unwrap();
    }
}

/// Removes the rules of all fields.
fn loosen(schema: &mut JSONSchemaProps) {
    schema.x_kubernetes_validations = None;
    schema.properties.iter_mut().flat_map(|fields| fields.values_mut()).for_each(loosen);
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        loosen(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        loosen(values);
    }
}

/// A fleet with a name in `pointer` that would lead out of its namespace.
fn fleet(scene: &Scene, name: &str, pointer: &str) -> Value {
    let mut spec = spec(scene, 1, json!({"userData": {"configMapKeyRef": {"name": "boot", "key": "sh"}}}));
    spec["readiness"] = json!({"check": "Report", "reportRef": {"name": "prod"}});
    let source = |kind: &str| json!({"name": kind, "valueFrom": {kind: {"name": "app", "key": "k"}}});
    spec["parameters"] = json!({
        "store": {"s3": {"bucket": "some-bucket"}},
        "values": [source("secretKeyRef"), source("configMapKeyRef")],
    });
    *spec.pointer_mut(pointer).expect("a field") = json!(OUTSIDE);
    json!({"apiVersion": "muster.dev/v1alpha1", "kind": "WorkerFleet", "metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn an_object_stored_before_a_rule_keeps_its_status_and_its_names_stay_out_of_paths() {
    let api = KubeApi::start().await.unwrap();
    let kube = api.admin().await.unwrap();
    install(&kube, loosen).await;
    let namespace = api.namespace().await.unwrap();
    let sandbox = Sandbox::start(SandboxConfig { throttling: false, ..SandboxConfig::default() }).await.unwrap();
    let scene = Scene { kube: kube.clone(), sandbox, namespace, account: "100000000000".parse().unwrap() };
    scene.create_account(json!({"regions": [REGION], "grants": [scene.full_grant()]})).await;
    let fleets = scene.api::<WorkerFleet>();
    let pointers = [
        ("user-data", "/template/userData/configMapKeyRef/name"),
        ("user-data-key", "/template/userData/configMapKeyRef/key"),
        ("secret", "/parameters/values/0/valueFrom/secretKeyRef/name"),
        ("config-map", "/parameters/values/1/valueFrom/configMapKeyRef/name"),
        ("report", "/readiness/reportRef/name"),
        ("account", "/aws/accountRef/name"),
    ];
    for (name, pointer) in pointers {
        let manifest = serde_json::from_value(fleet(&scene, name, pointer)).unwrap();
        fleets.create(&PostParams::default(), &manifest).await.unwrap();
    }
    install(&kube, |_| {}).await;
    // From now on they are refused. The API server notices the new CRD a little later.
    let refused = async {
        for (name, pointer) in pointers {
            let manifest = serde_json::from_value(fleet(&scene, &format!("new-{name}"), pointer)).unwrap();
            let dry_run = PostParams { dry_run: true, ..PostParams::default() };
            while fleets.create(&dry_run, &manifest).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.expect("names are validated");

    let paths = Arc::new(Mutex::new(Vec::new()));
    let seen = paths.clone();
    let wrap = move |client: Client| {
        let service = tower::service_fn(move |request: Request<Body>| {
            seen.lock().unwrap().push(request.uri().path().to_owned());
            let client = client.clone();
            async move { client.send(request).await }
        });
        Client::new(service, "default")
    };
    let _controller = Controller::start_as(api.config().await.unwrap(), scene.config(), scene.connection(), wrap);
    for (name, _) in pointers {
        let told = |fleet: &WorkerFleet| condition(&status(fleet).common.conditions, "Ready").is_some();
        scene.wait::<WorkerFleet>(name, "a status", told).await;
    }
    for (name, _) in pointers {
        fleets.delete(name, &DeleteParams::default()).await.unwrap();
        scene.wait_gone::<WorkerFleet>(name).await;
    }
    assert_eq!(live(&scene).len(), 0);
    let paths = paths.lock().unwrap();
    assert!(paths.iter().any(|path| path.contains("/workerfleets/secret/status")), "{paths:?}");
    let outside: Vec<_> = paths.iter().filter(|path| path.contains("..") || path.contains("%2")).collect();
    assert!(outside.is_empty(), "{outside:?}");
}
