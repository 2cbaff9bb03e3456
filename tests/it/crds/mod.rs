//! The CustomResourceDefinitions on a real API server: it accepts them, rejects invalid objects with helpful messages, and
//! explains every field.

mod bounds;
mod documentation;
mod kubectl;
mod manifests;
mod rules;
mod stored_before;

use std::{fs, path::Path, sync::LazyLock};

use http::{Request, StatusCode};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use kube::Client;
use muster_world::KubeApi;
use serde_json::Value;

use crate::support::scene::install_crds;

/// The shared API server with every CRD of muster established.
async fn installed() -> &'static KubeApi {
    let kube = KubeApi::shared().await;
    install_crds(&kube.admin().await.expect("a client")).await;
    kube
}

/// A kind: its schema, and the path of its objects.
struct Kind {
    name: String,
    plural: String,
    namespaced: bool,
    schema: JSONSchemaProps,
}

fn kinds() -> &'static [Kind] {
    static KINDS: LazyLock<Vec<Kind>> = LazyLock::new(|| {
        let kinds = muster::kinds::crds().into_iter().map(|crd| Kind {
            name: crd.spec.names.kind,
            plural: crd.spec.names.plural,
            namespaced: crd.spec.scope == "Namespaced",
            schema: crd.spec.versions[0].schema.clone().and_then(|s| s.open_api_v3_schema).expect("a schema"),
        });
        kinds.collect()
    });
    &KINDS
}

impl Kind {
    fn path(&self, namespace: &str) -> String {
        let namespace = if self.namespaced { format!("/namespaces/{namespace}") } else { String::new() };
        format!("/apis/muster.dev/v1alpha1{namespace}/{}", self.plural)
    }

    fn of(manifest: &Value) -> &'static Self {
        let name = manifest["kind"].as_str().expect("a kind");
        kinds().iter().find(|kind| kind.name == name).unwrap_or_else(|| panic!("there is no kind {name}"))
    }
}

/// Sends a manifest to the API server, and returns its error message if it rejects it.
async fn offer(client: &Client, method: http::Method, path: &str, manifest: &Value) -> Result<Value, String> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(serde_json::to_vec(manifest).expect("JSON"))
        .expect("a request");
    match client.request::<Value>(request).await {
        Ok(answer) => Ok(answer),
        Err(kube::Error::Api(status)) if status.code == StatusCode::INTERNAL_SERVER_ERROR.as_u16() => {
            panic!("the API server failed: {status:?}")
        }
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(error) => panic!("{path}: {error}"),
    }
}

/// Creates an object as a dry run.
async fn offer_new(client: &Client, namespace: &str, manifest: &Value) -> Result<Value, String> {
    let path = format!("{}?dryRun=All&fieldValidation=Strict", Kind::of(manifest).path(namespace));
    offer(client, http::Method::POST, &path, manifest).await
}

#[test]
fn the_generated_files_match_the_types() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifests = muster::crd::schema::render(&muster::kinds::crds()).expect("YAML");
    let pages = muster::crd::schema::reference(&muster::kinds::crds()).expect("Markdown");
    for (folder, rendered) in
        [("crds", &manifests), ("charts/muster/files/crds", &manifests), ("docs/reference", &pages)]
    {
        for (name, text) in rendered {
            let stored = fs::read_to_string(root.join(folder).join(name)).unwrap_or_default();
            assert!(stored == *text, "{folder}/{name} is not what the Rust types say: run `make generate`");
        }
        let mut stored: Vec<_> = fs::read_dir(root.join(folder))
            .expect(folder)
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
            .collect();
        stored.sort();
        let names: Vec<_> = rendered.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(stored, names, "{folder} has a file too many: remove it");
    }
}

#[tokio::test]
async fn whole_manifests_are_accepted() {
    let kube = installed().await;
    let client = kube.admin().await.expect("a client");
    let namespace = kube.namespace().await.expect("a namespace");
    for manifest in manifests::all() {
        if let Err(refusal) = offer_new(&client, &namespace, &manifest).await {
            panic!("{manifest:#} is refused: {refusal}");
        }
    }
}

#[tokio::test]
async fn every_example_is_accepted() {
    let kube = installed().await;
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut folders: Vec<_> = fs::read_dir(&examples)
        .expect("examples/")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    assert!(!folders.is_empty(), "there is no example");
    for folder in folders {
        for namespace in namespaces(&folder) {
            // A dry run creates no namespace for the objects after it.
            kube.kubectl_with_input(&["apply", "-f", "-"], &namespace.to_string()).await.expect("a namespace");
        }
        let folder = folder.to_str().expect("a path");
        let applied = kube.kubectl(&["apply", "--dry-run=server", "--recursive", "-f", folder]).await;
        assert!(applied.is_ok(), "{folder}: {:#}", applied.unwrap_err());
    }
}

/// The namespaces in the manifests of an example.
fn namespaces(folder: &Path) -> Vec<Value> {
    let files = fs::read_dir(folder).expect("an example").map(|entry| entry.expect("an entry").path());
    let manifests = files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    let texts = manifests.map(|path| fs::read_to_string(path).expect("a manifest"));
    let documents = texts.flat_map(|text| serde_yaml::from_multiple::<Value>(&text).expect("YAML"));
    documents.filter(|document| document["kind"] == "Namespace").collect()
}
