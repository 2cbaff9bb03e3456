//! The status of a LaunchTemplatePin.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    crd::fields::{AwsStatus, CommonStatus, Preview},
    ids::ImageId,
};

/// The observed state of a LaunchTemplatePin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LaunchTemplatePinStatus {
    #[serde(flatten)]
    pub common: CommonStatus,
    /// The AWS account and region of the first call. If they change later, no further calls are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsStatus>,
    /// The id of the launch template.
    #[serde(rename = "launchTemplateID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    pub launch_template_id: Option<String>,
    /// The newest image that matches and that the launch template does not have yet.
    #[serde(rename = "candidateAMI", default, skip_serializing_if = "Option::is_none")]
    pub candidate_ami: Option<ImageSummary>,
    /// The image of the version that the groups should run.
    #[serde(rename = "currentAMI", default, skip_serializing_if = "Option::is_none")]
    pub current_ami: Option<ImageSummary>,
    /// The calls that change AWS and whose outcome is not certain yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["nonce"]))]
    pub intents: Vec<PinIntent>,
    /// The newest version of the launch template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_version: Option<i64>,
    /// The default version of the launch template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_version: Option<i64>,
    /// The version that the groups ran before the present one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_version: Option<i64>,
    /// When versions were made on top of versions that somebody else made, within the last hour.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub overridden_at: Vec<Time>,
    /// The instance refreshes of all groups, in a few words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub refresh_summary: Option<String>,
    /// The versions of the launch template, the newest first, and what protects those that `retention` would delete.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["version"]))]
    pub retained: Vec<RetainedVersion>,
    /// The number of versions, including those that `retained` does not list.
    #[serde(default)]
    pub versions_total: i32,
    /// The groups that follow, and those that should and cannot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub groups: Vec<GroupStatus>,
    /// The notifications that were sent, or tried, about the present state.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 128)), extend("x-kubernetes-list-type" = "set"))]
    pub notified: Vec<String>,
    /// What muster would do now. Present while the annotation `muster.dev/plan-only` is `true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Preview>,
}

impl AsMut<CommonStatus> for LaunchTemplatePinStatus {
    fn as_mut(&mut self) -> &mut CommonStatus {
        &mut self.common
    }
}

/// A machine image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageSummary {
    /// The id of the image.
    #[schemars(with = "String", length(max = 21))]
    pub id: ImageId,
    /// The name of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub name: Option<String>,
    /// When the image was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Time>,
}

/// A call that changes AWS, recorded before it is sent. The record stays until the outcome is certain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PinIntent {
    /// A random number, which a new version of the launch template carries in its description.
    #[schemars(length(max = 16))]
    pub nonce: String,
    /// What the call does.
    pub operation: PinOperation,
    /// The controller process that recorded the call last.
    #[schemars(length(max = 300))]
    pub holder: String,
    /// When the call was recorded.
    pub started_at: Time,
    /// The version of the launch template: the source of a new version, the new default, or the version that a group should
    /// run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// The image of a new version.
    #[serde(rename = "imageID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 21))]
    pub image_id: Option<ImageId>,
    /// The versions to delete.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200), extend("x-kubernetes-list-type" = "atomic"))]
    pub versions: Vec<i64>,
    /// The Auto Scaling group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub group: Option<String>,
    /// The version that the group is set to, as it is written: `$Latest`, `$Default` or a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    pub follow: Option<String>,
    /// The refresh to cancel, or the last refresh of the group before the one to start.
    #[serde(rename = "refreshID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub refresh_id: Option<String>,
    /// The number of the new version in the response. Absent while there is no response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_version: Option<i64>,
}

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PinOperation {
    Claim,
    CreateVersion,
    SetDefault,
    DeleteVersions,
    UpdateGroup,
    StartRefresh,
    CancelRefresh,
}

/// A version of the launch template.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetainedVersion {
    /// Its number.
    pub version: i64,
    /// Its image, as the version names it.
    #[serde(rename = "imageID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub image_id: Option<String>,
    /// Why it is not deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "set"))]
    pub protected_by: Vec<Protection>,
}

/// Why a version is not deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Protection {
    Default,
    Latest,
    /// An Auto Scaling group of the region names it, or has an instance of it.
    Group,
    /// An instance runs it.
    Instance,
    /// A WorkerFleet or a WorkerJob names it.
    Fleet,
    /// `rollbackTo` names it, or the groups ran it before the present one.
    Rollback,
    Age,
}

/// An Auto Scaling group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupStatus {
    /// Its name.
    #[schemars(length(max = 255))]
    pub name: String,
    /// Where the group names the launch template, or why it cannot follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<GroupVia>,
    /// The version that it launches, as the group names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    pub version: Option<String>,
    /// The number of its instances of other versions.
    #[serde(default)]
    pub outdated: i32,
    /// The last instance refresh that muster started for it.
    #[serde(rename = "refreshID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub refresh_id: Option<String>,
    /// The version that this refresh leads to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_version: Option<i64>,
    /// The status of this refresh, as AWS names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub refresh_status: Option<String>,
    /// The number of instances of other versions that this refresh left when it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<i32>,
    /// How much of this refresh is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent_complete: Option<i32>,
}

/// Where a group names the launch template, or why it cannot follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GroupVia {
    Template,
    MixedPolicy,
    Override,
    /// An override has an image of its own.
    OverrideImage,
    LaunchConfiguration,
    /// Only a service of AWS may change the group.
    Operator,
    /// The group names another launch template.
    OtherTemplate,
}
