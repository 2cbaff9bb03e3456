//! How tests and demos control the sandbox: everything that AWS's API does not offer.
//!
//! The same operations are served over HTTP, see [`http`].

mod autoscaling;
mod cloudwatch;
mod console;
pub(crate) mod http;
mod identities;
mod instances;
mod network;
mod reports;
mod s3;
mod sns;
mod spec;
mod ssm;
mod workers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::caller::AccountId;
use crate::clock::Clock;
use crate::duration::CENTURY;
use crate::state::State;
use crate::state::ec2::world::Pool;
use crate::state::faults::{Fault, FaultId, FaultStatus};
use crate::state::journal::{Call, CallQuery};
pub use reports::ReportsSpec;
pub(crate) use spec::Step;
pub use spec::{
    CapacitySpec, GroupSpec, ImageSpec, LaunchTemplateSpec, SecurityGroupSpec, Settings, SubnetSpec, TopicSpec,
};

/// A handle to a running sandbox. Clones control the same sandbox.
#[derive(Debug, Clone)]
pub struct Control {
    pub(crate) state: Arc<State>,
}

impl Control {
    pub(crate) fn new(state: Arc<State>) -> Self {
        Self { state }
    }

    pub fn clock(&self) -> Arc<Clock> {
        Arc::clone(&self.state.clock)
    }

    pub fn now(&self) -> Timestamp {
        self.state.clock.now()
    }

    /// Advances the clock. When this returns, everything that became due has happened.
    pub fn step(&self, by: Duration) {
        self.state.step(by);
    }

    // Faults.

    pub fn add_fault(&self, fault: Fault) -> FaultId {
        self.state.faults.add(fault)
    }

    pub fn faults(&self) -> Vec<FaultStatus> {
        self.state.faults.list()
    }

    /// Lets the calls continue that this fault holds. It holds no further calls.
    pub fn release_fault(&self, id: FaultId) {
        self.state.faults.release(id);
    }

    pub fn remove_fault(&self, id: FaultId) {
        self.state.faults.remove(id);
    }

    pub fn clear_faults(&self) {
        self.state.faults.clear();
    }

    /// Returns once the fault was applied to this many calls, e.g. once a call is held.
    pub async fn wait_for_hits(&self, id: FaultId, hits: u64) {
        self.state.faults.wait_for_hits(id, hits).await;
    }

    // Journal.

    pub fn calls(&self, query: &CallQuery) -> Vec<Call> {
        self.state.journal.find(query)
    }

    /// The number of calls per `service:operation`.
    pub fn call_counts(&self, query: &CallQuery) -> BTreeMap<String, u64> {
        self.state.journal.counts(query)
    }

    pub fn clear_calls(&self) {
        self.state.journal.clear();
    }

    /// Returns the matching calls once they satisfy `enough`.
    pub async fn wait_for_calls(&self, query: &CallQuery, enough: impl Fn(&[Call]) -> bool) -> Vec<Call> {
        let mut changed = self.state.journal.changes();
        loop {
            let calls = self.state.journal.find(query);
            if enough(&calls) || changed.changed().await.is_err() {
                return calls;
            }
        }
    }

    /// The number of throttled calls per operation.
    pub fn throttled(&self) -> BTreeMap<String, u64> {
        self.state.throttle.throttled()
    }

    // Settings.

    pub fn configure(&self, settings: &Settings) {
        let Settings { throttling, describe_lag, lifecycle } = settings;
        if let Some(on) = throttling {
            self.state.throttle.switch(*on);
        }
        self.state.ec2.with(self.now(), |world| {
            if let Some(lag) = describe_lag {
                world.describe_lag = Duration::from_millis(*lag).min(CENTURY);
            }
            if let Some(lifecycle) = lifecycle {
                world.lifecycle = lifecycle.clone();
            }
        });
    }

    pub fn settings(&self) -> Settings {
        self.state.ec2.with(self.now(), |world| Settings {
            throttling: Some(self.state.throttle.is_on()),
            describe_lag: Some(u64::try_from(world.describe_lag.as_millis()).unwrap_or(u64::MAX)),
            lifecycle: Some(world.lifecycle.clone()),
        })
    }

    pub fn set_throttling(&self, on: bool) {
        self.state.throttle.switch(on);
    }

    /// From now on, describe calls see a write only after this time.
    pub fn set_describe_lag(&self, lag: Duration) {
        self.state.ec2.with(self.now(), |world| world.describe_lag = lag.min(CENTURY));
    }

    pub fn set_capacity(&self, spec: CapacitySpec) {
        let CapacitySpec { account, zone, instance_type, market, limit } = spec;
        self.state.ec2.with(self.now(), |world| {
            world.set_capacity(Pool { account, zone, instance_type, market }, limit);
        });
    }

    /// Whether the account's instances get InstanceMetadataTags when a request does not specify it.
    pub fn set_metadata_tags_default(&self, account: &AccountId, region: &str, on: bool) {
        let now = self.now();
        self.state.ec2.with(now, |world| world.estate(account, region, now).metadata_tags_default = on);
    }

    /// Hides the zone's instances from describe calls, as in an outage. The instances keep running.
    pub fn set_zone_dark(&self, account: &AccountId, region: &str, zone: &str, dark: bool) {
        let now = self.now();
        self.state.ec2.with(now, |world| {
            let zones = &mut world.estate(account, region, now).dark_zones;
            zones.retain(|known| known != zone);
            zones.extend(dark.then(|| zone.to_owned()));
        });
    }
}
