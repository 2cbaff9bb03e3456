//! The AwsAccount resource.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crd::fields::CommonStatus;

/// An identity in an AWS account, and what namespaces may use it for.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "muster.dev",
    version = "v1alpha1",
    kind = "AwsAccount",
    shortname = "awsacct",
    category = "muster",
    status = "AwsAccountStatus",
    doc = "An identity in an AWS account, and what namespaces may use it for.",
    printcolumn(name = "Account", type_ = "string", json_path = ".status.accountID"),
    // Without a role only STS knows the account: muster checks it before it acts, and the status records it.
    validation = Rule::new("!has(self.spec.roleARN) || (has(oldSelf.spec.roleARN) ? self.spec.roleARN.startsWith(oldSelf.spec.roleARN.split('/')[0] + '/') : (!has(oldSelf.status) || !has(oldSelf.status.accountID) || self.spec.roleARN.split(':')[4] == oldSelf.status.accountID))")
        .message("the account of an AwsAccount cannot change: create a new AwsAccount with another name and refer to it in accountRef"),
    validation = Rule::new("size(self.metadata.name) <= 63").message("metadata.name must be at most 63 characters"),
)]
#[serde(rename_all = "camelCase")]
pub struct AwsAccountSpec {
    /// The ARN of the IAM role to assume in the account. Default: none, muster uses its own identity.
    #[serde(rename = "roleARN", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), pattern(r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+$"))]
    pub role_arn: Option<String>,
    /// The external id that the trust policy of the role requires.
    #[serde(rename = "externalID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 1224), pattern(r"^[A-Za-z0-9+=,.@:/_-]+$"))]
    pub external_id: Option<String>,
    /// The regions that may be used. Required, so that a typo never launches instances in an unexpected region.
    #[schemars(
        length(min = 1, max = 64),
        inner(length(min = 5, max = 32), pattern(r"^[a-z]{2,}(-[a-z]+)+-[0-9]+$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub regions: Vec<String>,
    /// Which namespaces may use this account, and for what. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub grants: Vec<Grant>,
    /// While this is true, no calls are made for objects that refer to this account.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
}

/// What some namespaces may use. `*` in a list grants everything of its type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// The launch templates that workers may be launched with, each by the name or id that the object uses, or `*`. A
    /// granted launch template includes the use of its instance profile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 128)), extend("x-kubernetes-list-type" = "set"))]
    pub launch_templates: Vec<String>,
    /// The S3 buckets that may be used, or `*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)), extend("x-kubernetes-list-type" = "set"))]
    pub buckets: Vec<String>,
    /// The paths in Parameter Store that may be used, including everything below them, like `/app`, or `*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(min = 1, max = 512), pattern(r"^(\*|(/[A-Za-z0-9_.-]+)+)$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub parameter_paths: Vec<String>,
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
    pub match_labels: std::collections::BTreeMap<String, String>,
}

/// The observed state of an AwsAccount.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwsAccountStatus {
    #[serde(flatten)]
    pub common: CommonStatus,
    /// The id of the AWS account of the identity, as STS reported it.
    #[serde(rename = "accountID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 12))]
    pub account_id: Option<String>,
}

impl AsMut<CommonStatus> for AwsAccountStatus {
    fn as_mut(&mut self) -> &mut CommonStatus {
        &mut self.common
    }
}
