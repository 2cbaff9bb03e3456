//! What a FleetReport tells.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fields::{AwsStatus, CommonStatus};

/// What was collected, and what it says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FleetReportStatus {
    #[serde(flatten)]
    pub common: CommonStatus,
    /// When every source that could be read was last read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_collected_time: Option<Time>,
    /// How many reports there are, by what they are worth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reports: Option<ReportCounts>,
    /// How many different values all fields have together, in fresh reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distinct_versions: Option<i64>,
    /// For each field how many values it has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub fields: Vec<FieldCount>,
    /// The most frequent values of each field in fresh reports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 80), extend("x-kubernetes-list-type" = "atomic"))]
    pub versions: Vec<VersionCount>,
    /// The largest groups of each `groupBy`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 40), extend("x-kubernetes-list-type" = "atomic"))]
    pub groups: Vec<GroupCount>,
    /// Instances whose fresh report is not as expected, those that have been so for longest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 40), extend("x-kubernetes-list-type" = "atomic"))]
    pub outliers: Vec<Outlier>,
    /// Objects that do not count, and why: invalid, forged and unreadable ones. `reports` has their full number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub rejected: Vec<RejectedObject>,
    /// What each source gave.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub sources: Vec<SourceStatus>,
}

impl AsMut<CommonStatus> for FleetReportStatus {
    fn as_mut(&mut self) -> &mut CommonStatus {
        &mut self.common
    }
}

/// How many reports there are, by what they are worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportCounts {
    /// Instances whose newest report is younger than `staleAfter`.
    pub fresh: i64,
    /// Instances whose newest report is older than `staleAfter`.
    pub stale: i64,
    /// Objects that are no report: no JSON, too large, without an identity or a time, or with a time more than 5 minutes
    /// after S3 stored them.
    pub invalid: i64,
    /// Objects that speak in the name of another instance, or under a key that their source does not trust.
    pub forged: i64,
    /// Objects that could not be read this time. What was read of them before still counts.
    #[serde(default)]
    pub unreadable: i64,
    /// Instances with a fresh report that is not as `expect` says.
    pub behind: i64,
}

/// How many values a field has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FieldCount {
    /// The name of the field.
    #[schemars(length(max = 63))]
    pub name: String,
    /// How many different values the field has in fresh reports.
    pub distinct: i64,
    /// In how many fresh reports the field's path finds nothing.
    pub absent: i64,
}

/// How often a value occurs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionCount {
    /// The name of the field.
    #[schemars(length(max = 63))]
    pub field: String,
    /// The value, cut when it is long.
    #[schemars(length(max = 256))]
    pub value: String,
    /// In how many fresh reports it occurs.
    pub count: i64,
}

/// The reports of one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupCount {
    /// The name of the `groupBy`.
    #[schemars(length(max = 63))]
    pub name: String,
    /// The name of the group, cut when it is long. Empty for reports that belong to none.
    #[schemars(length(max = 256))]
    pub value: String,
    /// How many of its instances have a fresh report.
    pub fresh: i64,
    /// How many of these are not as `expect` says.
    pub behind: i64,
}

/// An instance that is not as expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Outlier {
    /// The id of the instance.
    #[schemars(length(max = 256))]
    pub instance: String,
    /// The name of the field.
    #[schemars(length(max = 63))]
    pub field: String,
    /// The value that is not expected, cut when it is long. Empty when the report has none.
    #[schemars(length(max = 256))]
    pub value: String,
    /// When it was first seen so.
    pub since: Time,
}

/// An object that does not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RejectedObject {
    /// The name of its source.
    #[schemars(length(max = 63))]
    pub source: String,
    /// Its key in the bucket, cut at the front when it is long.
    #[schemars(length(max = 256))]
    pub key: String,
    /// Why it does not count, in one word.
    pub reason: RejectionReason,
    /// What is wrong with it.
    #[schemars(length(max = 256))]
    pub message: String,
}

/// Why an object does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RejectionReason {
    IdentityMismatch,
    UntrustedKey,
    NoIdentity,
    NotJson,
    TooLarge,
    NoTimestamp,
    FutureTimestamp,
    Unreadable,
}

/// What a source gave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// The name of the source.
    #[schemars(length(max = 63))]
    pub name: String,
    /// The account and region that the source was first read in. A later difference stops all calls to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsStatus>,
    /// How many objects it holds.
    pub objects: i64,
    /// How many bytes these have together.
    pub bytes: i64,
    /// How many objects were read the last time, because they were new or had changed.
    pub fetched: i64,
    /// When it was last read without an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success_time: Option<Time>,
    /// What went wrong the last time, and what to do about it. What the source gave before still counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub error: Option<String>,
}
