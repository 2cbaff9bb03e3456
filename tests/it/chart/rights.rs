//! The ServiceAccount of the chart has the permissions that the controller needs, and no others.

use std::collections::BTreeSet;

use futures::{StreamExt, stream};
use k8s_openapi::{api::authorization::v1::ResourceAttributes, apimachinery::pkg::apis::meta::v1::APIResourceList};
use kube::Client;
use muster_world::KubeApi;
use serde_json::Value;

use super::{attributes, identity, identity_in, may, release, sign_in};

const VERBS: [&str; 8] = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];

pub(super) const CLUSTER_WIDE: &[(&str, &str, &[&str])] = &[
    ("muster.dev", "awsaccounts", &["list", "watch", "patch"]),
    ("muster.dev", "awsaccounts/status", &["update"]),
    ("", "namespaces", &["list", "watch"]),
];
pub(super) const WATCHED: &[(&str, &str, &[&str])] = &[
    ("muster.dev", "workerfleets", &["list", "watch", "patch"]),
    ("muster.dev", "workerfleets/status", &["update"]),
    ("muster.dev", "workerfleets/finalizers", &["update"]),
    ("muster.dev", "workerjobs", &["list", "watch", "patch", "delete"]),
    ("muster.dev", "workerjobs/status", &["update"]),
    ("muster.dev", "workerjobs/finalizers", &["update"]),
    ("muster.dev", "fleetreports", &["list", "watch", "patch"]),
    ("muster.dev", "fleetreports/status", &["update"]),
    ("muster.dev", "launchtemplatepins", &["list", "watch", "patch"]),
    ("muster.dev", "launchtemplatepins/status", &["update"]),
    ("apps", "controllerrevisions", &["get", "list", "create", "patch", "delete"]),
    ("", "configmaps", &["get", "list", "watch"]),
    ("", "secrets", &["get", "list", "watch"]),
    ("events.k8s.io", "events", &["create"]),
];
/// In the namespace `default`, for events about cluster-scoped objects.
const EVENTS: &[(&str, &str, &[&str])] = &[("events.k8s.io", "events", &["create"])];
/// In the namespace of the release. RBAC cannot restrict create by resource name.
const RELEASE: &[(&str, &str, &[&str])] =
    &[("coordination.k8s.io", "leases", &["create"]), ("", "secrets", &["create"])];
/// With the API, everywhere: who calls, and what the caller may read.
const API: &[(&str, &str, &[&str])] = &[
    ("authentication.k8s.io", "tokenreviews", &["create"]),
    ("authorization.k8s.io", "subjectaccessreviews", &["create"]),
];
pub(super) type Right = (String, String, String);

pub(super) fn rights(tables: &[&[(&str, &str, &[&str])]]) -> BTreeSet<Right> {
    let rows = tables.iter().flat_map(|table| table.iter());
    rows.flat_map(|(group, resource, verbs)| {
        verbs.iter().map(|verb| ((*group).to_owned(), (*resource).to_owned(), (*verb).to_owned()))
    })
    .collect()
}

/// Every resource that the API server serves, with its subresources.
async fn resources() -> BTreeSet<(String, String)> {
    let client = KubeApi::shared().await.admin().await.expect("a client");
    let finalizers = |kind| ("muster.dev".to_owned(), format!("{kind}/finalizers"));
    let mut found = BTreeSet::from([finalizers("workerfleets"), finalizers("workerjobs")]);
    let mut collect = |group: &str, list: APIResourceList| {
        found.extend(list.resources.into_iter().map(|resource| (group.to_owned(), resource.name)));
    };
    collect("", client.list_core_api_resources("v1").await.expect("the core API"));
    for group in client.list_api_groups().await.expect("the API groups").groups {
        for version in group.versions {
            collect(&group.name, client.list_api_group_resources(&version.group_version).await.expect("an API group"));
        }
    }
    found
}

/// Everything that the client may do in a namespace, except for what every ServiceAccount may do.
async fn may_do(client: &Client, namespace: &str) -> BTreeSet<Right> {
    let kube = KubeApi::shared().await;
    kube.kubectl(&["create", "serviceaccount", "nobody", "-n", namespace]).await.expect("a ServiceAccount");
    let nobody = kube.client_as_service_account(namespace, "nobody").await.expect("a client");
    let resources = resources().await;
    assert!(resources.len() > 80, "{resources:?}");
    let everybody = all(&nobody, namespace, &resources).await;
    kube.kubectl(&["delete", "serviceaccount", "nobody", "-n", namespace]).await.expect("a deletion");
    &all(client, namespace, &resources).await - &everybody
}

async fn all(client: &Client, namespace: &str, resources: &BTreeSet<(String, String)>) -> BTreeSet<Right> {
    let questions = resources.iter().flat_map(|(group, resource)| VERBS.map(|verb| (group, resource, verb)));
    stream::iter(questions)
        .map(|(group, resource, verb)| async move {
            let allowed = may(client, &attributes(group, resource, verb, namespace)).await;
            allowed.then(|| (group.clone(), resource.clone(), verb.to_owned()))
        })
        .buffer_unordered(16)
        .filter_map(std::future::ready)
        .collect()
        .await
}

#[tokio::test]
async fn a_release_for_one_namespace_has_almost_no_permissions_elsewhere() {
    let kube = KubeApi::shared().await;
    let namespace = kube.namespace().await.expect("a namespace");
    let config = identity_in(&namespace).await;
    let client = Client::try_from(config).expect("a client");
    let elsewhere = kube.namespace().await.expect("a namespace");
    for (place, tables) in [
        (namespace.as_str(), &[CLUSTER_WIDE, API, WATCHED, RELEASE][..]),
        ("default", &[CLUSTER_WIDE, API, EVENTS]),
        (elsewhere.as_str(), &[CLUSTER_WIDE, API]),
    ] {
        assert_eq!(may_do(&client, place).await, rights(tables), "in {place}");
    }
    for (verb, lease, allowed) in [
        ("get", "muster", true),
        ("update", "muster", true),
        ("patch", "muster", false),
        ("delete", "muster", false),
        ("get", "kube-scheduler", false),
        ("update", "kube-scheduler", false),
    ] {
        let right = ResourceAttributes {
            name: Some(lease.into()),
            ..attributes("coordination.k8s.io", "leases", verb, &namespace)
        };
        assert_eq!(may(&client, &right).await, allowed, "{verb} the Lease {lease}");
    }
}

#[tokio::test]
async fn a_release_for_all_namespaces_has_the_same_permissions_in_each() {
    let kube = KubeApi::shared().await;
    let client = Client::try_from(identity().await).expect("a client");
    let anywhere = kube.namespace().await.expect("a namespace");
    assert_eq!(may_do(&client, &anywhere).await, rights(&[CLUSTER_WIDE, API, WATCHED]));
}

#[tokio::test]
async fn a_release_without_the_api_reviews_nobody() {
    let kube = KubeApi::shared().await;
    let namespace = kube.namespace().await.expect("a namespace");
    release(kube, &namespace, &[]).await;
    let client = Client::try_from(sign_in(kube, &namespace, &namespace).await).expect("a client");
    assert_eq!(may_do(&client, &namespace).await, rights(&[CLUSTER_WIDE, WATCHED, RELEASE]));
}

#[tokio::test]
async fn no_rbac_rule_has_a_wildcard() {
    let settings = ["clusterName=prod", "watchNamespaces={ml}", "api.enabled=true", "api.insecure=true"];
    let documents = super::template(&settings).await.expect("manifests");
    let roles = documents.iter().filter(|d| matches!(d["kind"].as_str(), Some("Role" | "ClusterRole")));
    let rules: Vec<&Value> = roles.flat_map(|role| role["rules"].as_array().expect("rules")).collect();
    assert!(rules.len() > 6);
    assert!(rules.iter().all(|rule| !rule.to_string().contains('*')), "{rules:?}");
}
