//! The user data of a worker.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The user data: exactly one of `inline` and `configMapKeyRef`. It never comes from a Secret, because everybody who
/// may describe instances in AWS can read it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.inline) != has(self.configMapKeyRef)",
    "message": "userData needs exactly one of inline or configMapKeyRef",
}]))]
pub struct UserData {
    /// The text itself, for example a shell script or cloud-config. At most 16 KB, the limit of EC2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65_536))]
    pub inline: Option<String>,
    /// A key of a ConfigMap in this namespace that holds the text. A change of it counts as a change of the template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<ConfigMapKeyRef>,
}

/// A key of a ConfigMap in this namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapKeyRef {
    /// The name of the ConfigMap.
    #[schemars(
        length(min = 1, max = 253),
        pattern(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub name: String,
    /// The key in the ConfigMap.
    #[schemars(length(min = 1, max = 253), pattern(r"^[A-Za-z0-9_.-]+$"))]
    pub key: String,
}
