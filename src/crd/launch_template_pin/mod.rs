//! The LaunchTemplatePin resource: its spec here, what it asks of Auto Scaling groups in [`groups`], its status in
//! [`status`].

mod groups;
mod status;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::crd::launch_template_pin::{
    groups::{AutoScalingGroup, AutoScalingGroupSelector, Checkpoints, Follow, Held, Refresh},
    status::{
        GroupStatus, GroupVia, ImageSummary, LaunchTemplatePinStatus, PinIntent, PinOperation, Protection,
        RetainedVersion,
    },
};
use crate::crd::{
    fields::{AwsRef, DURATION_PATTERN, number},
    template::AmiSelector,
};

/// Lets a launch template follow the newest machine image, and Auto Scaling groups follow the launch template.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "muster.dev",
    version = "v1alpha1",
    kind = "LaunchTemplatePin",
    namespaced,
    shortname = "ltp",
    category = "muster",
    status = "LaunchTemplatePinStatus",
    doc = "Lets a launch template follow the newest machine image, and Auto Scaling groups follow the launch template.",
    printcolumn(name = "Template", type_ = "string", json_path = ".status.launchTemplateID"),
    printcolumn(name = "AMI", type_ = "string", json_path = ".status.currentAMI.id"),
    printcolumn(name = "Latest", type_ = "integer", json_path = ".status.latestVersion"),
    printcolumn(name = "Default", type_ = "integer", json_path = ".status.defaultVersion"),
    printcolumn(name = "Refresh", type_ = "string", json_path = ".status.refreshSummary"),
    printcolumn(name = "Candidate", type_ = "string", priority = 1, json_path = ".status.candidateAMI.id"),
    validation = Rule::new("size(self.metadata.name) <= 63").message("metadata.name must be at most 63 characters"),
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!has(self.refresh) || !has(self.refresh.autoRollback) || !self.refresh.autoRollback || ((!has(self.autoScalingGroups) || self.autoScalingGroups.all(g, g.version == 'Pinned')) && (!has(self.autoScalingGroupSelector) || self.autoScalingGroupSelector.version == 'Pinned'))",
        "fieldPath": ".refresh.autoRollback",
        "message": "refresh.autoRollback needs version: Pinned for all groups, because AWS cannot roll back to $Latest or $Default",
    },
    {
        "rule": "has(self.ami) || !has(self.approval) || self.approval == 'Automatic'",
        "fieldPath": ".approval",
        "message": "approval: Manual needs ami, because an image is what is approved",
    },
]))]
pub struct LaunchTemplatePinSpec {
    /// While this is true, nothing in AWS is changed, and the status is still updated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
    /// The region of the launch template and of the groups, and the AwsAccount that changes them.
    #[schemars(extend("x-kubernetes-validations" = [{
        "rule": "self == oldSelf",
        "message": "aws cannot change: create a LaunchTemplatePin with another name",
    }]))]
    pub aws: AwsRef,
    /// The launch template. The AwsAccount must grant it to this namespace, by its name or its id.
    #[schemars(extend("x-kubernetes-validations" = [
        {
            "rule": "self == oldSelf",
            "message": "launchTemplate cannot change: create a LaunchTemplatePin with another name",
        },
        {
            "rule": "[has(self.id), has(self.name), has(self.idFrom)].filter(x, x).size() == 1",
            "message": "launchTemplate needs exactly one of id, name or idFrom, for example name: web",
        },
    ]))]
    pub launch_template: PinnedTemplate,
    /// The machine image that the newest version of the launch template should have. Without it, no versions are made,
    /// and the groups follow the versions that others make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ami: Option<PinnedAmi>,
    /// Ids of images that are never used.
    #[serde(rename = "rejectedAMIs", default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 21)), extend("x-kubernetes-list-type" = "set", "x-kubernetes-validations" = [{
        "rule": "self.all(id, id.matches('^ami-([0-9a-f]{8}|[0-9a-f]{17})$'))",
        "message": "write the ids of images, like ami-0123456789abcdef0",
    }]))]
    pub rejected_amis: Vec<String>,
    /// Whether the newest version becomes the default version of the launch template.
    #[serde(default = "groups::yes")]
    pub set_default: bool,
    /// Which versions are kept. Without it, no version is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// The Auto Scaling groups that follow the launch template, by name. The AwsAccount must grant them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub auto_scaling_groups: Vec<AutoScalingGroup>,
    /// The Auto Scaling groups that follow the launch template, by tags. Groups that appear later are included. Only
    /// groups that the AwsAccount grants are changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_scaling_group_selector: Option<AutoScalingGroupSelector>,
    /// How the instances of the groups are replaced. Without it, only instances that start later have the new version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh: Option<Refresh>,
    /// When roll-outs may begin. What has begun goes on after the window, and rollbacks and the deletion of old versions
    /// do not wait for it. Default: at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// `Automatic`: a new image is used at once. `Manual`: only after the annotation `muster.dev/approve` has its id.
    #[serde(default)]
    pub approval: Approval,
    /// Goes back to this version: it becomes the default, all groups are pinned to it, and no new versions are made while
    /// this is set. When it is removed, the groups follow again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub rollback_to: Option<i64>,
    /// Who is notified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,
}

/// A launch template of EC2: exactly one of `id`, `name` and `idFrom`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PinnedTemplate {
    /// The id of the launch template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20), extend("x-kubernetes-validations" = [{
        "rule": "self.matches('^lt-([0-9a-f]{8}|[0-9a-f]{17})$')",
        "message": "write the id of a launch template, like lt-0123456789abcdef0",
    }]))]
    pub id: Option<String>,
    /// The name of the launch template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 128), extend("x-kubernetes-validations" = [{
        "rule": "self.matches('^[A-Za-z0-9()./_-]+$')",
        "message": "write the name of a launch template: letters, digits and ( ) . / _ - only",
    }]))]
    pub name: Option<String>,
    /// Where the id of the launch template is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_from: Option<IdFrom>,
}

/// Where an id is stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IdFrom {
    /// The name of a parameter in Parameter Store, String or SecureString, whose value is the id. The AwsAccount must
    /// grant its path to this namespace.
    #[schemars(length(min = 2, max = 512), pattern(r"^(/[A-Za-z0-9_.-]+)+$"))]
    pub ssm_parameter: String,
}

/// The machine image of a launch template.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PinnedAmi {
    /// Uses the newest available image that matches. It is looked up about once a minute.
    pub selector: AmiSelector,
    /// The minimum age of an image, for example to give a scan the time to reject it. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), pattern(DURATION_PATTERN), extend("x-kubernetes-validations" = [{
        "rule": "duration(self) <= duration('8760h')",
        "message": "minAge must be at most 8760h, for example 10m",
    }]))]
    pub min_age: Option<String>,
}

/// Which versions of a launch template are kept. A version that is in use is never deleted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retention {
    /// How many of the newest versions are kept.
    #[serde(default = "number::<3>")]
    #[schemars(range(min = 1, max = 1000))]
    pub keep_versions: i32,
    /// Younger versions are kept.
    #[serde(default = "a_day")]
    #[schemars(length(max = 16), pattern(DURATION_PATTERN))]
    pub min_age: String,
    /// `Managed`: only versions that this LaunchTemplatePin made are counted and deleted. `All`: all versions.
    #[serde(default)]
    pub versions: RetainedVersions,
}

fn a_day() -> String {
    "24h".into()
}

/// The versions that a retention is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RetainedVersions {
    #[default]
    Managed,
    All,
}

/// A span of time that repeats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// When it begins, as in a CronJob: minute, hour, day of the month, month, day of the week.
    #[schemars(length(min = 1, max = 128))]
    pub schedule: String,
    /// The time zone of the schedule, like `Asia/Tokyo`.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,
    /// How long it lasts.
    #[schemars(length(max = 16), pattern(DURATION_PATTERN), extend("x-kubernetes-validations" = [{
        "rule": "duration(self) >= duration('1m') && duration(self) <= duration('744h')",
        "message": "duration must be between 1m and 744h, for example 2h",
    }]))]
    pub duration: String,
}

fn utc() -> String {
    "UTC".into()
}

/// Whether somebody must approve an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Approval {
    #[default]
    Automatic,
    Manual,
}

/// Who is notified.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Notify {
    pub sns: SnsTopic,
}

/// A topic of Amazon SNS.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnsTopic {
    /// The ARN of the topic, standard or FIFO. It must be in the region of the object. The AwsAccount must grant it.
    #[serde(rename = "topicARN")]
    #[schemars(
        length(min = 20, max = 512),
        pattern(r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+([.]fifo)?$")
    )]
    pub topic_arn: String,
    /// What is notified. Default: all events.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3), extend("x-kubernetes-list-type" = "set"))]
    pub events: Vec<PinNotice>,
}

/// What somebody is notified of: `RolledBack`, the groups were pinned to an earlier version; `Failed`, an instance refresh
/// failed; `Blocked`, muster needs a change by a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum PinNotice {
    RolledBack,
    Failed,
    Blocked,
}
