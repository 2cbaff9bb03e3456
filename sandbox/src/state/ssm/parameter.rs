//! A parameter and its versions.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::caller::AccountId;

/// Parameter Store drops the oldest version beyond these.
pub(crate) const MAX_VERSIONS: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    String,
    StringList,
    SecureString,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::String => "String",
            Self::StringList => "StringList",
            Self::SecureString => "SecureString",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tier {
    Standard,
    Advanced,
}

impl Tier {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Standard => "Standard",
            Self::Advanced => "Advanced",
        }
    }

    pub(crate) fn max_bytes(self) -> usize {
        match self {
            Self::Standard => 4096,
            Self::Advanced => 8192,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    pub number: u64,
    pub value: String,
    pub kind: Kind,
    pub key_id: Option<String>,
    pub tier: Tier,
    pub data_type: String,
    pub description: Option<String>,
    pub modified: Timestamp,
    /// The ARN of who wrote it.
    pub modified_by: String,
    /// What a SecureString reads without decryption.
    #[serde(skip)]
    pub(crate) ciphertext: String,
}

/// Without the value, which may be secret.
impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Version").field("number", &self.number).field("kind", &self.kind).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Parameter {
    pub name: String,
    pub arn: String,
    /// Oldest first, never empty.
    pub versions: VecDeque<Version>,
    pub tags: BTreeMap<String, String>,
}

impl Parameter {
    pub(crate) fn new(owner: Option<&AccountId>, region: &str, name: &str, first: Version) -> Self {
        let owner = owner.map(AccountId::as_str).unwrap_or_default();
        let arn = format!("arn:aws:ssm:{region}:{owner}:parameter/{}", name.trim_start_matches('/'));
        Self { name: name.to_owned(), arn, versions: VecDeque::from([first]), tags: BTreeMap::new() }
    }

    pub fn latest(&self) -> Option<&Version> {
        self.versions.back()
    }

    pub(crate) fn add(&mut self, version: Version) {
        self.versions.push_back(version);
        if self.versions.len() > MAX_VERSIONS {
            self.versions.pop_front();
        }
    }

    /// The `Parameter` of the API.
    pub(crate) fn shown(&self, version: &Version, selector: Option<&str>, decrypted: bool) -> Value {
        let value = match version.kind {
            Kind::SecureString if !decrypted => &version.ciphertext,
            Kind::String | Kind::StringList | Kind::SecureString => &version.value,
        };
        let mut shown = json!({
            "Name": self.name,
            "Type": version.kind.name(),
            "Value": value,
            "Version": version.number,
            "LastModifiedDate": seconds(version.modified),
            "ARN": self.arn,
            "DataType": version.data_type,
        });
        if let Some(selector) = selector {
            shown["Selector"] = json!(format!(":{selector}"));
        }
        shown
    }

    /// The `ParameterMetadata` of the API.
    pub(crate) fn described(&self, version: &Version) -> Value {
        let mut described = json!({
            "Name": self.name,
            "ARN": self.arn,
            "Type": version.kind.name(),
            "LastModifiedDate": seconds(version.modified),
            "LastModifiedUser": version.modified_by,
            "Version": version.number,
            "Tier": version.tier.name(),
            "Policies": [],
            "DataType": version.data_type,
        });
        if let Some(key) = &version.key_id {
            described["KeyId"] = json!(key);
        }
        if let Some(description) = &version.description {
            described["Description"] = json!(description);
        }
        described
    }
}

/// Seconds since 1970 with milliseconds, as the JSON protocol writes times.
fn seconds(time: Timestamp) -> f64 {
    time.as_millisecond() as f64 / 1000.0
}
