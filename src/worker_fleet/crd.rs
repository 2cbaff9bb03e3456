//! The WorkerFleet resource.

mod status;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

pub use self::status::{RoleStatus, WorkerFleetStatus, WorkerSummary};
use super::cpu::Metrics;
pub use crate::workers::health::ReadinessCheck;
use crate::{
    fields::AwsRef,
    workers::{
        parameters::{Parameter, Parameters},
        template::{UserData, WorkerTemplate},
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
    printcolumn(name = "AMI", type_ = "string", json_path = ".status.ami.id", priority = 1),
    printcolumn(name = "Suspend", type_ = "boolean", json_path = ".spec.suspend"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("size(self.metadata.name) <= 63").message("metadata.name must be at most 63 characters")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!has(self.scaleDownPolicy) || self.scaleDownPolicy != 'LowestCpu' || has(self.metrics)",
        "fieldPath": ".scaleDownPolicy",
        "message": "scaleDownPolicy LowestCpu needs to know how busy the workers are: add metrics: {cpu: {period: 5m}}",
    },
    {
        "rule": "has(self.parameters) || !has(self.roles) || self.roles.all(r, !has(r.parameters) || size(r.parameters) == 0)",
        "message": "parameters of a role need spec.parameters, whose store says where they are kept",
    },
]))]
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
    /// What each worker is launched with. A change replaces the running workers step by step, as `update`
    /// says.
    pub template: WorkerTemplate,
    /// Values that every worker reads at boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Parameters>,
    /// Further groups of workers beside the main one that `replicas` counts, each with its own number and with overrides of
    /// the template.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub roles: Vec<RoleSpec>,
    /// How running workers are replaced when the template changes, as a Deployment does it.
    #[serde(default)]
    pub update: Update,
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
    /// How many lost or failed workers are replaced within an hour at most. The first fill, scaling up and rolling updates
    /// do not count. The greater of 100 and twice the number of workers when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000))]
    pub max_replacements_per_hour: Option<i32>,
    /// When more workers than this are unhealthy at once, a number or a share like `20%` (rounded up), none of them is
    /// replaced: then the world is broken, not the workers. `20%` when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "share_schema")]
    pub max_unhealthy: Option<IntOrString>,
    /// Machines that were launched by other means and are taken over as workers of the main group, as they are: later
    /// changes of the template replace them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt: Option<Adopt>,
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

fn share_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "x-kubernetes-validations": [{
            "rule": "type(self) == int ? self >= 0 && self <= 10000 : self.matches('^(100|[1-9]?[0-9])%$')",
            "message": "write a number of workers from 0 to 10000, or a share from 0% to 100%",
        }],
    })
}

/// A group of workers beside the main one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleSpec {
    /// The name of the group, which its workers carry as the tag `muster.dev:role`.
    #[schemars(length(min = 1, max = 63), extend("x-kubernetes-validations" = [
        {
            "rule": "self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",
            "message": "write the name of a role with lower-case letters, digits and '-'",
        },
        {
            "rule": "self != 'main'",
            "message": "main is the group that spec.replicas counts: give this role another name",
        },
    ]))]
    pub name: String,
    /// How many workers this group shall have.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 10_000))]
    pub replicas: i32,
    /// What these workers run at their first boot, in place of the template's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<UserData>,
    /// The instance types of these workers, in place of the template's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 20),
        inner(length(min = 3, max = 64), pattern(r"^[a-z0-9-]+\.[a-z0-9-]+$")),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub instance_types: Vec<String>,
    /// Parameters of these workers, in place of those of the same name in `spec.parameters.values` or beside them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
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
    /// How many workers more than wanted there may be during an update, a number or a share of them like `25%` (rounded
    /// up). `25%` when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "share_schema")]
    pub max_surge: Option<IntOrString>,
    /// How many workers fewer than wanted may be available during an update, a number or a share of them like `25%`
    /// (rounded down). 0 when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "share_schema")]
    pub max_unavailable: Option<IntOrString>,
    /// For how many seconds a worker must be ready before it counts as available.
    #[serde(default)]
    #[schemars(range(min = 0, max = 86_400))]
    pub min_ready_seconds: i32,
    /// After so many seconds without progress the update is told to have failed. It goes on all the same.
    #[serde(default = "progress_deadline")]
    #[schemars(range(min = 1, max = 86_400))]
    pub progress_deadline_seconds: i32,
}

impl Default for Update {
    fn default() -> Self {
        Self {
            max_surge: None,
            max_unavailable: None,
            min_ready_seconds: 0,
            progress_deadline_seconds: progress_deadline(),
        }
    }
}

fn progress_deadline() -> i32 {
    1800
}

/// Machines to take over.
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

fn five() -> i32 {
    5
}

/// When a worker counts as ready.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "(has(self.check) && self.check == 'Report') == has(self.reportRef)",
    "message": "check: Report needs a reportRef that names the FleetReport to read, and only that",
}]))]
pub struct Readiness {
    /// `Running`: EC2 says that it runs. `StatusChecks`: EC2's system and instance status checks passed, too. `Report`: a
    /// fresh report of it is in the FleetReport that `reportRef` names.
    #[serde(default)]
    pub check: ReadinessCheck,
    /// The FleetReport of this namespace that collects what the workers report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_ref: Option<ReportRef>,
    /// A worker that has not become ready after this time is replaced. Counted from when muster first sees it. `15m` when
    /// not given.
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
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
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
