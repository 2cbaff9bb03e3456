//! The configuration of a sandbox: plain values.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration::millis;

#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// Where to listen. Port 0 takes any free port.
    pub listen: SocketAddr,
    pub clock: ClockMode,
    pub lifecycle: Lifecycle,
    /// Throttling with EC2's real request and resource token buckets.
    pub throttling: bool,
    /// How long it takes until DescribeInstances and DescribeInstanceStatus see a write.
    pub describe_lag: Duration,
    /// Gives each running instance a folder and processes. `None`: instances exist only in API answers.
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ClockMode {
    /// Follows the wall clock. Steps are added to it.
    #[default]
    Real,
    /// Stands still at the time of the start, and moves by steps only.
    Manual,
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
    /// From CreateImage until the image is available.
    #[serde(with = "millis")]
    pub images: Duration,
    /// From terminated until the tags are gone.
    #[serde(with = "millis")]
    pub terminated_tags: Duration,
    /// From terminated until describe calls no longer return the instance.
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
            images: Duration::from_millis(300),
            terminated_tags: Duration::from_secs(600),
            terminated_rows: Duration::from_secs(3600),
        }
    }
}

/// What runs on workers.
#[derive(Debug, Clone, Default)]
pub struct WorkersConfig {
    /// The program `muster-agent`. `None`: no agent runs.
    pub agent: Option<PathBuf>,
    /// Written to `$ROOT/etc/muster-agent/agent.toml` before user data runs, which may write another one. `$ROOT` in it
    /// stands for the worker's folder.
    pub agent_config: Option<String>,
    /// Run user data as cloud-init would: a script, or the scripts and boothooks of a MIME archive. `shutdown` and the
    /// like, on a worker, stop or terminate its instance.
    pub user_data: bool,
    /// PATH on workers. `None`: the folders that every system has.
    pub path: Option<String>,
}
