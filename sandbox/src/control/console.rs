//! Console output of instances, and the notices that EC2 gives to Spot Instances.

use std::time::Duration;

use super::Control;
use crate::error::ApiError;
use crate::state::ec2::console;
use crate::state::ec2::instance::{InstanceState, Market, Transition};

impl Control {
    /// Sets what GetConsoleOutput returns from now on, instead of the output of a virtual worker.
    pub fn set_console_output(&self, id: &str, text: &[u8]) -> Result<(), ApiError> {
        let text = console::tail(text).to_vec();
        self.on_instance(id, |world, account, region, _sequence, now| {
            world.estate(account, region, now).consoles.insert(id.to_owned(), text);
        })
    }

    /// Keeps the console output of a worker that has ended, unless [`Self::set_console_output`] set another one.
    pub(crate) fn keep_console_output(&self, id: &str, text: Vec<u8>) {
        let kept = self.on_instance(id, |world, account, region, _sequence, now| {
            world.estate(account, region, now).consoles.entry(id.to_owned()).or_insert(text);
        });
        if let Err(gone) = kept {
            tracing::debug!(instance = id, error = &gone as &dyn std::error::Error, "nobody will ask for its console");
        }
    }

    /// Tells a Spot Instance, in its metadata, that it is at elevated risk of interruption.
    pub fn recommend_rebalance(&self, id: &str) -> Result<(), ApiError> {
        self.check_spot(id)?;
        self.on_instance(id, |world, account, region, sequence, now| {
            if let Some(instance) = world.instance_mut(account, region, sequence) {
                instance.rebalance_recommended.get_or_insert(now);
            }
        })
    }

    /// Tells a Spot Instance, in its metadata, that it will be terminated, and terminates it when the notice has
    /// passed. EC2 gives two minutes.
    pub fn interrupt_spot_instance(&self, id: &str, notice: Duration) -> Result<(), ApiError> {
        self.check_spot(id)?;
        self.on_instance(id, |world, account, region, sequence, now| {
            let Some(instance) = world.instance_mut(account, region, sequence) else { return };
            instance.interruption_at = Some(now + notice);
            // One that is pending is told now and taken once it runs.
            if instance.state == InstanceState::Running {
                world.expect(sequence, account, region, now + notice, Transition::Reclaim);
            }
        })
    }

    pub(super) fn check_spot(&self, id: &str) -> Result<(), ApiError> {
        match self.instance(id) {
            Some(instance) if instance.market == Market::OnDemand => {
                Err(ApiError::new("UnsupportedOperation", format!("{id} is not a Spot Instance")))
            }
            Some(_) | None => Ok(()),
        }
    }
}
