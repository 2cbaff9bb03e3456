//! Which machine image a worker starts from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which machine image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ami {
    /// The id of the image.
    #[schemars(length(max = 21), extend("x-kubernetes-validations" = [{
        "rule": "self.matches('^ami-([0-9a-f]{8}|[0-9a-f]{17})$')",
        "message": "write the id of an image, like ami-0123456789abcdef0",
    }]))]
    pub id: String,
}
