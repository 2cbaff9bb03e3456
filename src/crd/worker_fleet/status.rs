//! The status of a WorkerFleet.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    crd::{
        fields::CommonStatus,
        launches::{Adopted, Provisioned, Replacements},
        worker_fleet::cpu::CpuStatus,
        workers_status::WorkersStatus,
    },
    ids::InstanceId,
};

/// The observed state of a WorkerFleet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerFleetStatus {
    #[serde(flatten)]
    pub common: CommonStatus,
    #[serde(flatten)]
    pub workers: WorkersStatus,
    /// The number of workers of all roles, including those being launched.
    #[serde(default)]
    pub replicas: i32,
    /// The number of ready workers.
    #[serde(default)]
    pub ready_replicas: i32,
    /// The number of workers of the newest revision.
    #[serde(default)]
    pub updated_replicas: i32,
    /// The number of workers that have been ready for `minReadySeconds`.
    #[serde(default)]
    pub available_replicas: i32,
    /// The desired number of workers of all roles.
    #[serde(default)]
    pub desired_replicas: i32,
    /// The label selector of the scale subresource.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub selector: String,
    /// The adopted instances: those of an earlier fleet of the same name, and those in `spec.adopt`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub adopted: Vec<Adopted>,
    /// The largest number of workers that each role has reached. A launch up to this number counts as a replacement.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["role"]))]
    pub provisioned: Vec<Provisioned>,
    /// The number of workers that were replaced in the last hour, in spans of ten minutes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub replacements: Vec<Replacements>,
    /// The roles other than `main`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub roles: Vec<RoleStatus>,
    /// The revision that most workers run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub current_revision: Option<String>,
    /// The revision of new workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub update_revision: Option<String>,
    /// The CPU utilization of the workers. Absent if it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuStatus>,
    /// Up to 50 workers, those that are not ready first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub instances: Vec<WorkerSummary>,
}

impl AsMut<CommonStatus> for WorkerFleetStatus {
    fn as_mut(&mut self) -> &mut CommonStatus {
        &mut self.common
    }
}

impl AsRef<WorkersStatus> for WorkerFleetStatus {
    fn as_ref(&self) -> &WorkersStatus {
        &self.workers
    }
}

impl AsMut<WorkersStatus> for WorkerFleetStatus {
    fn as_mut(&mut self) -> &mut WorkersStatus {
        &mut self.workers
    }
}

/// The observed state of a role other than `main`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleStatus {
    /// The name of the role.
    #[schemars(length(max = 63))]
    pub name: String,
    /// The number of workers, including those being launched.
    pub replicas: i32,
    /// The number of ready workers.
    pub ready_replicas: i32,
    /// The number of workers of the newest revision.
    pub updated_replicas: i32,
    /// The number of workers that have been ready for `minReadySeconds`.
    pub available_replicas: i32,
    /// The desired number of workers.
    pub desired_replicas: i32,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerSummary {
    /// The instance id.
    #[schemars(with = "String", length(max = 19))]
    pub id: InstanceId,
    /// The role of the worker.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 63))]
    pub role: String,
    /// The instance state of EC2; `unknown` while the instance is missing from DescribeInstances.
    #[schemars(length(max = 32))]
    pub state: String,
    /// Whether the worker is ready.
    pub ready: bool,
    /// The availability zone.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub zone: String,
    /// The instance type.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub instance_type: String,
    /// The revision that the worker was launched with.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub revision: String,
    /// Why the worker is unhealthy. Absent if it is healthy.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub reason: String,
    /// When the worker last became ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<Time>,
    /// When the worker was launched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launched_at: Option<Time>,
    /// The CPU utilization. Absent if it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub cpu_percent: Option<i32>,
}
