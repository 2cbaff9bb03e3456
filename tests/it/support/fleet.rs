//! Specs of fleets, and functions that read fleets from the API server and their instances from EC2.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::api::events::v1::Event;
use kube::{Api, api::ListParams};
use muster::crd::worker_fleet::{WorkerFleet, WorkerFleetStatus};
use muster_sandbox::{AMAZON_LINUX_X86_64, CallQuery, FaultAction, Instance, InstanceState, Lifecycle, Settings};
use serde_json::{Value, json};

use crate::support::scene::{self, REGION, Scene, condition};

/// A spec with `replicas` workers in the three zones of the scene. `template` is merged into the template.
pub(crate) fn spec(scene: &Scene, replicas: u32, template: Value) -> Value {
    let subnets: Vec<_> = scene.sandbox.subnets(&scene.account, REGION).into_iter().map(|subnet| subnet.id).collect();
    let mut spec = json!({
        "replicas": replicas,
        "aws": scene.aws(),
        "template": {
            "ami": {"id": AMAZON_LINUX_X86_64},
            "instanceTypes": ["m6i.large", "m5.large"],
            "subnets": {"ids": subnets},
        },
    });
    merge(&mut spec["template"], template);
    spec
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            from.into_iter().for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value));
        }
        (into, from) => *into = from,
    }
}

pub(crate) fn with(mut spec: Value, fields: Value) -> Value {
    merge(&mut spec, fields);
    spec
}

/// The instances of the account that are not shutting down or terminated.
pub(crate) fn live(scene: &Scene) -> Vec<Instance> {
    let over = [InstanceState::ShuttingDown, InstanceState::Terminated];
    let mut all = scene.sandbox.instances_of(&scene.account);
    all.retain(|instance| !over.contains(&instance.state));
    all
}

pub(crate) fn ids(instances: &[Instance]) -> BTreeSet<String> {
    instances.iter().map(|instance| instance.id.clone()).collect()
}

pub(crate) fn status(fleet: &WorkerFleet) -> WorkerFleetStatus {
    fleet.status.clone().unwrap_or_default()
}

/// The instances that are recorded for termination.
pub(crate) async fn victims(scene: &Scene, name: &str) -> BTreeSet<String> {
    let fleet = scene.api::<WorkerFleet>().get(name).await.unwrap();
    let chosen = status(&fleet).workers.terminations.into_iter().flat_map(|open| open.instance_ids);
    chosen.map(String::from).collect()
}

pub(crate) fn ready(fleet: &WorkerFleet) -> Option<(String, String, String)> {
    condition(&status(fleet).common.conditions, "Ready")
}

pub(crate) fn is(fleet: &WorkerFleet, type_: &str, truth: &str, reason: &str) -> bool {
    condition(&status(fleet).common.conditions, type_).is_some_and(|(t, r, _)| t == truth && r == reason)
}

/// The fleet matches its spec, and nothing is in progress.
pub(crate) fn settled(fleet: &WorkerFleet, replicas: i32) -> bool {
    let status = status(fleet);
    is(fleet, "Ready", "True", "AllReady")
        && status.common.observed_generation == fleet.metadata.generation
        && status.replicas == replicas
        && status.ready_replicas == replicas
        && status.updated_replicas == replicas
        && status.workers.launches.is_empty()
        && status.workers.terminations.is_empty()
}

pub(crate) async fn wait_settled(scene: &Scene, name: &str, replicas: i32) -> WorkerFleet {
    scene.wait::<WorkerFleet>(name, &format!("{replicas} workers, settled"), |fleet| settled(fleet, replicas)).await
}

pub(crate) fn launches(scene: &Scene) -> usize {
    scene.sandbox.calls(&CallQuery::operation("ec2", "RunInstances")).len()
}

pub(crate) fn terminations(scene: &Scene) -> usize {
    scene.sandbox.calls(&CallQuery::operation("ec2", "TerminateInstances")).len()
}

/// Waits for two further sweeps of the controller, and returns the operations that it called, without the verification of
/// the AwsAccount's identity, which has its own period.
pub(crate) async fn calls_at_rest(scene: &Scene) -> BTreeSet<String> {
    let last = scene.sandbox.calls(&CallQuery::default()).last().map_or(0, |call| call.number);
    let query = CallQuery { after: Some(last), ..CallQuery::default() };
    let sweeps =
        |calls: &[muster_sandbox::Call]| calls.iter().filter(|c| c.operation == "DescribeInstances").count() >= 2;
    let calls = scene.sandbox.wait_for_calls(&query, sweeps);
    let calls = tokio::time::timeout(scene::PATIENCE, calls).await.expect("two sweeps");
    calls.into_iter().map(|call| call.operation).filter(|operation| operation != "GetCallerIdentity").collect()
}

/// Lets instances start at once, so that only those that the test holds back are late.
pub(crate) fn start_at_once(scene: &Scene) {
    let at_once = Duration::from_millis(20);
    set_lifecycle(scene, Lifecycle { pending: at_once, initializing: at_once, ..Lifecycle::default() });
}

pub(crate) fn set_lifecycle(scene: &Scene, lifecycle: Lifecycle) {
    scene.sandbox.configure(&Settings { lifecycle: Some(lifecycle), throttling: None, describe_lag: None });
}

/// How long describe calls do not show a write. Shorter than the grace period of the controllers of a scene.
pub(crate) const LAG: Duration = Duration::from_millis(400);

pub(crate) fn error(code: &str) -> FaultAction {
    FaultAction::Error { code: code.into(), message: None, status: None }
}

/// A spec with one subnet, so that one call launches all workers.
pub(crate) fn one_call(scene: &Scene, replicas: u32) -> Value {
    let mut desired = spec(scene, replicas, json!({}));
    desired["template"]["subnets"]["ids"].as_array_mut().unwrap().truncate(1);
    desired
}

/// The number of instances ever launched.
pub(crate) fn ever(scene: &Scene) -> usize {
    scene.sandbox.instances_of(&scene.account).len()
}

/// The notes of all events with this reason.
pub(crate) async fn events(scene: &Scene, reason: &str) -> Vec<String> {
    let all =
        Api::<Event>::namespaced(scene.kube.clone(), &scene.namespace).list(&ListParams::default()).await.unwrap();
    let told = all.into_iter().filter(|event| event.reason.as_deref() == Some(reason));
    told.map(|event| event.note.unwrap_or_default()).collect()
}
