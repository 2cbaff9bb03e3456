//! The FleetReport resource: its spec here, its status in [`status`].

mod status;

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::crd::fleet_report::status::{
    ExpectedStatus, FieldCount, FleetReportStatus, GroupCount, Outlier, OutlierReason, RejectedObject, RejectionReason,
    ReportCounts, SourceStatus, VersionCount,
};
use crate::crd::{
    fields::{AwsRef, DURATION_PATTERN, number},
    template::selector_tags_schema,
};

/// Collects the reports that workers write to S3, and shows which versions run where.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "muster.dev",
    version = "v1alpha1",
    kind = "FleetReport",
    namespaced,
    shortname = "fr",
    category = "muster",
    status = "FleetReportStatus",
    doc = "Collects the reports that workers write to S3, and shows which versions run where.",
    printcolumn(name = "Fresh", type_ = "integer", json_path = ".status.reports.fresh"),
    printcolumn(name = "Stale", type_ = "integer", json_path = ".status.reports.stale"),
    printcolumn(name = "Missing", type_ = "integer", json_path = ".status.reports.missing"),
    printcolumn(name = "Behind", type_ = "integer", json_path = ".status.reports.behind"),
    printcolumn(name = "Versions", type_ = "integer", json_path = ".status.distinctVersions"),
    printcolumn(
        name = "Up-To-Date",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"UpToDate\")].status"
    ),
    printcolumn(name = "Collected", type_ = "date", json_path = ".status.lastCollectedTime"),
    printcolumn(name = "Ghost", type_ = "integer", priority = 1, json_path = ".status.reports.ghost"),
    printcolumn(name = "Invalid", type_ = "integer", priority = 1, json_path = ".status.reports.invalid"),
    printcolumn(name = "Forged", type_ = "integer", priority = 1, json_path = ".status.reports.forged"),
    validation = Rule::new("size(self.metadata.name) <= 63").message("metadata.name must be at most 63 characters"),
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "duration(self.staleAfter) >= duration(self.interval)",
        "fieldPath": ".staleAfter",
        "message": "staleAfter must not be shorter than interval: a report would become stale between two collections and still be shown as fresh",
    },
    {
        "rule": "!has(self.expect) || !has(self.expect.versions) || self.expect.versions.all(v, has(self.fields) && self.fields.exists(f, f.name == v.field))",
        "fieldPath": ".expect",
        "message": "expect.versions[].field must be the name of one of spec.fields: add that field, with its path, to spec.fields",
    },
]))]
pub struct FleetReportSpec {
    /// While this is true, nothing is read from AWS, and the status keeps the numbers of the last collection.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
    /// The sources of the reports. If an instance has several reports, also in different sources, the newest counts.
    #[schemars(
        length(min = 1, max = 64),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub sources: Vec<Source>,
    /// How often the sources are collected, `1s` to `24h`. A collection costs one LIST request for every 1,000 objects
    /// and one GET request for every object that changed.
    #[serde(default = "default_interval")]
    #[schemars(length(max = 16), pattern(DURATION_PATTERN), extend("x-kubernetes-validations" = [{
        "rule": "duration(self) >= duration('1s') && duration(self) <= duration('24h')",
        "message": "interval must be between 1s and 24h, for example 5m",
    }]))]
    pub interval: String,
    /// The age from which a report is stale, `1s` to `8760h`. A stale report counts as stale only, not in `fields` or
    /// `groupBy`.
    #[serde(default = "default_stale_after")]
    #[schemars(length(max = 16), pattern(DURATION_PATTERN), extend("x-kubernetes-validations" = [{
        "rule": "duration(self) >= duration('1s') && duration(self) <= duration('8760h')",
        "message": "staleAfter must be between 1s and 8760h, for example 2h",
    }]))]
    pub stale_after: String,
    /// Limits of a collection.
    #[serde(default)]
    pub limits: Limits,
    /// The place of the time in a report. Default: the time at which S3 stored the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Place>,
    /// The place of the instance id in a report. The id must equal the last part of the key of the object, without
    /// `.json`. A report with another id counts as forged, and a report without an id as invalid. If this field is not
    /// set, the key alone identifies the instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Place>,
    /// The fields whose values are counted, for example the version of an application.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub fields: Vec<Field>,
    /// How reports are grouped, for example by service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub group_by: Vec<GroupBy>,
    /// What is expected. Reports that differ are counted as behind, and instances that do not report as missing. Both are
    /// listed in `status.outliers`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expect>,
    /// Who may read the reports over HTTP, beside users of Kubernetes with the right to `get` `fleetreports/instances`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<ReportApi>,
}

/// Access over HTTP.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportApi {
    /// Secrets of type `muster.dev/api-key` in the namespace of the FleetReport. Who sends what is in `key`, 32 to 256
    /// bytes, in the header `x-api-key` may read the reports. With several Secrets, one key can be replaced by another.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub key_secret_refs: Vec<KeySecretRef>,
}

/// A Secret with a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeySecretRef {
    /// The name of the Secret.
    #[schemars(
        length(min = 1, max = 253),
        pattern(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub name: String,
}

fn default_interval() -> String {
    "5m".into()
}

fn default_stale_after() -> String {
    "2h".into()
}

/// An S3 bucket, or a prefix in it, with one JSON object for each instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// The name of the source, which the status shows.
    #[schemars(length(min = 1, max = 63), pattern(r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
    /// The S3 bucket.
    #[schemars(length(min = 3, max = 63), pattern(r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$"))]
    pub bucket: String,
    /// Only objects whose key starts with this prefix are read. Default: the whole bucket.
    #[serde(default)]
    #[schemars(length(max = 512), extend("x-kubernetes-validations" = [{
        "rule": "!self.startsWith('/')",
        "message": "prefix must not start with '/', because keys in S3 do not: write it like reports/prod/",
    }]))]
    pub prefix: String,
    /// The region of the bucket, and the AwsAccount that reads it.
    #[schemars(extend("x-kubernetes-validations" = [{
        "rule": "self == oldSelf",
        "message": "the aws of a source cannot change: add a source with another name and remove this one",
    }]))]
    pub aws: AwsRef,
    /// Which objects count. `AnyKey`: all. `PerInstanceKey`: only objects whose key ends in the ARN of an instance and
    /// `.json`, because a bucket policy can allow each instance to write this key only.
    #[serde(default)]
    pub trust: Trust,
}

/// Which objects of a source count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Trust {
    #[default]
    AnyKey,
    PerInstanceKey,
}

/// Limits of a collection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// The maximum size of an object, up to `16Mi`. A larger object counts as invalid and is never held in memory.
    #[serde(default = "default_object_size")]
    #[schemars(length(max = 16), pattern(r"^[1-9][0-9]{0,9}(Ki|Mi|k|M)?$"), extend("x-kubernetes-validations" = [{
        "rule": "quantity(self).compareTo(quantity('16Mi')) <= 0",
        "message": "objectSize must be at most 16Mi, for example 1Mi",
    }]))]
    pub object_size: String,
    /// The maximum number of objects of one source that are read at the same time.
    #[serde(default = "number::<100>")]
    #[schemars(range(min = 1, max = 100))]
    pub concurrency: i32,
}

fn default_object_size() -> String {
    "1Mi".into()
}

impl Default for Limits {
    fn default() -> Self {
        Self { object_size: default_object_size(), concurrency: 100 }
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

/// A field whose values are counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Field {
    /// The name of the field, which `expect` and the status use.
    #[schemars(length(min = 1, max = 63), pattern(r"^[A-Za-z]([A-Za-z0-9_.-]*[A-Za-z0-9])?$"))]
    pub name: String,
    /// A JSONPath (RFC 9535), for example `$.app_version` or `$.processes[*].module_A_filename`. If it finds
    /// several values, the instance counts once for each different value.
    #[schemars(length(min = 1, max = 256), extend("x-kubernetes-validations" = [{
        "rule": "self.startsWith('$')",
        "message": "a path is a JSONPath and starts with '$', for example $.app_version",
    }]))]
    pub path: String,
}

/// A grouping of reports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupBy {
    /// The name of the grouping, which the status shows.
    #[schemars(length(min = 1, max = 63), pattern(r"^[A-Za-z]([A-Za-z0-9_.-]*[A-Za-z0-9])?$"))]
    pub name: String,
    /// A JSONPath (RFC 9535), for example `$.instance_name`.
    #[schemars(length(min = 1, max = 256), extend("x-kubernetes-validations" = [{
        "rule": "self.startsWith('$')",
        "message": "a path is a JSONPath and starts with '$', for example $.instance_name",
    }]))]
    pub path: String,
    /// A regular expression with exactly one capture group, for example `^([a-z]+_[a-z0-9]+)_`. The text that it
    /// captures is the name of the group. Default: the whole value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub regex: Option<String>,
}

/// What is expected.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Expect {
    /// The instances that should report. One that runs without a fresh report is missing. A fresh report of an instance
    /// that runs in none of these accounts and regions is a ghost, and does not count as fresh.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub instances: Vec<InstanceSelector>,
    /// The expected versions, by field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["field"]))]
    pub versions: Vec<ExpectedVersion>,
}

/// Instances that should report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceSelector {
    /// The name, which the status shows.
    #[schemars(length(min = 1, max = 63), pattern(r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
    /// The region of the instances, and the AwsAccount that looks for them.
    #[schemars(extend("x-kubernetes-validations" = [{
        "rule": "self == oldSelf",
        "message": "the aws of expected instances cannot change: add others with another name and remove these",
    }]))]
    pub aws: AwsRef,
    /// The instances that have all of these tags. The AwsAccount must grant them (`targetTags`).
    #[schemars(schema_with = "selector_tags_schema")]
    pub tags: BTreeMap<String, String>,
    /// How long after its launch an instance may be without a report, up to `24h`. Default: `15m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), pattern(DURATION_PATTERN), extend("x-kubernetes-validations" = [{
        "rule": "duration(self) <= duration('24h')",
        "message": "gracePeriod must be at most 24h, for example 15m",
    }]))]
    pub grace_period: Option<String>,
}

/// The expected values of a field. A fresh report is behind if one of its values is not expected, or if it has none.
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
    /// The expected value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub equals: Option<String>,
    /// The accepted values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 256)), extend("x-kubernetes-list-type" = "set"))]
    pub one_of: Option<Vec<String>>,
    /// The expected range of semantic versions, for example `>=1.2.3` or `^1.4, <1.6`. A leading `v` of a value is
    /// ignored, and `1.2` means `1.2.0`. A value that is not a version is behind. A pre-release matches only a range
    /// that names a pre-release of the same version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub semver: Option<String>,
}
