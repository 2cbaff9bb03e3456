//! What tests and demos may do with CloudWatch beside its API, in process and as JSON.
//!
//! ```text
//! PUT    /_sandbox/instances/{id}/cpu             {percent, since}: from then on; percent null: nothing is reported
//! PUT    /_sandbox/metrics-lag                    {millis}
//! ```

use std::time::Duration;

use axum::extract::{Path, State as Shared};
use axum::routing::put;
use axum::{Json, Router};
use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;

use crate::config::CENTURY;
use crate::control::{Control, Step};
use crate::ec2::ids;
use crate::error::ApiError;

impl Control {
    /// From `since` on the instance is so busy, in percent, whatever was said before of later times. `None` for `percent`:
    /// it reports nothing. `since` may lie before the launch, so that a test has a past to look at; without it, now.
    pub fn set_cpu(&self, id: &str, percent: Option<f64>, since: Option<Timestamp>) -> Result<(), ApiError> {
        self.instance(id).ok_or_else(|| ids::instances_not_found(&[id]))?;
        if percent.is_some_and(|percent| !(0.0..=100.0).contains(&percent)) {
            return Err(ApiError::new("InvalidParameterValue", "percent must be from 0 to 100"));
        }
        self.state.cloudwatch.set(id, percent, since.unwrap_or_else(|| self.now()));
        Ok(())
    }

    /// How long a value takes from the end of its interval until it can be read. 0 unless set.
    pub fn set_metrics_lag(&self, lag: Duration) {
        self.state.cloudwatch.set_lag(lag.min(CENTURY));
    }
}

pub(crate) fn routes() -> Router<Control> {
    Router::new()
        .route("/_sandbox/instances/{id}/cpu", put(set_cpu))
        .route("/_sandbox/metrics-lag", put(set_metrics_lag))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cpu {
    percent: Option<f64>,
    #[serde(default)]
    since: Option<Timestamp>,
}

async fn set_cpu(
    Shared(control): Shared<Control>,
    Path(id): Path<String>,
    Json(Cpu { percent, since }): Json<Cpu>,
) -> Result<StatusCode, ApiError> {
    control.set_cpu(&id, percent, since).map(|()| StatusCode::NO_CONTENT)
}

async fn set_metrics_lag(Shared(control): Shared<Control>, Json(lag): Json<Step>) -> StatusCode {
    control.set_metrics_lag(lag.by);
    StatusCode::NO_CONTENT
}
