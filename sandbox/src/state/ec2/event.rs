//! What subscribers hear of instances.

use jiff::Timestamp;
use serde::Serialize;

use super::instance::InstanceState;
use crate::caller::AccountId;

/// An instance entered a state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceEvent {
    pub account: AccountId,
    pub region: String,
    pub instance_id: String,
    pub state: InstanceState,
    /// On the sandbox's clock.
    pub at: Timestamp,
}
