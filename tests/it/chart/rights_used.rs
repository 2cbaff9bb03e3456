//! A controller uses every permission that the chart grants, over the lifecycle of objects of all kinds.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Method, Request};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Client,
    api::{DeleteParams, PostParams},
    client::Body,
};
use muster::{
    clock::Timings,
    crd::{
        aws_account::AwsAccount, fleet_report::FleetReport, launch_template_pin::LaunchTemplatePin,
        worker_fleet::WorkerFleet, worker_job::WorkerJob,
    },
    lease::LeaseName,
};
use muster_sandbox::{AMAZON_LINUX_X86_64, LaunchTemplateSpec};
use serde_json::json;

use super::rights::{CLUSTER_WIDE, Right, WATCHED, rights};
use crate::support::{
    fleet,
    scene::{self, Controller, REGION, Scene},
};

/// The permissions that RBAC checks for a request, as the API server determines them; empty if it needs none.
fn asked(request: &Request<Body>) -> Vec<Right> {
    let parts: Vec<_> = request.uri().path().trim_matches('/').split('/').collect();
    let (group, rest) = match parts[..] {
        ["api", _version, ref rest @ ..] => ("", rest),
        ["apis", group, _version, ref rest @ ..] => (group, rest),
        _ => return Vec::new(),
    };
    let rest = match rest {
        ["namespaces", _namespace, resource, rest @ ..] => [&[*resource], rest].concat(),
        other => other.to_vec(),
    };
    let (resource, name) = match rest[..] {
        [resource] => (resource.to_owned(), None),
        [resource, name] => (resource.to_owned(), Some(name)),
        [resource, name, subresource] => (format!("{resource}/{subresource}"), Some(name)),
        _ => return Vec::new(),
    };
    let watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
    let applied = request.headers().get("content-type").is_some_and(|t| t == "application/apply-patch+yaml");
    let verbs: &[&str] = match (request.method(), name) {
        (&Method::GET, None) if watch => &["watch"],
        (&Method::GET, None) => &["list"],
        (&Method::GET, Some(_)) => &["get"],
        (&Method::POST, _) => &["create"],
        (&Method::PUT, _) => &["update"],
        // Server-side apply of an object that does not exist also needs create.
        (&Method::PATCH, _) if applied => &["patch", "create"],
        (&Method::PATCH, _) => &["patch"],
        (&Method::DELETE, Some(_)) => &["delete"],
        (&Method::DELETE, None) => &["deletecollection"],
        other => panic!("no verb is known for {other:?}"),
    };
    verbs.iter().map(|verb| (group.to_owned(), resource.clone(), (*verb).to_owned())).collect()
}

/// Sits between a controller and the API server, and records the permissions that requests need.
fn remembering(client: Client, taken: Arc<Mutex<BTreeSet<Right>>>) -> Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        taken.lock().expect("a lock").extend(asked(&request));
        let client = client.clone();
        async move { client.send(request).await }
    });
    Client::new(service, "default")
}

#[tokio::test]
async fn a_controller_uses_every_permission_that_the_chart_grants() {
    let scene = Scene::new().await;
    scene.sandbox.s3().ensure_bucket(scene.account.as_str(), REGION, "reports").expect("a bucket");
    let taken = Arc::new(Mutex::new(BTreeSet::new()));
    let lease = LeaseName { namespace: scene.namespace.clone(), name: "muster".into() };
    // Long enough to send a launch.
    let timings = Timings { lease: Duration::from_secs(60), ..scene::timings() };
    let config = muster::config::Config { lease: Some(lease), timings, ..scene.config() };
    let remembered = taken.clone();
    let controller = Controller::start(config, scene.connection(), move |client| remembering(client, remembered)).await;

    let source = json!({"name": "a", "bucket": "reports", "aws": scene.aws()});
    scene.create::<FleetReport>("web", json!({"sources": [source]})).await;
    scene
        .wait::<FleetReport>("web", "collected", |report| {
            report.status.as_ref().is_some_and(|s| s.last_collected_time.is_some())
        })
        .await;

    let image = AMAZON_LINUX_X86_64;
    let template = LaunchTemplateSpec::new(&scene.account, REGION, "web", image);
    scene.sandbox.add_launch_template(&template).expect("a launch template");
    scene.create::<LaunchTemplatePin>("web", json!({"aws": scene.aws(), "launchTemplate": {"name": "web"}})).await;
    let is_ready = |pin: &LaunchTemplatePin| {
        let conditions = pin.status.clone().unwrap_or_default().common.conditions;
        scene::condition(&conditions, "Ready").is_some_and(|(status, ..)| status == "True")
    };
    scene.wait::<LaunchTemplatePin>("web", "ready", is_ready).await;

    let script = json!({"metadata": {"name": "boot"}, "data": {"script": "#!/bin/sh\n"}});
    let script: ConfigMap = serde_json::from_value(script).expect("a ConfigMap");
    scene.api::<ConfigMap>().create(&PostParams::default(), &script).await.expect("a ConfigMap");
    let user_data = json!({"userData": {"configMapKeyRef": {"name": "boot", "key": "script"}}});
    // One of two revisions without instances is deleted when none is kept.
    let values = json!([
        {"name": "password", "valueFrom": {"secretKeyRef": {"name": "app", "key": "a"}}},
        {"name": "model", "valueFrom": {"configMapKeyRef": {"name": "app", "key": "a"}}},
    ]);
    let source = json!({"metadata": {"name": "app"}, "data": {"a": "YQ=="}});
    let (secret, map) = (serde_json::from_value(source.clone()), serde_json::from_value(source));
    scene.api::<Secret>().create(&PostParams::default(), &secret.expect("a Secret")).await.expect("a Secret");
    scene.api::<ConfigMap>().create(&PostParams::default(), &map.expect("a ConfigMap")).await.expect("a ConfigMap");
    let store = json!({"s3": {"bucket": "reports"}});
    let more = json!({"revisionHistoryLimit": 0, "parameters": {"store": store, "values": values}});
    let spec = fleet::with(fleet::spec(&scene, 2, user_data), more);
    scene.create::<WorkerFleet>("web", spec).await;
    fleet::wait_settled(&scene, "web", 2).await;
    scene
        .change::<WorkerFleet>("web", json!({"spec": {"replicas": 0, "template": {"instanceTypes": ["c5.large"]}}}))
        .await;
    fleet::wait_settled(&scene, "web", 0).await;
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 1}})).await;
    fleet::wait_settled(&scene, "web", 1).await;

    scene.api::<WorkerFleet>().delete("web", &DeleteParams::default()).await.expect("a deletion");
    scene.api::<FleetReport>().delete("web", &DeleteParams::default()).await.expect("a deletion");
    scene.api::<LaunchTemplatePin>().delete("web", &DeleteParams::default()).await.expect("a deletion");
    scene.wait_gone::<LaunchTemplatePin>("web").await;
    scene.wait_gone::<WorkerFleet>("web").await;
    scene.wait_gone::<FleetReport>("web").await;
    // The job has nothing to do, so it finishes at once.
    let spec =
        crate::support::job::spec(&scene, 1, 1, json!({"activeDeadlineSeconds": 1, "ttlSecondsAfterFinished": 0}));
    scene.create::<WorkerJob>("web", spec).await;
    scene.wait_gone::<WorkerJob>("web").await;
    let accounts = kube::Api::<AwsAccount>::all(scene.kube.clone());
    let account = accounts.get(&scene.namespace).await.expect("an AwsAccount");
    accounts.delete(&scene.namespace, &DeleteParams::default()).await.expect("a deletion");
    let uid = account.metadata.uid.expect("a uid");
    let gone = kube::runtime::wait::await_condition(
        accounts,
        &scene.namespace,
        kube::runtime::wait::conditions::is_deleted(&uid),
    );
    tokio::time::timeout(scene::PATIENCE, gone).await.expect("the AwsAccount goes").expect("a watch");
    controller.stop().await.expect("an end");

    let release = [("coordination.k8s.io", "leases", &["get", "create", "update"][..]), ("", "secrets", &["create"])];
    let given = rights(&[CLUSTER_WIDE, WATCHED, &release]);
    let taken = taken.lock().expect("a lock").clone();
    let missing: Vec<_> = taken.difference(&given).collect();
    assert!(missing.is_empty(), "taken, and not given by the chart: {missing:?}");
    let seldom = rights(&[&[
        // The API server checks it if OwnerReferencesPermissionEnforcement is enabled.
        ("muster.dev", "workerfleets/finalizers", &["update"]),
        ("muster.dev", "workerjobs/finalizers", &["update"]),
        // For a recorded launch whose revision is not in the list of revisions of its fleet.
        ("apps", "controllerrevisions", &["get"]),
    ]]);
    let idle: Vec<_> = given.difference(&taken).filter(|right| !seldom.contains(right)).collect();
    assert!(idle.is_empty(), "given by the chart, and never taken: {idle:?}");
}
