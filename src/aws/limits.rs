//! The request rates of AWS, limited by muster itself, so that it never uses up the rates of others in the account.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use governor::{
    DefaultDirectRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    clock::Clock,
    ids::{AccountId, Region},
};

/// A rate of AWS, per account and region (EC2 API Reference, "Request throttling"; the default quotas of Parameter
/// Store and CloudWatch).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bucket {
    RunInstancesRequests,
    RunInstancesResources,
    TerminateInstances,
    TerminateInstancesResources,
    CreateTags,
    Describe,
    /// GetParameter and GetParameters.
    ParameterReads,
    /// Calls that change or describe parameters. AWS publishes only the rate of PutParameter, the lowest of all.
    ParameterWrites,
    GetMetricData,
    /// Describes of Auto Scaling, whose rate AWS does not publish; calls were throttled with about 230 groups (kops#7111).
    AutoScaling,
}

impl Bucket {
    /// Burst, and refill per second. The burst of launches, terminations and writes is half a second below that of AWS,
    /// because calls may arrive closer together than they were sent, and a throttled call costs a further reconcile.
    fn size(self) -> (u32, u32) {
        match self {
            Self::RunInstancesRequests => (5 - 1, 2),
            Self::RunInstancesResources => (1000 - 1, 2),
            Self::TerminateInstances => (100 - 3, 5),
            Self::TerminateInstancesResources => (1000 - 10, 20),
            Self::CreateTags => (100, 10),
            Self::Describe => (100, 20),
            Self::ParameterReads => (40, 40),
            Self::ParameterWrites => (3 - 2, 3),
            Self::GetMetricData => (50, 50),
            Self::AutoScaling => (20, 5),
        }
    }
}

/// Taken before an intent is recorded, so that nothing waits between the record and the call.
#[derive(Debug)]
#[must_use]
pub struct Permit(());

/// The bucket is empty. Try again after this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotNow(pub Duration);

/// How many objects may write parameters of an account and region at the same time. The rate is so low that more
/// objects would only wait, and delay the reconciles of others.
const PARAMETER_WRITERS: usize = 2;

/// The permission to write parameters, at the rate of [`Bucket::ParameterWrites`].
#[derive(Debug)]
#[must_use]
pub struct ParameterWriter(#[expect(dead_code, reason = "released when dropped")] OwnedSemaphorePermit);

#[derive(Debug, Default)]
pub struct Limits {
    writers: Mutex<HashMap<(AccountId, Region), Arc<Semaphore>>>,
    buckets: Mutex<HashMap<(AccountId, Region, Bucket), Arc<DefaultDirectRateLimiter>>>,
}

impl Limits {
    /// Takes `amount` without waiting, or nothing. An amount over the burst counts as the burst.
    pub fn take(&self, account: &AccountId, region: &Region, bucket: Bucket, amount: u32) -> Result<Permit, NotNow> {
        let (burst, _) = bucket.size();
        let amount = NonZeroU32::new(amount.min(burst)).unwrap_or(NonZeroU32::MIN);
        let limiter = self.limiter(account, region, bucket);
        match limiter.check_n(amount) {
            Ok(Ok(())) => Ok(Permit(())),
            Ok(Err(until)) => Err(NotNow(until.wait_time_from(DefaultClock::default().now()))),
            Err(_) => Err(NotNow(Duration::from_secs(1))),
        }
    }

    /// `None` while enough other objects write.
    pub fn parameter_writer(&self, account: &AccountId, region: &Region) -> Option<ParameterWriter> {
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        let all = writers.entry((account.clone(), region.clone()));
        let all = all.or_insert_with(|| Arc::new(Semaphore::new(PARAMETER_WRITERS)));
        Arc::clone(all).try_acquire_owned().ok().map(ParameterWriter)
    }

    /// Takes `amount`, and waits until `deadline` for it.
    pub async fn wait(
        &self,
        account: &AccountId,
        region: &Region,
        bucket: Bucket,
        amount: u32,
        deadline: Instant,
    ) -> Result<Permit, NotNow> {
        loop {
            match self.take(account, region, bucket, amount) {
                Err(NotNow(wait)) if Clock.monotonic() + wait < deadline => tokio::time::sleep(wait).await,
                answer => return answer,
            }
        }
    }

    fn limiter(&self, account: &AccountId, region: &Region, bucket: Bucket) -> Arc<DefaultDirectRateLimiter> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let limiter = buckets.entry((account.clone(), region.clone(), bucket)).or_insert_with(|| {
            let (burst, refill) = bucket.size();
            let at_least_one = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
            Arc::new(RateLimiter::direct(Quota::per_second(at_least_one(refill)).allow_burst(at_least_one(burst))))
        });
        limiter.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_allows_its_burst_and_then_returns_the_delay() {
        let limits = Limits::default();
        let account = AccountId::try_from("111111111111").unwrap();
        let region = Region::try_from("eu-west-1").unwrap();
        for _ in 0..4 {
            assert!(limits.take(&account, &region, Bucket::RunInstancesRequests, 1).is_ok());
        }
        let NotNow(wait) = limits.take(&account, &region, Bucket::RunInstancesRequests, 1).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_millis(500), "{wait:?}");
        let elsewhere = Region::try_from("us-east-1").unwrap();
        assert!(limits.take(&account, &elsewhere, Bucket::RunInstancesRequests, 1).is_ok());
    }

    #[test]
    fn few_parameter_writers_run_at_once_and_further_ones_do_not_wait() {
        let limits = Limits::default();
        let account = AccountId::try_from("111111111111").unwrap();
        let region = |name| Region::try_from(name).unwrap();
        let writer = |name| limits.parameter_writer(&account, &region(name));
        let (first, second) = (writer("eu-west-1"), writer("eu-west-1"));
        assert!(first.is_some() && second.is_some() && writer("eu-west-1").is_none());
        assert!(writer("us-east-1").is_some(), "each region has a rate of its own");
        drop(first);
        assert!(writer("eu-west-1").is_some());
    }
}
