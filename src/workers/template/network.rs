//! Where in the network workers are.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which subnets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Subnets {
    /// The ids of the subnets, all of one VPC.
    #[schemars(
        length(min = 1, max = 32),
        inner(length(max = 24)),
        extend("x-kubernetes-list-type" = "atomic", "x-kubernetes-validations" = [{
            "rule": "self.all(s, s.matches('^subnet-([0-9a-f]{8}|[0-9a-f]{17})$'))",
            "message": "write ids of subnets, like subnet-0123456789abcdef0",
        }])
    )]
    pub ids: Vec<String>,
}

/// How workers are placed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Placement {
    #[default]
    Spread,
    Ordered,
}

/// Which security groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecurityGroups {
    /// The ids of the security groups, of the subnets' VPC.
    #[schemars(
        length(min = 1, max = 16),
        inner(length(max = 20)),
        extend("x-kubernetes-list-type" = "atomic", "x-kubernetes-validations" = [{
            "rule": "self.all(s, s.matches('^sg-([0-9a-f]{8}|[0-9a-f]{17})$'))",
            "message": "write ids of security groups, like sg-0123456789abcdef0",
        }])
    )]
    pub ids: Vec<String>,
}
