//! The AwsAccount resource.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fields::CommonStatus;

/// An identity in an AWS account, and what each namespace may do with it.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "muster.dev",
    version = "v1alpha1",
    kind = "AwsAccount",
    shortname = "awsacct",
    category = "muster",
    status = "AwsAccountStatus",
    doc = "An identity in an AWS account, and what each namespace may do with it.",
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
    printcolumn(name = "Account", type_ = "string", json_path = ".status.accountID"),
    printcolumn(name = "Suspend", type_ = "boolean", json_path = ".spec.suspend"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    // Without a role only STS knows the account: muster looks before it acts, and the status remembers.
    validation = Rule::new("!has(self.spec.roleARN) || (has(oldSelf.spec.roleARN) ? self.spec.roleARN.startsWith(oldSelf.spec.roleARN.split('/')[0] + '/') : (!has(oldSelf.status) || !has(oldSelf.status.accountID) || self.spec.roleARN.split(':')[4] == oldSelf.status.accountID))")
        .message("the account of an AwsAccount cannot change: make a new AwsAccount with another name and point accountRef at it"),
    validation = Rule::new("size(self.metadata.name) <= 63").message("metadata.name must be at most 63 characters"),
)]
#[serde(rename_all = "camelCase")]
pub struct AwsAccountSpec {
    /// The IAM role to take on in the account. Without it, muster acts as its own identity.
    #[serde(rename = "roleARN", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), pattern(r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+$"))]
    pub role_arn: Option<String>,
    /// The external id that the role's trust policy asks for.
    #[serde(rename = "externalID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 1224), pattern(r"^[A-Za-z0-9+=,.@:/_-]+$"))]
    pub external_id: Option<String>,
    /// The regions that may be used. Required, so that a typo never starts machines far away.
    #[schemars(
        length(min = 1, max = 64),
        inner(length(min = 5, max = 32), pattern(r"^[a-z]{2,}(-[a-z]+)+-[0-9]+$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub regions: Vec<String>,
    /// Who may use this account for what. Empty: nobody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub grants: Vec<Grant>,
    /// Stop using this account: objects that refer to it make no calls until it is false again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
}

/// What some namespaces may do. A list that holds `*` grants all of its kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// The namespaces this grant is for.
    pub namespaces: NamespaceGrant,
    /// The kinds that may use the account, for example `WorkerFleet`, or `*`.
    #[schemars(schema_with = "granted_kinds")]
    pub kinds: Vec<String>,
    /// The instance profiles that workers may be started with, or `*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)), extend("x-kubernetes-list-type" = "set"))]
    pub instance_profiles: Vec<String>,
    /// The launch templates that workers may be based on, by name or id, whichever an object writes, or `*`. Whoever may
    /// use one uses the instance profile in it too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 128)), extend("x-kubernetes-list-type" = "set"))]
    pub launch_templates: Vec<String>,
    /// The S3 buckets that may be used, or `*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)), extend("x-kubernetes-list-type" = "set"))]
    pub buckets: Vec<String>,
    /// The paths of Parameter Store that may be used with all that is below them, like `/app`, or `*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(min = 1, max = 512), pattern(r"^(\*|(/[A-Za-z0-9_.-]+)+)$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub parameter_paths: Vec<String>,
}

/// A kind that is misspelt would grant nothing and say nothing, so the schema knows them all.
fn granted_kinds(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 16,
        "x-kubernetes-list-type": "set",
        "items": {"type": "string", "enum": ["*", "FleetReport", "WorkerFleet", "WorkerJob"]},
    })
}

/// Namespaces by name or by label; what either covers is covered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "(has(self.names) && size(self.names) > 0) || has(self.selector)",
    "message": "name the namespaces: names: [a, b], names: [\"*\"] for all, or selector: {matchLabels: {...}}",
}]))]
pub struct NamespaceGrant {
    /// Names of namespaces, or `*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 256),
        inner(length(min = 1, max = 63), pattern(r"^(\*|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub names: Vec<String>,
    /// Labels of namespaces.
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
    pub match_labels: std::collections::BTreeMap<String, String>,
}

/// What muster knows of the account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwsAccountStatus {
    #[serde(flatten)]
    pub common: CommonStatus,
    /// The id of the account that the identity was seen to be in.
    #[serde(rename = "accountID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 12))]
    pub account_id: Option<String>,
}

impl AsMut<CommonStatus> for AwsAccountStatus {
    fn as_mut(&mut self) -> &mut CommonStatus {
        &mut self.common
    }
}
