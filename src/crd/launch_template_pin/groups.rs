//! What a LaunchTemplatePin asks of Auto Scaling groups.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crd::{fields::DURATION_PATTERN, template::selector_tags_schema};

/// A default.
pub(super) fn yes() -> bool {
    true
}

/// An Auto Scaling group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AutoScalingGroup {
    /// The name of the group.
    #[schemars(length(min = 1, max = 255))]
    pub name: String,
    /// What the group launches: `Latest` sets it to `$Latest`, `Default` to `$Default`, and `Pinned` to the number of the
    /// newest version.
    pub version: Follow,
}

/// Selects Auto Scaling groups.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AutoScalingGroupSelector {
    /// The tags of the groups. A group must have all of them.
    #[schemars(schema_with = "selector_tags_schema")]
    pub tags: BTreeMap<String, String>,
    /// What the groups launch: `Latest` sets them to `$Latest`, `Default` to `$Default`, and `Pinned` to the number of the
    /// newest version.
    pub version: Follow,
}

/// How a group follows its launch template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Follow {
    Latest,
    Default,
    Pinned,
}

/// The preferences of instance refreshes. What is not set has the default of AWS.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!has(self.maxHealthyPercentage) || has(self.minHealthyPercentage)",
        "message": "maxHealthyPercentage needs minHealthyPercentage",
    },
    {
        "rule": "!has(self.maxHealthyPercentage) || !has(self.minHealthyPercentage) || self.maxHealthyPercentage - self.minHealthyPercentage <= 100",
        "message": "maxHealthyPercentage may be at most 100 more than minHealthyPercentage",
    },
]))]
pub struct Refresh {
    /// Whether instances are replaced.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The percentage of the desired capacity that must stay healthy. Default of AWS: that of the group, or 90.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub min_healthy_percentage: Option<i32>,
    /// The percentage of the desired capacity that may run. Default of AWS: that of the group, or 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 200))]
    pub max_healthy_percentage: Option<i32>,
    /// How long a new instance needs until it counts. Default of AWS: that of the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), pattern(DURATION_PATTERN))]
    pub instance_warmup: Option<String>,
    /// Keeps instances that have the wanted configuration already. Default of AWS: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_matching: Option<bool>,
    /// How long the refresh watches the alarms after all instances are replaced, at most `48h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), pattern(DURATION_PATTERN), extend("x-kubernetes-validations" = [{
        "rule": "duration(self) <= duration('48h')",
        "message": "bakeTime must be at most 48h, for example 10m",
    }]))]
    pub bake_time: Option<String>,
    /// Where the refresh pauses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoints: Option<Checkpoints>,
    /// CloudWatch alarms that fail the refresh.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), inner(length(min = 1, max = 255)), extend("x-kubernetes-list-type" = "set"))]
    pub alarms: Vec<String>,
    /// Whether AWS goes back to the earlier version when the refresh fails. Needs `version: Pinned` for all groups.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub auto_rollback: bool,
    /// What happens to instances that are protected from scale-in: `Wait`, `Ignore` or `Refresh`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_in_protected_instances: Option<Held>,
    /// What happens to instances in standby: `Wait`, `Ignore` or `Refresh`, which terminates them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby_instances: Option<Held>,
}

/// Where a refresh pauses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Checkpoints {
    /// Percentages of the instances, in ascending order.
    #[schemars(length(min = 1, max = 20), inner(range(min = 1, max = 100)), extend(
        "x-kubernetes-list-type" = "atomic",
        "x-kubernetes-validations" = [{
            "rule": "self.isSorted() && self.all(p, self.exists_one(q, q == p))",
            "message": "percentages must ascend, for example [20, 50, 100]",
        }]
    ))]
    pub percentages: Vec<i32>,
    /// How long it pauses, at most `48h`. Default of AWS: `1h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), pattern(DURATION_PATTERN), extend("x-kubernetes-validations" = [{
        "rule": "duration(self) <= duration('48h')",
        "message": "delay must be at most 48h, for example 1h",
    }]))]
    pub delay: Option<String>,
}

/// What happens to instances that AWS does not replace by itself. `Wait`: the refresh waits for an hour, and then fails.
/// `Ignore`: they are kept. `Refresh`: they are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Held {
    Wait,
    Ignore,
    Refresh,
}
