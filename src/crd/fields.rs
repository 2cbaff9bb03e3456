//! Fields of specs and statuses that several kinds share, and their checks.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The region and the AwsAccount that muster uses for this object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwsRef {
    /// The AWS region, for example `eu-west-1`.
    #[schemars(length(min = 5, max = 32), pattern(r"^[a-z]{2,}(-[a-z]+)+-[0-9]+$"))]
    pub region: String,
    /// The AwsAccount to use. It must grant the access to this namespace; there is no fallback to another identity.
    #[serde(default)]
    pub account_ref: AccountRef,
}

/// The name of an AwsAccount.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountRef {
    /// The name of the AwsAccount.
    #[serde(default = "default_account")]
    #[schemars(
        length(min = 1, max = 253),
        pattern(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
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

/// A default.
pub(super) fn number<const N: i32>() -> i32 {
    N
}

/// The fields that the status of every kind has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommonStatus {
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The last value of the annotation `muster.dev/requested-at` that was handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub last_handled_requested_at: Option<String>,
    /// Current conditions of the object. `Ready` is the summary. `Stalled` is present while the object needs a change
    /// by a user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// The AWS account and region of the first call for this object. If they change later, no further calls are made.
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

/// A duration as Kubernetes writes it: `90s`, `5m`, `1h30m`.
pub const DURATION_PATTERN: &str = "^([0-9]+(h|m|s|ms))+$";

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a duration; write it like 90s, 5m, 24h or 1h30m")]
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

/// With the value `true`, the plan is written to `status.plan` and not applied.
pub const PLAN_ONLY: &str = "muster.dev/plan-only";

/// Whether the value of the annotation requests only the plan.
pub fn is_plan_only(annotation: Option<&str>) -> bool {
    annotation == Some("true")
}

/// What muster would do now without the annotation `muster.dev/plan-only`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Preview {
    /// The steps, one per line. Empty when there is nothing to do.
    #[schemars(length(max = 32), inner(length(max = 1024)), extend("x-kubernetes-list-type" = "atomic"))]
    pub steps: Vec<String>,
    /// True when there are more steps than are listed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

impl Preview {
    pub fn new(mut steps: Vec<String>, truncated: bool) -> Self {
        let truncated = truncated || steps.len() > SHOWN;
        steps.truncate(SHOWN);
        Self { steps, truncated }
    }

    /// Inserts a step before the others.
    pub fn begin_with(&mut self, step: String) {
        let Self { steps, truncated } = std::mem::take(self);
        *self = Self::new([step].into_iter().chain(steps).collect(), truncated);
    }
}

/// How many steps of a plan the status lists.
const SHOWN: usize = 32;

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
