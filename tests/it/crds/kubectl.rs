//! What kubectl shows: warnings, explain, categories and short names, scale.

use std::time::Duration;

use futures::{StreamExt, stream};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use serde_json::{Value, json};

use super::{Kind, installed, kinds, manifests, offer};

/// Retries, because the API server publishes the schemas that kubectl reads shortly after a CRD is established.
async fn published<T>(ask: impl AsyncFn() -> anyhow::Result<T>) -> T {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) if tokio::time::Instant::now() > deadline => panic!("{error:#}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// The fields below `path` that have fields.
fn objects(schema: &JSONSchemaProps, path: &str, found: &mut Vec<String>) {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaPropsOrArray::Schema;
    let inner = match &schema.items {
        Some(Schema(items)) => items,
        _ => schema,
    };
    if inner.properties.is_some() {
        found.push(path.to_owned());
    }
    for (name, property) in inner.properties.iter().flatten() {
        objects(property, &format!("{path}.{name}"), found);
    }
}

#[tokio::test]
async fn the_api_server_returns_no_warning_about_the_crds() {
    let kube = installed().await;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");
    let apply =
        ["apply", "--dry-run=server", "--warnings-as-errors", "--server-side", "--force-conflicts", "-f", folder];
    kube.kubectl(&apply).await.expect("CRDs without a warning");
}

#[tokio::test]
async fn kubectl_explain_describes_every_field() {
    let kube = installed().await;
    for kind in kinds() {
        let mut paths = Vec::new();
        objects(&kind.schema, &kind.plural, &mut paths);
        assert!(paths.len() > 3, "{paths:?}");
        let explained = stream::iter(paths).map(|path| async move {
            let explain = ["explain", &path, "--api-version=muster.dev/v1alpha1"];
            (published(async || kube.kubectl(&explain).await).await, path)
        });
        for (text, path) in explained.buffer_unordered(8).collect::<Vec<_>>().await {
            assert!(text.contains("FIELDS:"), "{path}: {text}");
            assert!(!text.contains("<no description>") && !text.contains("<empty>"), "{path}: {text}");
        }
        let all = published(async || kube.kubectl(&["explain", &kind.plural, "--recursive"]).await).await;
        assert!(all.contains("observedGeneration"), "{all}");
    }
}

#[tokio::test]
async fn the_category_and_the_short_names_find_all_kinds() {
    let kube = installed().await;
    let namespace = kube.namespace().await.expect("a namespace");
    let client = kube.admin().await.expect("a client");
    let mut names = Vec::new();
    for (number, mut manifest) in manifests::all().into_iter().enumerate() {
        let kind = Kind::of(&manifest);
        let name = format!("{namespace}-{number}");
        manifest["metadata"]["name"] = json!(name);
        offer(&client, http::Method::POST, &kind.path(&namespace), &manifest).await.expect("a complete manifest");
        names.push(format!("{}.muster.dev/{name}", kind.name.to_lowercase()));
    }
    let listed = published(async || kube.kubectl(&["get", "muster", "-n", &namespace, "-o", "name"]).await).await;
    for name in &names {
        assert!(listed.lines().any(|line| line == name), "{name} is not in {listed}");
    }
    for crd in muster::kinds::crds() {
        for short in crd.spec.names.short_names.unwrap_or_default() {
            let table = kube.kubectl(&["get", &short, "-n", &namespace]).await.expect("a table");
            let header: Vec<_> = table.lines().next().expect("a header").split_whitespace().collect();
            for column in ["NAME", "READY", "REASON", "SUSPEND", "AGE"] {
                assert!(header.contains(&column), "{short}: {table}");
            }
        }
    }
    for name in names.iter().filter(|name| name.starts_with("awsaccount")) {
        kube.kubectl(&["delete", name]).await.expect("a deletion");
    }
}

#[tokio::test]
async fn a_fleet_scales_like_a_deployment() {
    let kube = installed().await;
    let namespace = kube.namespace().await.expect("a namespace");
    let mut fleet = manifests::first("WorkerFleet");
    fleet["metadata"]["name"] = json!("web");
    published(async || kube.kubectl_with_input(&["apply", "-n", &namespace, "-f", "-"], &fleet.to_string()).await)
        .await;
    published(async || kube.kubectl(&["scale", "wf", "web", "-n", &namespace, "--replicas=7"]).await).await;
    let stored = kube.kubectl(&["get", "wf", "web", "-n", &namespace, "-o", "json"]).await.expect("a fleet");
    let stored: Value = serde_json::from_str(&stored).expect("JSON");
    assert_eq!(stored["spec"]["replicas"], 7);
}
