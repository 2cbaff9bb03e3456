//! Custom resources, read through the API server as JSON.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject},
    core::GroupVersionKind,
    runtime::wait::await_condition,
};
use serde_json::Value;

/// One custom resource of muster.
#[derive(Debug, Clone)]
pub struct Object {
    api: Api<DynamicObject>,
    kind: &'static str,
    name: String,
}

impl Object {
    /// An object of a namespaced kind.
    pub fn namespaced(client: Client, kind: &'static str, namespace: &str, name: &str) -> Self {
        Self { api: Api::namespaced_with(client, namespace, &resource(kind)), kind, name: name.to_owned() }
    }

    /// An object of a cluster-wide kind.
    pub fn cluster_wide(client: Client, kind: &'static str, name: &str) -> Self {
        Self { api: Api::all_with(client, &resource(kind)), kind, name: name.to_owned() }
    }

    /// Its status, `null` before there is one.
    pub async fn status(&self) -> Result<Value> {
        let object = self.api.get(&self.name).await.with_context(|| format!("cannot read {self}"))?;
        Ok(object.data.get("status").cloned().unwrap_or_default())
    }

    /// Watches it until `done` returns true, and returns the status. An error shows the conditions of the object.
    pub async fn wait(&self, within: Duration, done: impl Fn(&Value) -> bool) -> Result<Value> {
        let status = |object: &DynamicObject| object.data.get("status").cloned().unwrap_or_default();
        let is_done = |object: Option<&DynamicObject>| object.is_some_and(|object| done(&status(object)));
        match tokio::time::timeout(within, await_condition(self.api.clone(), &self.name, is_done)).await {
            Ok(object) => {
                Ok(object.with_context(|| format!("cannot watch {self}"))?.as_ref().map(status).unwrap_or_default())
            }
            Err(_) => {
                bail!(
                    "{self} did not reach the expected status in {within:?}; its conditions:\n{}",
                    conditions(&self.status().await?)
                )
            }
        }
    }
}

impl std::fmt::Display for Object {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} {}", self.kind, self.name)
    }
}

/// Whether a condition of that type is True.
pub fn is(status: &Value, condition: &str) -> bool {
    status["conditions"]
        .as_array()
        .is_some_and(|all| all.iter().any(|one| one["type"] == condition && one["status"] == "True"))
}

fn conditions(status: &Value) -> String {
    let lines: Vec<String> = status["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| {
            let text = |field: &str| one[field].as_str().unwrap_or_default().to_owned();
            format!("  {}={} {}: {}", text("type"), text("status"), text("reason"), text("message"))
        })
        .collect();
    if lines.is_empty() { "  none yet".to_owned() } else { lines.join("\n") }
}

pub(crate) fn resource(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("muster.dev", "v1alpha1", kind))
}
