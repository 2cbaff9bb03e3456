//! The instance metadata service of a worker.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The instance metadata service (IMDS).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetadataOptions {
    /// `required` (the default) allows IMDSv2 only; `optional` allows IMDSv1 too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_tokens: Option<HttpTokens>,
    /// How many network hops a response can travel. Default: 1, which keeps it from containers on a bridge network. Set
    /// it to 2 if they need the metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub http_put_response_hop_limit: Option<i32>,
    /// Whether the worker can read its own tags. Default: `enabled`, with which EC2 refuses some tag keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_metadata_tags: Option<InstanceMetadataTags>,
}

/// Whether IMDSv2 is required.
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
