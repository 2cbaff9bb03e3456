//! What a WorkerFleet tells and keeps on record.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    fields::CommonStatus,
    ids::InstanceId,
    worker_fleet::cpu::CpuStatus,
    workers::{
        ledger::{Provisioned, Replacements},
        roster::Known,
        status::WorkersStatus,
    },
};

/// What is so.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerFleetStatus {
    #[serde(flatten)]
    pub common: CommonStatus,
    #[serde(flatten)]
    pub workers: WorkersStatus,
    /// How many workers there are, with those that are on their way.
    #[serde(default)]
    pub replicas: i32,
    /// How many workers are ready.
    #[serde(default)]
    pub ready_replicas: i32,
    /// How many workers are of the newest revision.
    #[serde(default)]
    pub updated_replicas: i32,
    /// How many workers can be counted on: those that have been ready for `minReadySeconds`.
    #[serde(default)]
    pub available_replicas: i32,
    /// How many workers there shall be.
    #[serde(default)]
    pub desired_replicas: i32,
    /// Finds the workers of this fleet, for the scale subresource.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub selector: String,
    /// Instances that were taken over: of an earlier fleet of the same name, or named in `spec.adopt`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        with = "Vec<String>",
        length(max = 1000),
        inner(length(max = 19)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub adopted: Vec<InstanceId>,
    /// How many workers each group had been filled up to. A launch that only comes up to this again is a replacement.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["role"])
    )]
    pub provisioned: Vec<Provisioned>,
    /// How many workers were replaced, counted in spans of ten minutes, for the last hour.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub replacements: Vec<Replacements>,
    /// The groups beside the main one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub roles: Vec<RoleStatus>,
    /// The revision that most workers run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub current_revision: Option<String>,
    /// The revision that new workers are launched with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub update_revision: Option<String>,
    /// How busy the workers are. Absent when nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuStatus>,
    /// Some of the workers, those that are not ready first.
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

/// How a group beside the main one is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleStatus {
    /// The name of the group.
    #[schemars(length(max = 63))]
    pub name: String,
    /// How many workers there are, with those that are on their way.
    pub replicas: i32,
    /// How many workers are ready.
    pub ready_replicas: i32,
    /// How many workers are up to date.
    pub updated_replicas: i32,
    /// How many workers can be counted on.
    pub available_replicas: i32,
    /// How many workers there shall be.
    pub desired_replicas: i32,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerSummary {
    /// The instance id.
    #[schemars(with = "String", length(max = 19))]
    pub id: InstanceId,
    /// The group that it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 63))]
    pub role: String,
    /// The state, as EC2 names it; `unknown` while EC2 does not show it.
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
    /// Why it is not as it should be.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub reason: String,
    /// When it last became ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<Time>,
    /// When it was launched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launched_at: Option<Time>,
    /// How busy it is. Absent when that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub cpu_percent: Option<i32>,
}

impl WorkerSummary {
    /// Of one that nothing else is known of.
    pub fn of(id: &InstanceId, known: &Known) -> Self {
        Self {
            id: id.clone(),
            role: known.role.to_string(),
            state: String::new(),
            ready: false,
            zone: String::new(),
            instance_type: String::new(),
            revision: known.revision.clone(),
            reason: String::new(),
            ready_at: None,
            launched_at: None,
            cpu_percent: None,
        }
    }
}
