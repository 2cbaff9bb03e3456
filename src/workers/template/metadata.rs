//! What a worker can read about itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The instance metadata service (IMDS).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetadataOptions {
    /// `required` allows IMDSv2 only. `required` when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_tokens: Option<HttpTokens>,
    /// How many network hops an answer may travel. 1 when not given, which keeps containers on a bridge network out;
    /// raise it to 2 for those that need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub http_put_response_hop_limit: Option<i32>,
    /// Whether the worker can read its own tags. `enabled` when not given. EC2 refuses some tag keys while it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_metadata_tags: Option<InstanceMetadataTags>,
}

/// Whether IMDSv1 is shut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HttpTokens {
    #[default]
    Required,
    Optional,
}

/// Whether a worker can read its own tags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum InstanceMetadataTags {
    #[default]
    Enabled,
    Disabled,
}
