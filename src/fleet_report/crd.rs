//! The FleetReport resource: what is asked here, what is told in [`status`].

mod status;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::status::{
    FieldCount, FleetReportStatus, GroupCount, Outlier, RejectedObject, RejectionReason, ReportCounts, SourceStatus,
    VersionCount,
};
use crate::fields::{AwsRef, DURATION_PATTERN};

/// Collects what every worker reports about itself, and tells which versions run where.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "muster.dev",
    version = "v1alpha1",
    kind = "FleetReport",
    namespaced,
    shortname = "fr",
    category = "muster",
    status = "FleetReportStatus",
    doc = "Collects what every worker reports about itself, and tells which versions run where.",
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
    printcolumn(name = "Fresh", type_ = "integer", json_path = ".status.reports.fresh"),
    printcolumn(name = "Stale", type_ = "integer", json_path = ".status.reports.stale"),
    printcolumn(name = "Behind", type_ = "integer", json_path = ".status.reports.behind"),
    printcolumn(name = "Versions", type_ = "integer", json_path = ".status.distinctVersions"),
    printcolumn(
        name = "Up-To-Date",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"UpToDate\")].status"
    ),
    printcolumn(name = "Collected", type_ = "date", json_path = ".status.lastCollectedTime"),
    printcolumn(name = "Invalid", type_ = "integer", priority = 1, json_path = ".status.reports.invalid"),
    printcolumn(name = "Forged", type_ = "integer", priority = 1, json_path = ".status.reports.forged"),
    printcolumn(name = "Suspend", type_ = "boolean", json_path = ".spec.suspend"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("size(self.metadata.name) <= 63").message("metadata.name must be at most 63 characters"),
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "duration(self.staleAfter) >= duration(self.interval)",
        "fieldPath": ".staleAfter",
        "message": "staleAfter must not be shorter than interval: a report would go stale between two looks and still be shown as fresh",
    },
    {
        "rule": "!has(self.expect) || !has(self.expect.versions) || self.expect.versions.all(v, has(self.fields) && self.fields.exists(f, f.name == v.field))",
        "fieldPath": ".expect",
        "message": "expect.versions[].field must be the name of one of spec.fields: add that field, with its path, to spec.fields",
    },
]))]
pub struct FleetReportSpec {
    /// Stop collecting: nothing is read from AWS, and the numbers stay as they were last collected.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
    /// Where the reports are. Of several reports of one instance, also from different sources, the newest counts.
    #[schemars(
        length(min = 1, max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub sources: Vec<Source>,
    /// How often the sources are looked at, `1s` to `24h`. A look costs one LIST for every 1,000 objects and one GET for
    /// every object that changed.
    #[serde(default = "default_interval")]
    #[schemars(length(max = 16), pattern(DURATION_PATTERN), extend("x-kubernetes-validations" = [{
        "rule": "duration(self) >= duration('1s') && duration(self) <= duration('24h')",
        "message": "interval must be between 1s and 24h, for example 5m",
    }]))]
    pub interval: String,
    /// From which age on a report is stale, `1s` to `8760h`. Stale reports are counted as such and as nothing else.
    #[serde(default = "default_stale_after")]
    #[schemars(length(max = 16), pattern(DURATION_PATTERN), extend("x-kubernetes-validations" = [{
        "rule": "duration(self) >= duration('1s') && duration(self) <= duration('8760h')",
        "message": "staleAfter must be between 1s and 8760h, for example 2h",
    }]))]
    pub stale_after: String,
    /// What collecting may cost.
    #[serde(default)]
    pub limits: Limits,
    /// Where in a report its time is. Without it, the time at which S3 stored the object counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Place>,
    /// Where in a report the id of its instance is. It must equal the last part of the object's key, without `.json`; a
    /// report that says otherwise is forged, and one that says nothing is invalid: neither counts. Without this field, the
    /// key alone names the instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Place>,
    /// What is counted: the versions that run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub fields: Vec<Field>,
    /// By what reports are counted together, for example by service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 8),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub group_by: Vec<GroupBy>,
    /// What should be so. Reports that differ are counted as behind and named in `status.outliers`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expect>,
}

fn default_interval() -> String {
    "5m".into()
}

fn default_stale_after() -> String {
    "2h".into()
}

/// A bucket, or a part of one, that holds one JSON object for each instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// A name for this source. It shows in the status.
    #[schemars(length(min = 1, max = 63), pattern(r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
    /// The S3 bucket.
    #[schemars(length(min = 3, max = 63), pattern(r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$"))]
    pub bucket: String,
    /// Only objects whose key starts with this are read. Empty: the whole bucket.
    #[serde(default)]
    #[schemars(length(max = 512), extend("x-kubernetes-validations" = [{
        "rule": "!self.startsWith('/')",
        "message": "prefix must not start with '/': keys in S3 do not; write it like reports/prod/",
    }]))]
    pub prefix: String,
    /// Where the bucket is, and as whom it is read.
    #[schemars(extend("x-kubernetes-validations" = [{
        "rule": "self == oldSelf",
        "message": "the aws of a source cannot change: add a source with another name and remove this one",
    }]))]
    pub aws: AwsRef,
    /// Which objects are believed. `AnyKey`: all. `PerInstanceKey`: only those whose key ends in the ARN of an instance
    /// and `.json`, because a bucket policy can let each instance write that key and no other.
    #[serde(default)]
    pub trust: Trust,
}

/// Which objects of a source are believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Trust {
    #[default]
    AnyKey,
    PerInstanceKey,
}

/// What collecting may cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// The largest object that is read, up to `16Mi`. A larger one is counted as invalid, and is never held in memory.
    #[serde(default = "default_object_size")]
    #[schemars(length(max = 16), pattern(r"^[1-9][0-9]{0,9}(Ki|Mi|k|M)?$"), extend("x-kubernetes-validations" = [{
        "rule": "quantity(self).compareTo(quantity('16Mi')) <= 0",
        "message": "objectSize must be at most 16Mi, for example 1Mi",
    }]))]
    pub object_size: String,
    /// How many objects of one source are read at the same time, 1 to 100.
    #[serde(default = "default_concurrency")]
    #[schemars(range(min = 1, max = 100))]
    pub concurrency: i32,
}

fn default_object_size() -> String {
    "1Mi".into()
}

fn default_concurrency() -> i32 {
    100
}

impl Default for Limits {
    fn default() -> Self {
        Self { object_size: default_object_size(), concurrency: default_concurrency() }
    }
}

/// A place in a report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// A JSONPath (RFC 9535), for example `$.update_date`.
    #[schemars(length(min = 1, max = 256), extend("x-kubernetes-validations" = [{
        "rule": "self.startsWith('$')",
        "message": "a path is a JSONPath and starts with '$', for example $.update_date",
    }]))]
    pub path: String,
}

/// Something that is counted by its value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Field {
    /// A name for the field, for use in `expect` and in the status.
    #[schemars(length(min = 1, max = 63), pattern(r"^[A-Za-z]([A-Za-z0-9_.-]*[A-Za-z0-9])?$"))]
    pub name: String,
    /// A JSONPath (RFC 9535), for example `$.app_version` or `$.processes[*].module_A_filename`. Where it finds several
    /// values, each counts; an instance counts once for each value.
    #[schemars(length(min = 1, max = 256), extend("x-kubernetes-validations" = [{
        "rule": "self.startsWith('$')",
        "message": "a path is a JSONPath and starts with '$', for example $.app_version",
    }]))]
    pub path: String,
}

/// Something that reports are counted together by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupBy {
    /// A name for the grouping. It shows in the status.
    #[schemars(length(min = 1, max = 63), pattern(r"^[A-Za-z]([A-Za-z0-9_.-]*[A-Za-z0-9])?$"))]
    pub name: String,
    /// A JSONPath (RFC 9535), for example `$.instance_name`.
    #[schemars(length(min = 1, max = 256), extend("x-kubernetes-validations" = [{
        "rule": "self.startsWith('$')",
        "message": "a path is a JSONPath and starts with '$', for example $.instance_name",
    }]))]
    pub path: String,
    /// A regular expression with exactly one group in parentheses; what the group matches names the report's group.
    /// For example `^([a-z]+_[a-z0-9]+)_`. Without it, the whole value does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub regex: Option<String>,
}

/// What should be so.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Expect {
    /// The versions that should run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["field"])
    )]
    pub versions: Vec<ExpectedVersion>,
}

/// What the values of a field should be. A fresh report is behind when one of its values is not so, or when it has none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "[has(self.equals), has(self.oneOf), has(self.semver)].filter(x, x).size() == 1",
    "message": "an expected version needs exactly one of equals, oneOf or semver, for example semver: \">=1.2.3\"",
}]))]
pub struct ExpectedVersion {
    /// The name of one of `spec.fields`.
    #[schemars(length(min = 1, max = 63))]
    pub field: String,
    /// The one value that is expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub equals: Option<String>,
    /// The values that are expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 32),
        inner(length(min = 1, max = 256)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub one_of: Option<Vec<String>>,
    /// The range of semantic versions that is expected, for example `>=1.2.3` or `^1.4, <1.6`. A leading `v` of a value is
    /// passed over, and `1.2` reads as `1.2.0`. A value that is no version is behind. A pre-release is only in a range that
    /// names a pre-release of the same version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub semver: Option<String>,
}
