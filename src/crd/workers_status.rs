//! The status fields of all kinds that run workers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    crd::{
        fields::{AwsStatus, Preview},
        launches::{LaunchIntent, Termination},
        parameters::ParametersRecord,
    },
    ids::ImageId,
};

/// The workers of an object, and the intents that are recorded before the calls to AWS.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkersStatus {
    /// The AWS account and region of the first call. If they change later, no further calls are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsStatus>,
    /// The ControllerRevisions of this object and what they hold, recorded before they are made. One that holds anything
    /// else is not used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub revisions: Vec<RevisionDigest>,
    /// The launches whose outcome is not certain yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["token"]))]
    pub launches: Vec<LaunchIntent>,
    /// The workers that are being terminated and that EC2 does not show as terminated yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "atomic"))]
    pub terminations: Vec<Termination>,
    /// What muster would do now. Present while the annotation `muster.dev/plan-only` is `true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Preview>,
    /// The machine image of new workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ami: Option<AmiStatus>,
    #[serde(flatten)]
    pub parameters: ParametersRecord,
    /// The number of workers, including those that `instances` does not list.
    #[serde(default)]
    pub instances_total: i32,
    /// True when `instances` lists only some of the workers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub instances_truncated: bool,
}

/// What a ControllerRevision holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevisionDigest {
    /// The name of the ControllerRevision.
    #[schemars(length(max = 253))]
    pub name: String,
    /// The SHA-256 of its data, in hex.
    #[schemars(length(max = 64))]
    pub digest: String,
}

/// A machine image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AmiStatus {
    /// The id of the image.
    #[schemars(with = "String", length(max = 21))]
    pub id: ImageId,
    /// The name of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub name: Option<String>,
    /// Whether the owner has deprecated the image. It can still be launched.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deprecated: bool,
}
