//! A launch template that a worker template builds on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crd::parameters::OnChange;

/// A launch template of EC2: exactly one of `name` and `id`. The AwsAccount must grant it to this namespace, by its name
/// or its id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.name) != has(self.id)",
    "message": "launchTemplate needs exactly one of name or id, for example name: web",
}]))]
pub struct LaunchTemplate {
    /// The name of the launch template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 128), extend("x-kubernetes-validations" = [{
        "rule": "self.matches('^[A-Za-z0-9()./_-]+$')",
        "message": "write the name of a launch template: letters, digits and ( ) . / _ - only",
    }]))]
    pub name: Option<String>,
    /// The id of the launch template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20), extend("x-kubernetes-validations" = [{
        "rule": "self.matches('^lt-([0-9a-f]{8}|[0-9a-f]{17})$')",
        "message": "write the id of a launch template, like lt-0123456789abcdef0",
    }]))]
    pub id: Option<String>,
    /// The version: a number, `$Default` (the default) or `$Latest`. The version that `$Default` and `$Latest` refer to
    /// is looked up about once a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 18), extend("x-kubernetes-validations" = [{
        "rule": "self.matches('^([$]Default|[$]Latest|[1-9][0-9]*)$')",
        "message": "write the version as a number, $Default or $Latest",
    }]))]
    pub version: Option<String>,
    /// What happens to running workers when `$Default` or `$Latest` refers to another version: `Keep` (the default)
    /// keeps them, and only new workers start from the new version; `Replace` replaces them by a rolling update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_change: Option<OnChange>,
}

impl LaunchTemplate {
    /// The name or id, as the spec has it.
    pub fn reference(&self) -> &str {
        self.name.as_deref().or(self.id.as_deref()).unwrap_or_default()
    }
}
