//! Reconciles with current data, which the annotation `muster.dev/requested-at` asks for.

use std::time::Duration;

use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};

use crate::clock::Timings;

/// How many requests a namespace may make at once.
const BURST: std::num::NonZeroU32 = std::num::NonZeroU32::new(10).unwrap();

/// More namespaces than this are not remembered once they have made no request for a while.
const REMEMBERED: usize = 1000;

/// Each request costs calls to EC2, whose rate all namespaces of an account share. So each namespace has a rate of its
/// own, and a request beyond it waits.
#[derive(Debug)]
pub struct Requests(DefaultKeyedRateLimiter<String>);

impl Requests {
    pub fn new(timings: &Timings) -> Self {
        let quota = Quota::with_period(timings.progress).unwrap_or(Quota::per_second(BURST));
        Self(RateLimiter::keyed(quota.allow_burst(BURST)))
    }

    /// How long a further request of `namespace` has to wait, if it does.
    pub fn wait(&self, namespace: &str) -> Option<Duration> {
        if self.0.len() > REMEMBERED {
            self.0.retain_recent();
        }
        let full = self.0.check_key(&namespace.to_owned()).err()?;
        Some(full.wait_time_from(DefaultClock::default().now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_requests_in_a_loop_delays_only_itself() {
        let requests = Requests::new(&Timings::default());
        let granted = (0..1000).filter(|_| requests.wait("loop").is_none()).count();
        assert_eq!(granted, 10);
        let wait = requests.wait("loop").unwrap();
        assert!(wait <= Timings::default().progress, "{wait:?}");
        assert_eq!(requests.wait("other"), None);
    }
}
