//! Machine images.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::caller::AccountId;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageState {
    Pending,
    #[default]
    Available,
    Invalid,
    Failed,
    Error,
    Disabled,
}

impl ImageState {
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Available => "available",
            Self::Invalid => "invalid",
            Self::Failed => "failed",
            Self::Error => "error",
            Self::Disabled => "disabled",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    pub id: String,
    pub owner: AccountId,
    /// `amazon` for images of AWS itself.
    pub owner_alias: Option<String>,
    pub name: String,
    pub description: Option<String>,
    pub architecture: String,
    pub state: ImageState,
    pub public: bool,
    pub created: Timestamp,
    pub deprecated_at: Option<Timestamp>,
    pub root_device_name: String,
    pub root_volume_gib: u32,
    pub snapshot_id: String,
    pub virtualization_type: String,
    pub ena_support: bool,
    pub boot_mode: Option<String>,
    pub imds_v2: bool,
    pub tags: BTreeMap<String, String>,
    /// What is on its disk beside the system, by path: a virtual worker boots with it.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
}

impl Image {
    pub(crate) fn is_visible_to(&self, account: &AccountId) -> bool {
        self.public || self.owner == *account
    }
}
