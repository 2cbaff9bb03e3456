//! The subnets and security groups of workers.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crd::template::tags::selector_tags_schema;

/// The subnets: exactly one of `ids` and `tags`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.ids) != has(self.tags)",
    "message": "subnets needs exactly one of ids or tags",
}]))]
pub struct Subnets {
    /// The ids of the subnets. All must be in the same VPC.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 32),
        inner(length(max = 24)),
        extend("x-kubernetes-list-type" = "atomic", "x-kubernetes-validations" = [{
            "rule": "self.all(s, s.matches('^subnet-([0-9a-f]{8}|[0-9a-f]{17})$'))",
            "message": "write ids of subnets, like subnet-0123456789abcdef0",
        }])
    )]
    pub ids: Vec<String>,
    /// Uses all subnets that have all of these tags. All must be in the same VPC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "selector_tags_schema")]
    pub tags: Option<BTreeMap<String, String>>,
}

/// How workers are placed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Placement {
    #[default]
    Spread,
    Ordered,
}

/// The security groups: exactly one of `ids` and `tags`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.ids) != has(self.tags)",
    "message": "securityGroups needs exactly one of ids or tags",
}]))]
pub struct SecurityGroups {
    /// The ids of the security groups. They must be in the VPC of the subnets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 16),
        inner(length(max = 20)),
        extend("x-kubernetes-list-type" = "atomic", "x-kubernetes-validations" = [{
            "rule": "self.all(s, s.matches('^sg-([0-9a-f]{8}|[0-9a-f]{17})$'))",
            "message": "write ids of security groups, like sg-0123456789abcdef0",
        }])
    )]
    pub ids: Vec<String>,
    /// Uses all security groups in the VPC of the subnets that have all of these tags. When the result changes, new
    /// workers get the new security groups; running workers keep theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "selector_tags_schema")]
    pub tags: Option<BTreeMap<String, String>>,
}
