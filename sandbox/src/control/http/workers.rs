//! Virtual workers, as JSON.
//!
//! ```text
//! GET    /_sandbox/workers                        [{instanceId, folder, metadataEndpoint}]
//! POST   /_sandbox/workers/{instance id}/run      {command, millis}
//! ```

use std::time::Duration;

use axum::extract::{Path, State as Shared};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;

use crate::control::Control;
use crate::duration::millis;
use crate::error::ApiError;
use crate::state::workers::{WorkerError, WorkerInfo, WorkerOutput};

pub(super) fn routes() -> Router<Control> {
    Router::new().route("/_sandbox/workers", get(list)).route("/_sandbox/workers/{id}/run", post(run))
}

async fn list(Shared(control): Shared<Control>) -> Json<Vec<WorkerInfo>> {
    Json(control.workers())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    command: String,
    #[serde(rename = "millis", with = "millis", default = "a_minute")]
    timeout: Duration,
}

fn a_minute() -> Duration {
    Duration::from_secs(60)
}

async fn run(
    Shared(control): Shared<Control>,
    Path(id): Path<String>,
    Json(run): Json<Run>,
) -> Result<Json<WorkerOutput>, ApiError> {
    let code = |error: &WorkerError| match error {
        WorkerError::NotRunning(_) => "WorkerNotRunning",
        WorkerError::Run(_) => "CommandFailed",
        WorkerError::TimedOut(_) => "CommandTimedOut",
    };
    let output = control.run_in_worker(&id, &run.command, run.timeout).await;
    output.map(Json).map_err(|error| ApiError::new(code(&error), error.to_string()))
}
