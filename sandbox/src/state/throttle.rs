//! AWS's token buckets, per account, region and API action.
//!
//! Sizes are those of AWS's documentation ("Request throttling for the Amazon EC2 API"): each action has a request
//! bucket of its own, and actions that make or end instances have a resource bucket beside it. Parameter Store and CloudWatch publish rates only
//! ("Systems Manager service quotas", "CloudWatch service quotas"): one second's worth is what they may burst here.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::caller::AccountId;
use crate::error::ApiError;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct BucketSize {
    pub(crate) capacity: u32,
    pub(crate) refill_per_second: u32,
}

const fn bucket(capacity: u32, refill_per_second: u32) -> BucketSize {
    BucketSize { capacity, refill_per_second }
}

/// `Describe*` and the like.
pub(crate) const NON_MUTATING: BucketSize = bucket(100, 20);
/// `Describe*` without ids, filters and MaxResults.
pub(crate) const UNFILTERED_UNPAGINATED: BucketSize = bucket(50, 10);
pub(crate) const MUTATING: BucketSize = bucket(50, 5);
pub(crate) const RUN_INSTANCES: BucketSize = bucket(5, 2);
pub(crate) const RUN_INSTANCES_RESOURCES: BucketSize = bucket(1000, 2);
pub(crate) const TERMINATE_INSTANCES: BucketSize = bucket(100, 5);
pub(crate) const TERMINATE_INSTANCES_RESOURCES: BucketSize = bucket(1000, 20);
pub(crate) const START_INSTANCES: BucketSize = bucket(5, 2);
pub(crate) const START_INSTANCES_RESOURCES: BucketSize = bucket(1000, 2);
pub(crate) const STOP_INSTANCES_RESOURCES: BucketSize = bucket(1000, 20);
pub(crate) const CREATE_TAGS: BucketSize = bucket(100, 10);
/// GetParameter, GetParameters and GetParametersByPath together.
pub(crate) const PARAMETER_READS: BucketSize = bucket(40, 40);
pub(crate) const PUT_PARAMETER: BucketSize = bucket(3, 3);
/// The other actions of Parameter Store, whose rates are not published.
pub(crate) const PARAMETER_OTHERS: BucketSize = bucket(5, 5);
pub(crate) const GET_METRIC_DATA: BucketSize = bucket(50, 50);

/// SNS: CreateTopic and GetTopicAttributes, each.
pub(crate) const TOPICS: BucketSize = bucket(30, 30);
/// Of a FIFO topic, and of others in most regions.
pub(crate) const PUBLISH: BucketSize = bucket(300, 300);

/// What a call costs: so many tokens of each bucket, all or nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Charge {
    pub(crate) bucket: &'static str,
    pub(crate) size: BucketSize,
    pub(crate) tokens: u32,
}

#[derive(Debug)]
pub(crate) struct Throttle {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    on: bool,
    buckets: HashMap<(AccountId, String, &'static str), Bucket>,
    throttled: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Duration,
}

impl Throttle {
    pub(crate) fn new(on: bool) -> Self {
        Self { inner: Mutex::new(Inner { on, buckets: HashMap::new(), throttled: BTreeMap::new() }) }
    }

    pub(crate) fn switch(&self, on: bool) {
        self.lock().on = on;
    }

    pub(crate) fn is_on(&self) -> bool {
        self.lock().on
    }

    /// How many calls of each operation were refused.
    pub(crate) fn throttled(&self) -> BTreeMap<String, u64> {
        self.lock().throttled.clone()
    }

    pub(crate) fn take(
        &self,
        account: &AccountId,
        region: &str,
        operation: &str,
        charges: &[Charge],
        now: Duration,
    ) -> Result<(), ApiError> {
        let mut inner = self.lock();
        if !inner.on {
            return Ok(());
        }
        let key = |charge: &Charge| (account.clone(), region.to_owned(), charge.bucket);
        let enough = charges.iter().all(|charge| {
            let full = f64::from(charge.size.capacity);
            let bucket = inner.buckets.entry(key(charge)).or_insert(Bucket { tokens: full, at: now });
            let passed = now.saturating_sub(bucket.at).as_secs_f64();
            bucket.tokens = (bucket.tokens + passed * f64::from(charge.size.refill_per_second)).min(full);
            bucket.at = now;
            bucket.tokens >= f64::from(charge.tokens)
        });
        if !enough {
            *inner.throttled.entry(operation.to_owned()).or_default() += 1;
            return Err(ApiError::new("RequestLimitExceeded", "Request limit exceeded."));
        }
        for charge in charges {
            if let Some(bucket) = inner.buckets.get_mut(&key(charge)) {
                bucket.tokens -= f64::from(charge.tokens);
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(id: &str) -> AccountId {
        id.parse().expect("an account id")
    }

    fn run(throttle: &Throttle, account: &AccountId, instances: u32, millis: u64) -> bool {
        let charges = [
            Charge { bucket: "RunInstances", size: RUN_INSTANCES, tokens: 1 },
            Charge { bucket: "RunInstances/resources", size: RUN_INSTANCES_RESOURCES, tokens: instances },
        ];
        throttle.take(account, "eu-west-1", "RunInstances", &charges, Duration::from_millis(millis)).is_ok()
    }

    #[test]
    fn launches_burst_five_and_refill_two_a_second() {
        let (throttle, one) = (Throttle::new(true), account("111111111111"));
        let outcomes: Vec<bool> = (0..6).map(|_| run(&throttle, &one, 1, 0)).collect();
        assert_eq!(outcomes, [true, true, true, true, true, false]);
        assert!(!run(&throttle, &one, 1, 499));
        assert!(run(&throttle, &one, 1, 500));
        assert!(!run(&throttle, &one, 1, 501));
        assert_eq!(throttle.throttled()["RunInstances"], 3);
    }

    #[test]
    fn instances_cost_a_token_each_and_a_refusal_costs_none() {
        let (throttle, one) = (Throttle::new(true), account("111111111111"));
        assert!(run(&throttle, &one, 990, 0));
        assert!(!run(&throttle, &one, 11, 0));
        assert!(run(&throttle, &one, 10, 0));
        assert!(run(&throttle, &one, 2, 1000));
    }

    #[test]
    fn accounts_do_not_share_buckets() {
        let (throttle, one, two) = (Throttle::new(true), account("111111111111"), account("222222222222"));
        for _ in 0..5 {
            assert!(run(&throttle, &one, 1, 0));
        }
        assert!(!run(&throttle, &one, 1, 0));
        assert!(run(&throttle, &two, 1, 0));
    }

    #[test]
    fn nothing_is_refused_while_off() {
        let (throttle, one) = (Throttle::new(false), account("111111111111"));
        assert!((0..100).all(|_| run(&throttle, &one, 100, 0)));
    }
}
