//! The clock, and the durations that the controller uses.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Wall time for what people read, monotonic time for safety.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the wall clock is read")]
    pub fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// Never jumps, so deadlines and grace periods use it.
    pub fn monotonic(&self) -> Instant {
        Instant::now()
    }
}

/// The durations of the write protocol, in one value, so that tests can use milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// How long a lease lasts after its last renewal.
    pub lease: Duration,
    /// The maximum duration of one call to AWS or Kubernetes, all attempts together.
    pub call_deadline: Duration,
    /// An intent is sent within this time after its acknowledgement, or settled by a later reconcile.
    pub send_window: Duration,
    /// How long DescribeInstances may lag behind a write.
    pub describe_grace: Duration,
    /// How long missing instances still count if many are missing: EC2 shows terminated instances for about an hour.
    pub overdue: Duration,
    /// The time between full sweeps of EC2 when nothing changes.
    pub sweep: Duration,
    /// The time between reconciles while a change is in progress.
    pub progress: Duration,
    /// How long a reference may be missing before the object counts as stalled.
    pub reference_grace: Duration,
    /// How long a worker may take to shut itself down once it is no longer needed.
    pub exit_grace: Duration,
    /// How long a pool without capacity is not used.
    pub capacity_cooldown: Duration,
    /// The length of a minute of `metrics.cpu.period` in the interval of requests to CloudWatch.
    pub minute: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(60),
            call_deadline: Duration::from_secs(30),
            send_window: Duration::from_secs(10),
            describe_grace: Duration::from_secs(60),
            overdue: Duration::from_secs(3600),
            sweep: Duration::from_secs(60),
            progress: Duration::from_secs(5),
            reference_grace: Duration::from_secs(120),
            exit_grace: Duration::from_secs(60),
            capacity_cooldown: Duration::from_secs(180),
            minute: Duration::from_secs(60),
        }
    }
}

impl Timings {
    /// How long, after it was first seen, an intent that another holder sent may still take effect.
    pub fn settle_by_search(&self) -> Duration {
        self.lease + self.call_deadline + self.describe_grace
    }
}
