//! Every setting of a worker template, from the API server to EC2.

mod forged_revision;
mod image;
mod launch_template;
mod placement;
mod used_grants;

use muster::crd::worker_fleet::{WorkerFleet, WorkerFleetStatus};
use muster_sandbox::{Call, CallQuery};
use serde_json::{Value, json};

use crate::support::{
    fleet::{self, status},
    scene::{Scene, condition},
};

/// A fleet of `replicas`, with `fields` in place of the fields of the same name in the template; null removes a field.
fn spec(scene: &Scene, replicas: u32, fields: &Value) -> Value {
    let mut spec = fleet::spec(scene, replicas, json!({}));
    let template = spec["template"].as_object_mut().unwrap();
    template.extend(fields.as_object().unwrap().clone());
    template.retain(|_, value| !value.is_null());
    spec
}

fn condition_of(fleet: &WorkerFleet, type_: &str) -> (String, String, String) {
    condition(&status(fleet).common.conditions, type_).unwrap_or_default()
}

/// Waits until a condition is False for `reason`, and returns its message.
async fn wait_false(scene: &Scene, name: &str, type_: &'static str, reason: &'static str) -> String {
    let is = move |fleet: &WorkerFleet| {
        let (truth, why, _) = condition_of(fleet, type_);
        truth == "False" && why == reason
    };
    condition_of(&scene.wait(name, &format!("{type_} is False: {reason}"), is).await, type_).2
}

fn image(status: &WorkerFleetStatus) -> (String, Option<String>, bool) {
    let ami = status.workers.ami.clone().unwrap();
    (ami.id.to_string(), ami.name, ami.deprecated)
}

fn launches(scene: &Scene) -> Vec<Call> {
    scene.sandbox.calls(&CallQuery::operation("ec2", "RunInstances"))
}

/// Waits until `operation` has been called once more.
async fn wait_for_call(scene: &Scene, operation: &str) {
    let last = scene.sandbox.calls(&CallQuery::default()).last().map_or(0, |call| call.number);
    let query = CallQuery { after: Some(last), ..CallQuery::operation("ec2", operation) };
    let asked = scene.sandbox.wait_for_calls(&query, |calls| !calls.is_empty());
    tokio::time::timeout(crate::support::scene::PATIENCE, asked).await.expect("another call");
}
