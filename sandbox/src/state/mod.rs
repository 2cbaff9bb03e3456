//! The state of one sandbox. [`crate::services`] and [`crate::control`] work on it; nothing here depends on either.

pub(crate) mod accounts;
pub(crate) mod autoscaling;
pub(crate) mod cloudwatch;
pub(crate) mod ec2;
pub(crate) mod faults;
pub(crate) mod journal;
pub(crate) mod s3;
pub(crate) mod sns;
pub(crate) mod ssm;
pub(crate) mod throttle;
pub(crate) mod workers;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::SandboxConfig;
use crate::duration::CENTURY;
use accounts::Accounts;
use cloudwatch::CloudWatch;
use ec2::Ec2;
use faults::Faults;
use journal::Journal;
use s3::S3State;
use sns::Sns;
use ssm::Ssm;
use throttle::Throttle;
use workers::Workers;

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) clock: Arc<Clock>,
    pub(crate) journal: Journal,
    pub(crate) faults: Faults,
    pub(crate) throttle: Throttle,
    pub(crate) accounts: Accounts,
    pub(crate) ec2: Ec2,
    pub(crate) s3: Arc<S3State>,
    pub(crate) sns: Sns,
    pub(crate) ssm: Arc<Ssm>,
    pub(crate) cloudwatch: CloudWatch,
    pub(crate) workers: Workers,
    /// Calls under way. AWS carries a call through when the caller has hung up, and so does the sandbox.
    pub(crate) calls: TaskTracker,
}

impl State {
    pub(crate) fn new(config: &SandboxConfig) -> Self {
        let clock = Arc::new(Clock::new(config.clock));
        let ssm = Arc::new(Ssm::default());
        Self {
            journal: Journal::default(),
            faults: Faults::default(),
            throttle: Throttle::new(config.throttling),
            accounts: Accounts::default(),
            ec2: Ec2::new(config.lifecycle.clone(), config.describe_lag.min(CENTURY), Arc::clone(&ssm)),
            s3: Arc::new(S3State::new({
                let clock = Arc::clone(&clock);
                move || clock.now()
            })),
            sns: Sns::default(),
            ssm,
            cloudwatch: CloudWatch::default(),
            workers: Workers::default(),
            calls: TaskTracker::new(),
            clock,
        }
    }

    /// Advances the sandbox's clock, and lets everything happen that becomes due on the way.
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
