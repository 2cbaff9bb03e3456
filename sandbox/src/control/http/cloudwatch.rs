//! What tests and demos may do with CloudWatch beside its API, as JSON.
//!
//! ```text
//! PUT    /_sandbox/instances/{id}/cpu             {percent, since}: from then on; percent null: nothing is reported
//! PUT    /_sandbox/metrics-lag                    {millis}
//! ```

use axum::extract::{Path, State as Shared};
use axum::routing::put;
use axum::{Json, Router};
use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;

use crate::control::{Control, Step};
use crate::error::ApiError;

pub(super) fn routes() -> Router<Control> {
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
