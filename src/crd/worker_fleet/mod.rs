//! The WorkerFleet resource.

mod cpu;
mod status;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

pub use crate::crd::worker_fleet::{
    cpu::{CpuMetrics, CpuStatus, Metrics},
    status::{RoleStatus, WorkerFleetStatus, WorkerSummary},
};
use crate::crd::{
    fields::{AwsRef, number},
    parameters::{Parameter, Parameters},
    template::{UserData, WorkerTemplate},
};

/// Keeps a number of EC2 workers running, as a Deployment does for Pods.
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
    printcolumn(name = "Desired", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(name = "Ready-Workers", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Up-To-Date", type_ = "integer", json_path = ".status.updatedReplicas"),
    printcolumn(name = "Cpu", type_ = "integer", json_path = ".status.cpu.averagePercent"),
    printcolumn(name = "AMI", type_ = "string", json_path = ".status.ami.id", priority = 1),
    validation = Rule::new("size(self.metadata.name) <= 63").message("metadata.name must be at most 63 characters")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!has(self.scaleDownPolicy) || self.scaleDownPolicy != 'LowestCpu' || has(self.metrics)",
        "fieldPath": ".scaleDownPolicy",
        "message": "scaleDownPolicy LowestCpu needs CPU metrics: add metrics: {cpu: {period: 5m}}",
    },
    {
        "rule": "has(self.parameters) || !has(self.roles) || self.roles.all(r, !has(r.parameters) || size(r.parameters) == 0)",
        "message": "parameters of a role need spec.parameters, which defines the store",
    },
]))]
pub struct WorkerFleetSpec {
    /// The desired number of workers of the role `main`.
    #[serde(default = "number::<1>")]
    #[schemars(range(min = 0, max = 10_000))]
    pub replicas: i32,
    /// While this is true, muster changes nothing in AWS. The status is still updated, and deletion still works.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
    /// The region and the AwsAccount of the workers.
    #[schemars(extend("x-kubernetes-validations" = [{
        "rule": "self == oldSelf",
        "message": "aws cannot change: create a new WorkerFleet with another name, and delete this one",
    }]))]
    pub aws: AwsRef,
    /// The template of the workers. A change replaces the running workers by a rolling update; see `update`.
    pub template: WorkerTemplate,
    /// Values that every worker reads at boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Parameters>,
    /// Roles of workers in addition to `main`, which `replicas` counts. Each role has its own number of workers and can
    /// override parts of the template.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub roles: Vec<RoleSpec>,
    /// How running workers are replaced when the template changes.
    #[serde(default)]
    pub update: Update,
    /// When a worker counts as ready.
    #[serde(default)]
    pub readiness: Readiness,
    /// Which workers are terminated first when there are too many: `Oldest`, `Newest` or `LowestCpu`. Workers that are
    /// not ready are always first. `LowestCpu` needs `metrics.cpu`; workers whose CPU is not known are last, the oldest
    /// of them first.
    #[serde(default)]
    pub scale_down_policy: ScaleDownPolicy,
    /// What happens to a stopped worker: `Replace` terminates it and launches another; `Ignore` keeps it, and it still
    /// counts as a worker.
    #[serde(default)]
    pub on_stopped: OnStopped,
    /// Which metrics of the workers are collected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    /// The maximum number of lost or failed workers that are replaced within an hour. The first launches, scaling up
    /// and rolling updates do not count. Default: the greater of 100 and twice the number of workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000))]
    pub max_replacements_per_hour: Option<i32>,
    /// When more workers than this are unhealthy at the same time, none of them is replaced, because the cause is
    /// probably not the workers. A number, or a percentage like `20%` (rounded up). Default: `20%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "share_schema")]
    pub max_unhealthy: Option<IntOrString>,
    /// Instances that were launched by other means and are adopted, unchanged, as workers of the role `main`. Later
    /// changes of the template replace them. The AwsAccount must grant them to this namespace by their tags
    /// (`targetTags`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt: Option<Adopt>,
    /// What happens to the workers when this object is deleted: `Terminate` terminates them; `Retain` keeps them
    /// running.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// How many old revisions, which no worker runs any more, are kept.
    #[serde(default = "number::<5>")]
    #[schemars(range(min = 0, max = 100))]
    pub revision_history_limit: i32,
}

fn share_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "x-kubernetes-validations": [{
            "rule": "type(self) == int ? self >= 0 && self <= 10000 : self.matches('^(100|[1-9]?[0-9])%$')",
            "message": "write a number of workers from 0 to 10000, or a percentage from 0% to 100%",
        }],
    })
}

/// A role of workers in addition to `main`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleSpec {
    /// The name of the role, which is the value of the tag `muster.dev:role` of its workers.
    #[schemars(length(min = 1, max = 63), extend("x-kubernetes-validations" = [
        {
            "rule": "self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",
            "message": "write the name of a role with lower-case letters, digits and '-'",
        },
        {
            "rule": "self != 'main'",
            "message": "main is the role that spec.replicas counts: give this role another name",
        },
    ]))]
    pub name: String,
    /// The desired number of workers of this role.
    #[serde(default = "number::<1>")]
    #[schemars(range(min = 0, max = 10_000))]
    pub replicas: i32,
    /// The user data of these workers, instead of that of the template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<UserData>,
    /// The instance types of these workers, instead of those of the template.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 20),
        inner(length(min = 3, max = 64), pattern(r"^[a-z0-9-]+\.[a-z0-9-]+$")),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub instance_types: Vec<String>,
    /// Parameters of these workers, in addition to `spec.parameters.values`. A parameter with the same name overrides
    /// it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub parameters: Vec<Parameter>,
}

/// How running workers are replaced when the template changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!(has(self.maxSurge) && has(self.maxUnavailable) && string(self.maxSurge) in ['0', '0%'] \
             && string(self.maxUnavailable) in ['0', '0%'])",
    "message": "maxSurge and maxUnavailable cannot both be 0: no worker could ever be replaced",
}]))]
pub struct Update {
    /// How many workers above the desired number may exist during an update. A number, or a percentage of the desired
    /// number like `25%` (rounded up). Default: `25%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "share_schema")]
    pub max_surge: Option<IntOrString>,
    /// How many workers below the desired number may be available during an update. A number, or a percentage of the
    /// desired number like `25%` (rounded down). Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "share_schema")]
    pub max_unavailable: Option<IntOrString>,
    /// Seconds that a worker must be ready before it counts as available.
    #[serde(default)]
    #[schemars(range(min = 0, max = 86_400))]
    pub min_ready_seconds: i32,
    /// Seconds without progress after which the condition Progressing reports that the update has failed. The update
    /// goes on.
    #[serde(default = "number::<1800>")]
    #[schemars(range(min = 1, max = 86_400))]
    pub progress_deadline_seconds: i32,
}

impl Default for Update {
    fn default() -> Self {
        Self { max_surge: None, max_unavailable: None, min_ready_seconds: 0, progress_deadline_seconds: 1800 }
    }
}

/// The instances to adopt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Adopt {
    /// The ids of the instances.
    #[serde(rename = "instanceIDs")]
    #[schemars(
        length(min = 1, max = 1000),
        inner(length(max = 19)),
        extend("x-kubernetes-list-type" = "set", "x-kubernetes-validations" = [{
            "rule": "self.all(i, i.matches('^i-([0-9a-f]{8}|[0-9a-f]{17})$'))",
            "message": "write ids of instances, like i-0123456789abcdef0",
        }])
    )]
    pub instance_ids: Vec<String>,
}

/// When a worker counts as ready.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "(has(self.check) && self.check == 'Report') == has(self.reportRef)",
    "message": "set reportRef, the name of the FleetReport to read, if check is Report, and only then",
}]))]
pub struct Readiness {
    /// What makes a worker ready. `Running`: it is in the state `running`. `StatusChecks`: the system and instance
    /// status checks of EC2 passed too. `Report`: the FleetReport that `reportRef` names has a fresh report of it.
    #[serde(default)]
    pub check: ReadinessCheck,
    /// The FleetReport in this namespace that collects the reports of the workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_ref: Option<ReportRef>,
    /// A worker that is not ready after this time is replaced. The time starts when muster first sees the worker.
    /// Default: `15m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), pattern(r"^([0-9]+(h|m|s|ms))+$"), extend("x-kubernetes-validations" = [{
        "rule": "duration(self) >= duration('1s')",
        "message": "startupDeadline must be at least 1s, for example 15m",
    }]))]
    pub startup_deadline: Option<String>,
}

/// The name of a FleetReport.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportRef {
    /// The name of the FleetReport.
    #[schemars(
        length(min = 1, max = 253),
        pattern(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub name: String,
}

/// Which workers are terminated first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ScaleDownPolicy {
    #[default]
    Oldest,
    Newest,
    LowestCpu,
}

/// What happens to stopped workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnStopped {
    #[default]
    Replace,
    Ignore,
}

/// What happens to the workers when their fleet is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    #[default]
    Terminate,
    Retain,
}

/// What makes a worker ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReadinessCheck {
    #[default]
    Running,
    StatusChecks,
    Report,
}
