//! The status of a FleetReport.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crd::fields::{AwsStatus, CommonStatus};

/// The observed state of a FleetReport.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FleetReportStatus {
    #[serde(flatten)]
    pub common: CommonStatus,
    /// When the sources were last collected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_collected_time: Option<Time>,
    /// The number of reports and of rejected objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reports: Option<ReportCounts>,
    /// The number of different values of all fields in fresh reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distinct_versions: Option<i64>,
    /// The number of values of each field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub fields: Vec<FieldCount>,
    /// The most frequent values of each field in fresh reports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 80), extend("x-kubernetes-list-type" = "atomic"))]
    pub versions: Vec<VersionCount>,
    /// The largest groups of each `groupBy`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 40), extend("x-kubernetes-list-type" = "atomic"))]
    pub groups: Vec<GroupCount>,
    /// Values in fresh reports that are not expected, instances that do not report, and reports of instances that do not
    /// run, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 40), extend("x-kubernetes-list-type" = "atomic"))]
    pub outliers: Vec<Outlier>,
    /// Invalid, forged and unreadable objects, and why they do not count. `reports` has the complete numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub rejected: Vec<RejectedObject>,
    /// What each of `expect.instances` selects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub expected: Vec<ExpectedStatus>,
    /// The state of each source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub sources: Vec<SourceStatus>,
}

impl AsMut<CommonStatus> for FleetReportStatus {
    fn as_mut(&mut self) -> &mut CommonStatus {
        &mut self.common
    }
}

/// The number of reports and of rejected objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportCounts {
    /// Instances whose newest report is younger than `staleAfter`, without ghosts.
    pub fresh: i64,
    /// Instances whose newest report is older than `staleAfter`.
    pub stale: i64,
    /// Objects that are not a report: not JSON, too large, without an identity or a time, or with a time more than 5
    /// minutes after S3 stored them.
    pub invalid: i64,
    /// Objects with the identity of another instance, or with a key that the source does not trust.
    pub forged: i64,
    /// Objects that could not be read the last time. Their earlier content still counts.
    #[serde(default)]
    pub unreadable: i64,
    /// Instances whose fresh report does not match `expect.versions`.
    pub behind: i64,
    /// Instances of `expect.instances` that run without a fresh report. Absent while this is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<i64>,
    /// Instances with a fresh report that do not run. Absent while this is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ghost: Option<i64>,
}

/// The number of values of a field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FieldCount {
    /// The name of the field.
    #[schemars(length(max = 63))]
    pub name: String,
    /// The number of different values in fresh reports.
    pub distinct: i64,
    /// The number of fresh reports in which the path of the field finds nothing.
    pub absent: i64,
}

/// How often a value occurs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionCount {
    /// The name of the field.
    #[schemars(length(max = 63))]
    pub field: String,
    /// The value, shortened if it is long.
    #[schemars(length(max = 256))]
    pub value: String,
    /// The number of fresh reports with this value.
    pub count: i64,
}

/// The reports of one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupCount {
    /// The name of the `groupBy`.
    #[schemars(length(max = 63))]
    pub name: String,
    /// The name of the group, shortened if it is long. Empty for reports without a group.
    #[schemars(length(max = 256))]
    pub value: String,
    /// The number of instances of the group with a fresh report.
    pub fresh: i64,
    /// The number of fresh reports that do not match `expect`.
    pub behind: i64,
}

/// An instance that is not as expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Outlier {
    /// The id of the instance.
    #[schemars(length(max = 256))]
    pub instance: String,
    /// What is not as expected.
    #[serde(default)]
    pub reason: OutlierReason,
    /// The name of the field. Empty for an instance that is missing or a ghost.
    #[schemars(length(max = 63))]
    pub field: String,
    /// The value, shortened if it is long. Empty if the report has none.
    #[schemars(length(max = 256))]
    pub value: String,
    /// When this was first observed.
    pub since: Time,
}

/// What is not as expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum OutlierReason {
    /// Its value is not expected.
    #[default]
    Behind,
    /// It runs without a fresh report.
    Missing,
    /// It reports and does not run.
    Ghost,
}

/// What one of `expect.instances` selects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExpectedStatus {
    /// The name of the expectation.
    #[schemars(length(max = 63))]
    pub name: String,
    /// The AWS account and region of the first call. If they change later, no further calls are made for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsStatus>,
    /// The number of its instances that run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<i64>,
    /// Those of them that have no fresh report. Absent while this is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<i64>,
    /// Why they are not known, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub error: Option<String>,
}

/// A rejected object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RejectedObject {
    /// The name of the source.
    #[schemars(length(max = 63))]
    pub source: String,
    /// The key of the object; its beginning is cut off if it is long.
    #[schemars(length(max = 256))]
    pub key: String,
    /// The reason, as one word.
    pub reason: RejectionReason,
    /// The reason, as text.
    #[schemars(length(max = 256))]
    pub message: String,
}

/// Why an object does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RejectionReason {
    IdentityMismatch,
    UntrustedKey,
    ParametersDocument,
    TooComplex,
    NoIdentity,
    NotJson,
    TooLarge,
    NoTimestamp,
    FutureTimestamp,
    Unreadable,
}

/// The state of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// The name of the source.
    #[schemars(length(max = 63))]
    pub name: String,
    /// The AWS account and region of the first call. If they change later, no further calls are made for this source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsStatus>,
    /// The number of objects in the source.
    pub objects: i64,
    /// The size of all objects together, in bytes.
    pub bytes: i64,
    /// The number of new or changed objects that the last collection read.
    pub fetched: i64,
    /// When the source was last read without an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success_time: Option<Time>,
    /// Why the last collection failed, and what to do. Reports that were collected before still count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub error: Option<String>,
}
