//! The time, as something that is passed in.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Wall time for what people read, monotonic time for what safety needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the wall clock is read")]
    pub fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// Never jumps, so deadlines and grace periods count on it.
    pub fn monotonic(&self) -> Instant {
        Instant::now()
    }
}

/// Every span that the write protocol rests on, in one value, so that tests run the same code in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// How long a lease lasts after its last renewal.
    pub lease: Duration,
    /// The longest that one call to AWS or Kubernetes may take, all attempts together.
    pub call_deadline: Duration,
    /// An intent is sent within this time of its acknowledgement, or looked at again.
    pub send_window: Duration,
    /// For how long a write may be missing from what EC2 describes.
    pub describe_grace: Duration,
    /// For how long many machines that EC2 knows nothing of are believed in: it shows what has ended for about an hour.
    pub vanished: Duration,
    /// How often the world is compared with the wish when nothing happens.
    pub sweep: Duration,
    /// The same while something is on its way.
    pub progress: Duration,
    /// How long a missing reference may be on its way before the object counts as stalled.
    pub reference_grace: Duration,
    /// How long a worker may take to end itself once it is needed no longer.
    pub exit_grace: Duration,
    /// For how long a pool without capacity is left alone.
    pub capacity_cooldown: Duration,
    /// A minute of `metrics.cpu.period`, as far as it says how often CloudWatch is asked.
    pub minute: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(60),
            call_deadline: Duration::from_secs(30),
            send_window: Duration::from_secs(10),
            describe_grace: Duration::from_secs(60),
            vanished: Duration::from_secs(3600),
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
    /// How long after first sight an intent without a token, sent by another holder, may still take effect.
    pub fn settle_by_search(&self) -> Duration {
        self.lease + self.call_deadline + self.describe_grace
    }
}
