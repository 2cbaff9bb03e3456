//! What a worker runs at its first boot.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the worker runs at its first boot. Exactly one of `inline` and `configMapKeyRef`. Whoever may describe instances
/// may read it, so it never comes from a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.inline) != has(self.configMapKeyRef)",
    "message": "userData needs exactly one of inline or configMapKeyRef",
}]))]
pub struct UserData {
    /// The text itself, for example a shell script or cloud-config. At most 16 KB, which is EC2's limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65_536))]
    pub inline: Option<String>,
    /// The text is in a ConfigMap of this namespace. An edit of it counts as an edit of the template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<ConfigMapKeyRef>,
}

/// An entry of a ConfigMap of this namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapKeyRef {
    /// The name of the ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in the ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}
