//! What becomes of running workers when what they were launched with changes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What becomes of running workers when something that they were launched with came to something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum OnChange {
    Keep,
    Replace,
}
