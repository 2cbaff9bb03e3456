//! The WorkerJob resource.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    crd::{
        fields::{AwsRef, CommonStatus, number},
        indexes::{Indexes, MAX_INDEXES},
        parameters::Parameters,
        template::WorkerTemplate,
        workers_status::WorkersStatus,
    },
    ids::InstanceId,
};

/// How many workers the status lists.
pub const MAX_LISTED: u32 = 400;
/// Four characters for each index.
const MAX_SEALED: u32 = 4 * MAX_INDEXES;
/// The most that `backoffLimitPerIndex` can be.
const MAX_BACKOFF: u32 = 100;

/// Runs each index of a job to completion on EC2 workers that shut themselves down.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "muster.dev",
    version = "v1alpha1",
    kind = "WorkerJob",
    namespaced,
    shortname = "wj",
    category = "muster",
    status = "WorkerJobStatus",
    doc = "Runs each index of a job to completion on EC2 workers that shut themselves down, as an indexed Job does on Pods.",
    printcolumn(name = "Completions", type_ = "integer", json_path = ".spec.completions"),
    printcolumn(name = "Succeeded", type_ = "integer", json_path = ".status.succeeded"),
    printcolumn(name = "Failed", type_ = "integer", json_path = ".status.failed"),
    printcolumn(name = "Duration", type_ = "string", json_path = ".status.duration"),
    printcolumn(name = "AMI", type_ = "string", json_path = ".status.ami.id", priority = 1),
    validation = Rule::new("size(self.metadata.name) <= 63").message("metadata.name must be at most 63 characters")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "self.completions == oldSelf.completions \
                 && self.backoffLimitPerIndex == oldSelf.backoffLimitPerIndex \
                 && has(self.maxFailedIndexes) == has(oldSelf.maxFailedIndexes) \
                 && (!has(self.maxFailedIndexes) || self.maxFailedIndexes == oldSelf.maxFailedIndexes) \
                 && has(self.activeDeadlineSeconds) == has(oldSelf.activeDeadlineSeconds) \
                 && (!has(self.activeDeadlineSeconds) || self.activeDeadlineSeconds == oldSelf.activeDeadlineSeconds) \
                 && has(self.ttlSecondsAfterFinished) == has(oldSelf.ttlSecondsAfterFinished) \
                 && (!has(self.ttlSecondsAfterFinished) || self.ttlSecondsAfterFinished == oldSelf.ttlSecondsAfterFinished)",
        "message": "only suspend and parallelism of a WorkerJob can change: create a new one with another name",
    },
    {
        "rule": "self.result == oldSelf.result",
        "message": "result cannot change: create a new WorkerJob with another name",
    },
    {
        "rule": "self.template == oldSelf.template",
        "message": "template cannot change: create a new WorkerJob with another name",
    },
    {
        "rule": "has(self.parameters) == has(oldSelf.parameters) \
                 && (!has(self.parameters) || self.parameters == oldSelf.parameters)",
        "message": "parameters cannot change: create a new WorkerJob with another name",
    },
    {
        "rule": "!has(self.maxFailedIndexes) || self.maxFailedIndexes <= self.completions",
        "message": "maxFailedIndexes must not be more than completions",
    },
    {
        "rule": "!has(self.result.shutdownReason) || !has(self.template.capacityType) \
                 || self.template.capacityType == 'OnDemand'",
        "message": "result.shutdownReason needs On-Demand instances, because Spot instances are never stopped: set \
                    template.capacityType to OnDemand, or use result.s3",
    },
    {
        "rule": "(!has(self.template.ami) || !has(self.template.ami.onChange) || self.template.ami.onChange == 'Keep') \
                 && (!has(self.template.launchTemplate) || !has(self.template.launchTemplate.onChange) \
                 || self.template.launchTemplate.onChange == 'Keep') \
                 && (!has(self.parameters) || !has(self.parameters.onChange) || self.parameters.onChange == 'Keep')",
        "message": "a WorkerJob never replaces a running worker: remove onChange, or set it to Keep",
    },
    {
        "rule": "!has(self.template.metadataOptions) || !has(self.template.metadataOptions.instanceMetadataTags) \
                 || self.template.metadataOptions.instanceMetadataTags == 'enabled'",
        "message": "a worker of a WorkerJob reads its index from its tags: remove \
                    template.metadataOptions.instanceMetadataTags, or set it to enabled",
    },
]))]
pub struct WorkerJobSpec {
    /// The number of indexes, which count from 0. Each index must succeed once.
    #[schemars(range(min = 1, max = 10_000))]
    pub completions: i32,
    /// The maximum number of workers at a time. If it is lowered, the workers with the highest indexes are terminated
    /// and their indexes run again later; this does not count as a failure.
    #[serde(default = "number::<1>")]
    #[schemars(range(min = 0, max = 10_000))]
    pub parallelism: i32,
    /// How many times an index runs again after a failure before it counts as failed.
    // As in a Kubernetes Job.
    #[serde(default = "number::<6>")]
    #[schemars(range(min = 0, max = 100))]
    pub backoff_limit_per_index: i32,
    /// When more indexes than this have failed, the job fails at once and its workers are terminated. Default: no
    /// limit, all indexes run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000))]
    pub max_failed_indexes: Option<i32>,
    /// Seconds after `status.startTime` until the job fails and its workers are terminated. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub active_deadline_seconds: Option<i32>,
    /// Seconds after the job has finished until it is deleted. Default: it is not deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub ttl_seconds_after_finished: Option<i32>,
    /// How a worker reports the result of its index.
    pub result: ResultSource,
    /// While this is true, muster changes nothing in AWS. The status is still updated, and deletion still works.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
    /// The region and the AwsAccount of the workers.
    #[schemars(extend("x-kubernetes-validations" = [{
        "rule": "self == oldSelf",
        "message": "aws cannot change: create a new WorkerJob with another name",
    }]))]
    pub aws: AwsRef,
    /// The template of the workers.
    pub template: WorkerTemplate,
    /// Values that every worker reads at boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Parameters>,
}

/// How a worker reports the result of its index: exactly one of `s3` and `shutdownReason`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.s3) != has(self.shutdownReason)",
    "message": "result needs exactly one of s3 or shutdownReason",
}]))]
pub struct ResultSource {
    /// The worker writes a result object to S3, then shuts down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Result>,
    /// The worker shuts down when its work has succeeded, and only then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shutdown_reason: Option<ShutdownReason>,
}

/// Where workers write their results: an object `<prefix>/<uid of the job>/<index>/<instance id>` with the content
/// `{"index": 7, "exitCode": 0}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct S3Result {
    /// The bucket, in the region of `spec.aws`. The AwsAccount must grant it to this namespace.
    #[schemars(length(min = 3, max = 63), pattern(r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$"))]
    pub bucket: String,
    /// The prefix of the keys. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100), pattern(r"^[A-Za-z0-9_.=-]+(/[A-Za-z0-9_.=-]+)*$"))]
    pub prefix: Option<String>,
}

/// A worker that shuts itself down has succeeded. A worker cannot report a failure this way: a worker that has failed
/// must not shut down, and is terminated at the deadline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShutdownReason {}

/// The observed state of a WorkerJob.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerJobStatus {
    #[serde(flatten)]
    pub common: CommonStatus,
    #[serde(flatten)]
    pub workers: WorkersStatus,
    /// The number of workers, including those being launched.
    #[serde(default)]
    pub active: i32,
    /// The number of indexes that succeeded.
    #[serde(default)]
    pub succeeded: i32,
    /// The number of indexes that failed more often than `backoffLimitPerIndex` allows.
    #[serde(default)]
    pub failed: i32,
    /// The indexes that succeeded, like `1,3-5,7`.
    #[serde(default, skip_serializing_if = "Indexes::is_empty")]
    pub completed_indexes: Indexes,
    /// The indexes that failed.
    #[serde(default, skip_serializing_if = "Indexes::is_empty")]
    pub failed_indexes: Indexes,
    /// The failure counts of indexes that are not final.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = MAX_BACKOFF),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["count"])
    )]
    pub index_failures: Vec<IndexFailures>,
    /// When the job started, or resumed after `suspend` was true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When the job finished, successfully or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// How long the job took. Set when it has finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub duration: Option<String>,
    /// How the job finished. Once set, it does not change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<JobOutcome>,
    /// The workers and their indexes, including workers that are being terminated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_LISTED), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub instances: Vec<Holder>,
    /// The workers whose result is awaited and that `instances` does not list. For each index that is not final, in
    /// order: four characters of a digest of the instance id, or a dot. A result counts only if its worker is known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = MAX_SEALED))]
    pub unlisted_workers: String,
}

impl AsMut<CommonStatus> for WorkerJobStatus {
    fn as_mut(&mut self) -> &mut CommonStatus {
        &mut self.common
    }
}

impl AsRef<WorkersStatus> for WorkerJobStatus {
    fn as_ref(&self) -> &WorkersStatus {
        &self.workers
    }
}

impl AsMut<WorkersStatus> for WorkerJobStatus {
    fn as_mut(&mut self) -> &mut WorkersStatus {
        &mut self.workers
    }
}

/// A worker and its index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// The instance id.
    #[schemars(with = "String", length(max = 19))]
    pub id: InstanceId,
    /// The index that the worker runs. Absent if it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<i32>,
}

/// Indexes that failed the same number of times and may be run again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IndexFailures {
    /// The number of failures.
    pub count: i32,
    /// The indexes, like `1,3-5,7`.
    pub indexes: Indexes,
}

/// How a job finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum JobOutcome {
    /// All indexes succeeded.
    Complete,
    /// All indexes have run, and some failed.
    FailedIndexes,
    /// More indexes failed than `maxFailedIndexes` allows.
    MaxFailedIndexesExceeded,
    /// The job took longer than `activeDeadlineSeconds`.
    DeadlineExceeded,
}
