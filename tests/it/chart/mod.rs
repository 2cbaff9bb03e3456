//! The Helm chart, with the real helm on a real API server: what it renders, rejects and installs, and that it grants exactly
//! the permissions that muster uses.

mod api;
mod install;
mod refusals;
mod rendered;
mod rights;
mod rights_used;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::{Api, Client, Config, api::PostParams};
use muster_world::KubeApi;
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::support::scene::{PATIENCE, install_crds};

pub(crate) fn chart() -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("charts/muster").display().to_string()
}

/// Some controllers under test serve the API, so the releases that tests share permit it.
const API: [&str; 2] = ["api.enabled=true", "api.insecure=true"];

/// Signs in as the ServiceAccount of a release for all namespaces, which all tests of this process share. Use it for every
/// controller under test that needs no Lease, so that a permission missing in the chart fails the test.
pub(crate) async fn identity() -> Config {
    static NAMESPACE: OnceCell<String> = OnceCell::const_new();
    let kube = KubeApi::shared().await;
    let namespace = NAMESPACE
        .get_or_init(async || {
            let namespace = kube.namespace().await.expect("a namespace");
            release(kube, &namespace, &API).await;
            namespace
        })
        .await;
    sign_in(kube, namespace, "default").await
}

/// Signs in as the ServiceAccount of a new release for `namespace` alone. Its Lease is `<namespace>/muster`.
pub(crate) async fn identity_in(namespace: &str) -> Config {
    static RELEASES: Mutex<BTreeMap<String, Arc<OnceCell<()>>>> = Mutex::new(BTreeMap::new());
    let kube = KubeApi::shared().await;
    let installed = RELEASES.lock().expect("a lock").entry(namespace.to_owned()).or_default().clone();
    let watched = format!("watchNamespaces={{{namespace}}}");
    installed.get_or_init(async || release(kube, namespace, &[&API[..], &[&watched]].concat()).await).await;
    sign_in(kube, namespace, namespace).await
}

/// Installs a release named `muster` in an existing namespace, without CRDs, because these are installed already.
async fn release(kube: &KubeApi, namespace: &str, settings: &[&str]) {
    install_crds(&kube.admin().await.expect("a client")).await;
    let chart = chart();
    let mut arguments = vec!["install", "muster", &chart, "--namespace", namespace];
    for setting in ["clusterName=test", "crds.enabled=false"].iter().chain(settings) {
        arguments.extend(["--set", setting]);
    }
    kube.helm(&arguments).await.expect("a release");
}

/// Waits until RBAC, which is updated by watches, grants the ServiceAccount its permissions in the namespace `works_in`.
async fn sign_in(kube: &KubeApi, namespace: &str, works_in: &str) -> Config {
    let config = kube.config_as_service_account(namespace, "muster").await.expect("a ServiceAccount");
    let client = Client::try_from(config.clone()).expect("a client");
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let needed = [
        attributes("muster.dev", "workerfleets", "list", works_in),
        attributes("muster.dev", "awsaccounts", "list", ""),
        attributes("", "secrets", "list", works_in),
        attributes("events.k8s.io", "events", "create", "default"),
        attributes("", "secrets", "create", namespace),
        ResourceAttributes {
            name: Some("muster".into()),
            ..attributes("coordination.k8s.io", "leases", "update", namespace)
        },
    ];
    for attributes in needed {
        while !may(&client, &attributes).await {
            assert!(tokio::time::Instant::now() < deadline, "the chart does not grant {attributes:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    config
}

fn attributes(group: &str, resource: &str, verb: &str, namespace: &str) -> ResourceAttributes {
    let (resource, subresource) = resource.split_once('/').map_or((resource, None), |(r, s)| (r, Some(s.to_owned())));
    ResourceAttributes {
        group: Some(group.into()),
        resource: Some(resource.into()),
        subresource,
        verb: Some(verb.into()),
        namespace: Some(namespace.into()),
        ..ResourceAttributes::default()
    }
}

/// Whether the API server lets the client do something.
async fn may(client: &Client, attributes: &ResourceAttributes) -> bool {
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes.clone()), ..Default::default() },
        ..Default::default()
    };
    let answer = Api::all(client.clone()).create(&PostParams::default(), &review).await.expect("a review");
    answer.status.expect("a status").allowed
}

/// The output of `helm template` for the namespace `muster-system`, or its error.
async fn template(settings: &[&str]) -> Result<Vec<Value>, String> {
    let kube = KubeApi::shared().await;
    let chart = chart();
    let mut arguments = vec!["template", "muster", &chart, "--namespace", "muster-system"];
    for setting in settings {
        arguments.extend([if setting.contains(":=") { "--set-json" } else { "--set" }, setting]);
    }
    let arguments: Vec<_> = arguments.iter().map(|argument| argument.replacen(":=", "=", 1)).collect();
    let text = kube.helm(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let text = text.map_err(|error| format!("{error:#}"))?;
    // Each starts with a comment that names its source; a template without output consists of this comment only.
    let documents = text.split("\n---\n").map(|document| serde_yaml::from_str::<Value>(document).expect("YAML"));
    Ok(documents.filter(|document| !document.is_null()).collect())
}

fn of_kind<'a>(documents: &'a [Value], kind: &str) -> Vec<&'a Value> {
    documents.iter().filter(|document| document["kind"] == kind).collect()
}

fn the<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    match of_kind(documents, kind)[..] {
        [one] => one,
        ref found => panic!("there are {} objects of kind {kind}", found.len()),
    }
}
