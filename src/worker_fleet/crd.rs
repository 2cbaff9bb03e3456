//! The WorkerFleet resource.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cpu::{CpuStatus, Metrics};
use crate::{
    fields::{AwsRef, AwsStatus, CommonStatus},
    ids::InstanceId,
    workers::{
        launch::{LaunchIntent, Termination},
        parameters::{Parameters, ParametersRecord},
        template::WorkerTemplate,
    },
};

/// Keeps a number of EC2 workers running.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "muster.dev",
    version = "v1alpha1",
    kind = "WorkerFleet",
    namespaced,
    shortname = "wf",
    category = "muster",
    status = "WorkerFleetStatus",
    doc = "Keeps a number of EC2 workers running, as a Deployment does for Pods.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(name = "Ready-Workers", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Up-To-Date", type_ = "integer", json_path = ".status.updatedReplicas"),
    printcolumn(name = "Cpu", type_ = "integer", json_path = ".status.cpu.averagePercent"),
    printcolumn(name = "Suspend", type_ = "boolean", json_path = ".spec.suspend"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("size(self.metadata.name) <= 63").message("metadata.name must be at most 63 characters")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.scaleDownPolicy) || self.scaleDownPolicy != 'LowestCpu' || has(self.metrics)",
    "fieldPath": ".scaleDownPolicy",
    "message": "scaleDownPolicy LowestCpu needs to know how busy the workers are: add metrics: {cpu: {period: 5m}}",
}]))]
pub struct WorkerFleetSpec {
    /// How many workers there shall be.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 10_000))]
    pub replicas: i32,
    /// Change nothing in AWS while this is true. The status goes on, and deletion still works.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
    /// Where in AWS the workers are.
    #[schemars(extend("x-kubernetes-validations" = [{
        "rule": "self == oldSelf",
        "message": "aws cannot change: make a new WorkerFleet with another name, and delete this one",
    }]))]
    pub aws: AwsRef,
    /// What each worker is launched with. A change holds for launches from then on; running workers stay as they are.
    pub template: WorkerTemplate,
    /// Values that every worker reads at boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Parameters>,
    /// When a worker counts as ready.
    #[serde(default)]
    pub readiness: Readiness,
    /// Which workers end first when there are too many: `Oldest`, `Newest`, or the one with the `LowestCpu`, which needs
    /// `metrics.cpu`; workers whose CPU is not known go last, then, and the oldest of them first. Those that are not ready
    /// go before all.
    #[serde(default)]
    pub scale_down_policy: ScaleDownPolicy,
    /// What is done about a worker that somebody stopped: `Replace` ends it and launches another; `Ignore` leaves it, and
    /// it goes on counting as one of the workers.
    #[serde(default)]
    pub on_stopped: OnStopped,
    /// What is measured of the workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    /// What becomes of the workers when this object is deleted: `Terminate` or `Retain`.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// How many revisions that no worker runs any more are kept for reference.
    #[serde(default = "five")]
    #[schemars(range(min = 0, max = 100))]
    pub revision_history_limit: i32,
}

fn one() -> i32 {
    1
}

fn five() -> i32 {
    5
}

/// When a worker counts as ready.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Readiness {
    /// `Running`: EC2 says that it runs. `StatusChecks`: EC2's system and instance status checks passed, too.
    #[serde(default)]
    pub check: ReadinessCheck,
}

/// What tells that a worker is ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReadinessCheck {
    #[default]
    Running,
    StatusChecks,
}

/// Which workers end first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ScaleDownPolicy {
    #[default]
    Oldest,
    Newest,
    LowestCpu,
}

/// What is done about stopped workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnStopped {
    #[default]
    Replace,
    Ignore,
}

/// What becomes of the workers when their fleet is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    #[default]
    Terminate,
    Retain,
}

/// What is so.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerFleetStatus {
    #[serde(flatten)]
    pub common: CommonStatus,
    /// The AWS account and region that the first call went to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsStatus>,
    /// How many workers there are, with those that are on their way.
    #[serde(default)]
    pub replicas: i32,
    /// How many workers are ready.
    #[serde(default)]
    pub ready_replicas: i32,
    /// How many workers are of the newest revision.
    #[serde(default)]
    pub updated_replicas: i32,
    /// How many workers can be counted on: those that are ready.
    #[serde(default)]
    pub available_replicas: i32,
    /// How many workers there shall be.
    #[serde(default)]
    pub desired_replicas: i32,
    /// Finds the workers of this fleet, for the scale subresource.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub selector: String,
    /// Launches whose outcome is not certain yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 256),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["token"])
    )]
    pub launches: Vec<LaunchIntent>,
    /// Workers that were chosen to end and are not seen to have ended yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "atomic"))]
    pub terminations: Vec<Termination>,
    /// Instances of an earlier fleet of the same name that were taken over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        with = "Vec<String>",
        length(max = 1000),
        inner(length(max = 19)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub adopted: Vec<InstanceId>,
    /// The revision that most workers run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub current_revision: Option<String>,
    /// The revision that new workers are launched with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub update_revision: Option<String>,
    #[serde(flatten)]
    pub parameters: ParametersRecord,
    /// How busy the workers are. Absent when nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuStatus>,
    /// Some of the workers, those that are not ready first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub instances: Vec<WorkerSummary>,
    /// How many workers there are to list.
    #[serde(default)]
    pub instances_total: i32,
    /// True when `instances` shows only some of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub instances_truncated: bool,
}

impl AsMut<CommonStatus> for WorkerFleetStatus {
    fn as_mut(&mut self) -> &mut CommonStatus {
        &mut self.common
    }
}

impl AsRef<ParametersRecord> for WorkerFleetStatus {
    fn as_ref(&self) -> &ParametersRecord {
        &self.parameters
    }
}

impl AsMut<ParametersRecord> for WorkerFleetStatus {
    fn as_mut(&mut self) -> &mut ParametersRecord {
        &mut self.parameters
    }
}

impl AsMut<Option<AwsStatus>> for WorkerFleetStatus {
    fn as_mut(&mut self) -> &mut Option<AwsStatus> {
        &mut self.aws
    }
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerSummary {
    /// The instance id.
    #[schemars(with = "String", length(max = 19))]
    pub id: InstanceId,
    /// The state, as EC2 names it.
    #[schemars(length(max = 32))]
    pub state: String,
    /// Whether it counts as ready.
    pub ready: bool,
    /// The availability zone.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub zone: String,
    /// The instance type.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub instance_type: String,
    /// The revision that it was launched with.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub revision: String,
    /// When it was launched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launched_at: Option<Time>,
    /// How busy it is. Absent when that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub cpu_percent: Option<i32>,
}
