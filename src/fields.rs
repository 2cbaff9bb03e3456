//! Fields that several kinds share: of their specs, their status, and the checks that go with them.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aws::Session;

/// Where in AWS the object's machines, buckets and so on are, and as whom muster goes there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwsRef {
    /// The AWS region, for example `eu-west-1`.
    #[schemars(length(min = 5, max = 32), pattern(r"^[a-z]{2,}(-[a-z]+)+-[0-9]+$"))]
    pub region: String,
    /// The AwsAccount to act through. It must grant this namespace; there is no fall-back to another identity.
    #[serde(default)]
    pub account_ref: AccountRef,
}

/// The name of an AwsAccount.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountRef {
    /// The name of the AwsAccount.
    #[serde(default = "default_account")]
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

fn default_account() -> String {
    "default".into()
}

impl Default for AccountRef {
    fn default() -> Self {
        Self { name: default_account() }
    }
}

/// What the status of every kind holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommonStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The last `muster.dev/requested-at` that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub last_handled_requested_at: Option<String>,
    /// What is so, and why. `Ready` summarises; `Stalled` is present while somebody has to change something.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// The account and region that an object's first call went to. A later difference stops all calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwsStatus {
    /// The id of the AWS account.
    #[serde(rename = "accountID")]
    #[schemars(length(max = 12))]
    pub account_id: String,
    /// The AWS region.
    #[schemars(length(max = 32))]
    pub region: String,
}

impl From<&Session> for AwsStatus {
    fn from(session: &Session) -> Self {
        Self { account_id: session.account.to_string(), region: session.region.to_string() }
    }
}

/// A span of time as Kubernetes writes it: `90s`, `5m`, `1h30m`.
pub const DURATION_PATTERN: &str = "^([0-9]+(h|m|s|ms))+$";

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a span of time; write it like 90s, 5m, 24h or 1h30m")]
pub struct InvalidDuration(String);

/// Reads `90s`, `5m`, `24h`, `1h30m`.
pub fn duration(text: &str) -> Result<Duration, InvalidDuration> {
    let invalid = || InvalidDuration(text.to_owned());
    let mut total = Duration::ZERO;
    let mut rest = text;
    if rest.is_empty() {
        return Err(invalid());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(invalid)?;
        let amount: u64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let units = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit_ms = match &rest[..units] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(invalid()),
        };
        rest = &rest[units..];
        let span = Duration::from_millis(amount.checked_mul(unit_ms).ok_or_else(invalid)?);
        total = total.checked_add(span).ok_or_else(invalid)?;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_kubernetes_writes_them() {
        for (text, seconds) in [("90s", 90), ("5m", 300), ("24h", 86_400), ("1h30m", 5_400), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "5", "m", "5 m", "-5m", "5d", "5m3", "99999999999999999999h", "999999999999999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
