//! What the services of one sandbox share.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use crate::accounts::Accounts;
use crate::clock::Clock;
use crate::cloudwatch::CloudWatch;
use crate::config::{CENTURY, SandboxConfig};
use crate::ec2::Ec2;
use crate::faults::Faults;
use crate::journal::Journal;
use crate::s3::S3;
use crate::ssm::Ssm;
use crate::throttle::Throttle;
use crate::workers::Workers;

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) clock: Arc<Clock>,
    pub(crate) journal: Journal,
    pub(crate) faults: Faults,
    pub(crate) throttle: Throttle,
    pub(crate) accounts: Accounts,
    pub(crate) ec2: Ec2,
    pub(crate) s3: S3,
    pub(crate) ssm: Ssm,
    pub(crate) cloudwatch: CloudWatch,
    pub(crate) workers: Workers,
    /// Calls under way. AWS carries a call through when the caller has hung up, and so does the sandbox.
    pub(crate) calls: TaskTracker,
}

impl State {
    pub(crate) fn new(config: &SandboxConfig) -> Self {
        let clock = Arc::new(Clock::new(config.clock));
        Self {
            journal: Journal::default(),
            faults: Faults::default(),
            throttle: Throttle::new(config.throttling),
            accounts: Accounts::default(),
            ec2: Ec2::new(config.lifecycle.clone(), config.describe_lag.min(CENTURY)),
            s3: S3::new(Arc::clone(&clock)),
            ssm: Ssm::default(),
            cloudwatch: CloudWatch::default(),
            workers: Workers::default(),
            calls: TaskTracker::new(),
            clock,
        }
    }

    /// Moves the sandbox's clock, and lets everything happen that comes due on the way.
    pub(crate) fn step(&self, by: Duration) {
        self.clock.step(by);
        self.ec2.tick(self.clock.now());
    }

    /// Keeps lifecycles going on a real clock.
    pub(crate) async fn keep_time(self: Arc<Self>) {
        let mut changed = self.ec2.changes();
        loop {
            let due = self.ec2.tick(self.clock.now());
            self.clock.sleep_until(due, &mut changed).await;
        }
    }
}
