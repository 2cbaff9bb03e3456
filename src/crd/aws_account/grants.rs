//! What an AwsAccount grants to namespaces.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crd::template::selector_tags_schema;

/// What some namespaces may use. `*` in a list grants everything of its type. An absent list grants nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// The namespaces that the grant is for.
    pub namespaces: NamespaceGrant,
    /// The kinds that may use the account, for example `WorkerFleet`, or `*`.
    #[schemars(schema_with = "granted_kinds")]
    pub kinds: Vec<String>,
    /// The instance profiles that workers may be launched with, or `*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)), extend("x-kubernetes-list-type" = "set"))]
    pub instance_profiles: Vec<String>,
    /// The launch templates that workers may be launched with and that a LaunchTemplatePin may change, each by its name or
    /// its id, or `*`. A granted launch template includes the use of what it contains, like its instance profile, subnet, security groups and key pair.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 128)), extend("x-kubernetes-list-type" = "set"))]
    pub launch_templates: Vec<String>,
    /// The ids of the subnets that workers may be launched into, or `*`. A granted subnet includes the default security
    /// group of its VPC.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 24)), extend("x-kubernetes-list-type" = "set"))]
    pub subnets: Vec<String>,
    /// The ids of the security groups that workers may have, or `*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 20)), extend("x-kubernetes-list-type" = "set"))]
    pub security_groups: Vec<String>,
    /// The names of the EC2 key pairs that workers may have, or `*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 255)), extend("x-kubernetes-list-type" = "set"))]
    pub key_names: Vec<String>,
    /// The KMS keys that volumes and parameters may be encrypted with, or `*`. Each is compared as it is written: an
    /// object that names the key by its alias needs the alias here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 2048)), extend("x-kubernetes-list-type" = "set"))]
    pub kms_keys: Vec<String>,
    /// The S3 buckets that may be used, each with a prefix and the uses that it is granted for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub buckets: Vec<BucketGrant>,
    /// The paths in Parameter Store that may be used, including everything below them, like `/app`, or `*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(min = 1, max = 512), pattern(r"^(\*|(/[A-Za-z0-9_.-]+)+)$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub parameter_paths: Vec<String>,
    /// The names of the Auto Scaling groups that a LaunchTemplatePin may change, or `*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 255)), extend("x-kubernetes-list-type" = "set"))]
    pub auto_scaling_groups: Vec<String>,
    /// The ARNs of the topics of Amazon SNS that notifications may be sent to, or `*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 512)), extend("x-kubernetes-list-type" = "set"))]
    pub topics: Vec<String>,
    /// The tags of the instances that `spec.adopt` of a WorkerFleet may adopt, and that `expect.instances` of a
    /// FleetReport may select. An instance must have all of them. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "selector_tags_schema")]
    pub target_tags: BTreeMap<String, String>,
}

/// An S3 bucket, and what it may be used for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BucketGrant {
    /// The name of the bucket, or `*` for any bucket.
    #[schemars(length(min = 1, max = 63), pattern(r"^(\*|[a-z0-9][a-z0-9.-]*[a-z0-9])$"))]
    pub name: String,
    /// The AWS account that owns the bucket. Every request to S3 names it, and S3 refuses the request if the bucket
    /// belongs to another account. Default: the account of this AwsAccount.
    #[serde(rename = "accountID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 12), pattern(r"^[0-9]{12}$"))]
    pub account_id: Option<String>,
    /// The prefix of the keys that may be used, which ends in `/`. Default: the whole bucket.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512), pattern(r"^([^/].*/)?$"))]
    pub prefix: String,
    /// What the keys may be used for.
    #[schemars(length(min = 1, max = 3), extend("x-kubernetes-list-type" = "set"))]
    pub uses: Vec<BucketUse>,
}

/// What a bucket is used for: `Reports`, which a FleetReport reads; `Results`, which the workers of a WorkerJob write;
/// `Parameters`, which muster writes for workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum BucketUse {
    Reports,
    Results,
    Parameters,
}

impl fmt::Display for BucketUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The enum is added from the list of kinds.
fn granted_kinds(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 16,
        "x-kubernetes-list-type": "set",
        "items": {"type": "string"},
    })
}

/// Namespaces, by name or by label. A namespace that matches either is included.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "(has(self.names) && size(self.names) > 0) || has(self.selector)",
    "message": "namespaces needs names or a selector: names: [a, b], names: [\"*\"] for all, or selector: {matchLabels: {...}}",
}]))]
pub struct NamespaceGrant {
    /// The names of namespaces, or `*` for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 256),
        inner(length(min = 1, max = 63), pattern(r"^(\*|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub names: Vec<String>,
    /// Selects namespaces by labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelGrant>,
}

/// Namespaces that have all of these labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LabelGrant {
    /// The labels. At least one.
    #[schemars(extend(
        "minProperties" = 1,
        "maxProperties" = 16,
        "additionalProperties" = {"type": "string", "maxLength": 63}
    ))]
    pub match_labels: BTreeMap<String, String>,
}
