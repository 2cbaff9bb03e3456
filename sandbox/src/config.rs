//! How a sandbox is set up.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::ClockMode;
use crate::workers::WorkersConfig;

#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// Where to listen. Port 0 takes any free port.
    pub listen: SocketAddr,
    pub clock: ClockMode,
    pub lifecycle: Lifecycle,
    /// EC2's request and resource buckets in their real sizes.
    pub throttling: bool,
    /// How long DescribeInstances and DescribeInstanceStatus stay blind for a write.
    pub describe_lag: Duration,
    /// Gives each running instance a folder and processes. `None`: instances are rows and no more.
    pub workers: Option<WorkersConfig>,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            clock: ClockMode::Real,
            lifecycle: Lifecycle::default(),
            throttling: true,
            describe_lag: Duration::ZERO,
            workers: None,
        }
    }
}

/// How long instances stay in each transient state. The order is EC2's; the default times are short, so that demos and
/// tests on a real clock do not wait; the times after the end are EC2's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Lifecycle {
    #[serde(with = "millis")]
    pub pending: Duration,
    /// From running until both status checks are ok.
    #[serde(with = "millis")]
    pub initializing: Duration,
    #[serde(with = "millis")]
    pub stopping: Duration,
    #[serde(with = "millis")]
    pub shutting_down: Duration,
    /// From terminated until the tags are gone.
    #[serde(with = "millis")]
    pub terminated_tags: Duration,
    /// From terminated until the row is gone.
    #[serde(with = "millis")]
    pub terminated_rows: Duration,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self {
            pending: Duration::from_millis(300),
            initializing: Duration::from_millis(600),
            stopping: Duration::from_millis(300),
            shutting_down: Duration::from_millis(300),
            terminated_tags: Duration::from_secs(600),
            terminated_rows: Duration::from_secs(3600),
        }
    }
}

/// Nothing in the sandbox lasts longer: the calendar ends in the year 9999.
pub(crate) const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Durations as whole milliseconds in JSON.
pub(crate) mod millis {
    use std::time::Duration;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::CENTURY;

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let duration = Duration::from_millis(u64::deserialize(from)?);
        if duration > CENTURY {
            return Err(D::Error::custom(format!("at most a century, {} ms", CENTURY.as_millis())));
        }
        Ok(duration)
    }
}
