//! What a worker runs at its first boot.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the worker runs at its first boot. Whoever may describe instances may read it: never a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserData {
    /// The text itself, for example a shell script or cloud-config. At most 16 KB, which is EC2's limit.
    #[schemars(length(min = 1, max = 65_536))]
    pub inline: String,
}
