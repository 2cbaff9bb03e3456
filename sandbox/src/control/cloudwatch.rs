//! CloudWatch as tests and demos control it.

use std::time::Duration;

use jiff::Timestamp;

use super::Control;
use crate::duration::CENTURY;
use crate::error::ApiError;
use crate::state::ec2::ids;

impl Control {
    /// Sets the instance's CPU utilization from `since` on, in percent, and drops what was set for later times. `None`
    /// for `percent`: nothing is reported. `since` may lie before the launch, so that a test has a history; without it,
    /// it is now.
    pub fn set_cpu(&self, id: &str, percent: Option<f64>, since: Option<Timestamp>) -> Result<(), ApiError> {
        self.instance(id).ok_or_else(|| ids::instances_not_found(&[id]))?;
        if percent.is_some_and(|percent| !(0.0..=100.0).contains(&percent)) {
            return Err(ApiError::new("InvalidParameterValue", "percent must be from 0 to 100"));
        }
        self.state.cloudwatch.set(id, percent, since.unwrap_or_else(|| self.now()));
        Ok(())
    }

    /// How long it takes from the end of an interval until its value can be read. 0 unless set.
    pub fn set_metrics_lag(&self, lag: Duration) {
        self.state.cloudwatch.set_lag(lag.min(CENTURY));
    }
}
