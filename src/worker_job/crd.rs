//! The WorkerJob resource.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    fields::{AwsRef, CommonStatus},
    ids::InstanceId,
    workers::{
        indexes::Indexes, parameters::Parameters, progress::JobOutcome, status::WorkersStatus, template::WorkerTemplate,
    },
};

/// So many workers are listed one by one.
pub(super) const MAX_LISTED: u32 = 400;
/// The most that `backoffLimitPerIndex` can be.
const MAX_BACKOFF: u32 = 100;

/// Runs each index of a piece of work to completion, on workers that end themselves.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "muster.dev",
    version = "v1alpha1",
    kind = "WorkerJob",
    namespaced,
    shortname = "wj",
    category = "muster",
    status = "WorkerJobStatus",
    doc = "Runs each index of a piece of work to completion on EC2 workers that end themselves, as an indexed Job does on Pods.",
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
    printcolumn(name = "Completions", type_ = "integer", json_path = ".spec.completions"),
    printcolumn(name = "Succeeded", type_ = "integer", json_path = ".status.succeeded"),
    printcolumn(name = "Failed", type_ = "integer", json_path = ".status.failed"),
    printcolumn(name = "Duration", type_ = "string", json_path = ".status.duration"),
    printcolumn(name = "AMI", type_ = "string", json_path = ".status.ami.id", priority = 1),
    printcolumn(name = "Suspend", type_ = "boolean", json_path = ".spec.suspend"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
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
        "message": "only suspend and parallelism of a WorkerJob can change: make a new one with another name",
    },
    {
        "rule": "self.result == oldSelf.result",
        "message": "result cannot change: make a new WorkerJob with another name",
    },
    {
        "rule": "self.template == oldSelf.template",
        "message": "template cannot change: make a new WorkerJob with another name",
    },
    {
        "rule": "has(self.parameters) == has(oldSelf.parameters) \
                 && (!has(self.parameters) || self.parameters == oldSelf.parameters)",
        "message": "parameters cannot change: make a new WorkerJob with another name",
    },
    {
        "rule": "!has(self.maxFailedIndexes) || self.maxFailedIndexes <= self.completions",
        "message": "maxFailedIndexes must not be more than completions",
    },
    {
        "rule": "!has(self.result.shutdownReason) || !has(self.template.capacityType) \
                 || self.template.capacityType == 'OnDemand'",
        "message": "result.shutdownReason needs On-Demand machines, since Spot ones are never stopped: set \
                    template.capacityType to OnDemand, or use result.s3",
    },
    {
        "rule": "(!has(self.template.ami) || !has(self.template.ami.onChange) || self.template.ami.onChange == 'Keep') \
                 && (!has(self.template.launchTemplate) || !has(self.template.launchTemplate.onChange) \
                 || self.template.launchTemplate.onChange == 'Keep') \
                 && (!has(self.parameters) || !has(self.parameters.onChange) || self.parameters.onChange == 'Keep')",
        "message": "a WorkerJob never replaces a worker that is at work: remove onChange, or set it to Keep",
    },
    {
        "rule": "!has(self.template.metadataOptions) || !has(self.template.metadataOptions.instanceMetadataTags) \
                 || self.template.metadataOptions.instanceMetadataTags == 'enabled'",
        "message": "a worker of a WorkerJob reads its index from its tags: remove \
                    template.metadataOptions.instanceMetadataTags, or set it to enabled",
    },
]))]
pub struct WorkerJobSpec {
    /// How many indexes there are: 0 up to one less than this. Each is to succeed once.
    #[schemars(range(min = 1, max = 10_000))]
    pub completions: i32,
    /// How many workers run at once at most. Lowering it ends the workers with the highest indexes, which are run again
    /// later; that does not count as a failure.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 10_000))]
    pub parallelism: i32,
    /// How often an index is run again after a failure before it counts as failed.
    #[serde(default = "six")]
    #[schemars(range(min = 0, max = 100))]
    pub backoff_limit_per_index: i32,
    /// With more failed indexes than this the job fails at once and its workers are ended. Without it, all indexes are run
    /// whatever becomes of the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000))]
    pub max_failed_indexes: Option<i32>,
    /// How long after `status.startTime` the job fails and its workers are ended. No limit when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub active_deadline_seconds: Option<i32>,
    /// How long after it has finished the job is deleted. It is kept when this is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub ttl_seconds_after_finished: Option<i32>,
    /// How a worker tells what came of its index.
    pub result: ResultSource,
    /// Change nothing in AWS while this is true. The status goes on, and deletion still works.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
    /// Where in AWS the workers are.
    #[schemars(extend("x-kubernetes-validations" = [{
        "rule": "self == oldSelf",
        "message": "aws cannot change: make a new WorkerJob with another name",
    }]))]
    pub aws: AwsRef,
    /// What each worker is launched with.
    pub template: WorkerTemplate,
    /// Values that every worker reads at boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Parameters>,
}

fn one() -> i32 {
    1
}

/// What Kubernetes takes for a Job's `backoffLimit`.
fn six() -> i32 {
    6
}

/// How a worker tells what came of its index: exactly one of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.s3) != has(self.shutdownReason)",
    "message": "say how a worker tells its result: exactly one of s3 or shutdownReason",
}]))]
pub struct ResultSource {
    /// The worker writes an object, then shuts down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Result>,
    /// The worker shuts down once its work is done, and only then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shutdown_reason: Option<ShutdownReason>,
}

/// Where workers write their results: `<prefix>/<uid of the job>/<index>/<instance id>`, which holds
/// `{"index": 7, "exitCode": 0}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct S3Result {
    /// The bucket, in the region of `aws`. The AwsAccount must grant it to this namespace.
    #[schemars(length(min = 3, max = 63), pattern(r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$"))]
    pub bucket: String,
    /// What the keys start with. Nothing when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100), pattern(r"^[A-Za-z0-9_.=-]+(/[A-Za-z0-9_.=-]+)*$"))]
    pub prefix: Option<String>,
}

/// A worker that shuts itself down has succeeded. Failure cannot be told this way: what must not count as success must
/// not shut down, and is ended at the deadline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShutdownReason {}

/// What is so.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerJobStatus {
    #[serde(flatten)]
    pub common: CommonStatus,
    #[serde(flatten)]
    pub workers: WorkersStatus,
    /// How many workers there are, with those that are on their way.
    #[serde(default)]
    pub active: i32,
    /// How many indexes succeeded.
    #[serde(default)]
    pub succeeded: i32,
    /// How many indexes failed: more often than `backoffLimitPerIndex` allows.
    #[serde(default)]
    pub failed: i32,
    /// The indexes that succeeded, like `1,3-5,7`.
    #[serde(default, skip_serializing_if = "Indexes::is_empty")]
    pub completed_indexes: Indexes,
    /// The indexes that failed.
    #[serde(default, skip_serializing_if = "Indexes::is_empty")]
    pub failed_indexes: Indexes,
    /// How often the other indexes failed so far.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = MAX_BACKOFF),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["count"])
    )]
    pub index_failures: Vec<IndexFailures>,
    /// True once a worker has written a result at an index that was not its own. From then on only results of workers that
    /// are known to have run the index count.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub misplaced_results: bool,
    /// When the work began, or went on after `suspend` was true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When the job finished, well or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// How long it took, once it has finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub duration: Option<String>,
    /// How it finished. Once this is set it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<JobOutcome>,
    /// Who runs which index, those on their way out included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_LISTED), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub instances: Vec<Holder>,
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

/// A worker and what it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// The instance id.
    #[schemars(with = "String", length(max = 19))]
    pub id: InstanceId,
    /// The index. Absent when it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<i32>,
}

/// Indexes that failed the same number of times and may be run again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IndexFailures {
    /// How often.
    pub count: i32,
    /// The indexes, like `1,3-5,7`.
    pub indexes: Indexes,
}
