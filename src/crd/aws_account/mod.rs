//! The AwsAccount resource.

mod grants;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::crd::aws_account::grants::{BucketGrant, BucketUse, Grant, LabelGrant, NamespaceGrant};
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
