//! What tests and demos may do with Parameter Store beside its API, as JSON.
//!
//! ```text
//! GET    /_sandbox/ssm/{account}/{region}               parameters, with all versions, decrypted
//! PUT    /_sandbox/ssm/public/{region}                  {name, value}: as AWS publishes the ids of its images
//! ```

use axum::extract::{Path, State as Shared};
use axum::routing::{get, put};
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;

use crate::caller::AccountId;
use crate::control::Control;
use crate::state::ssm::Parameter;

pub(super) fn routes() -> Router<Control> {
    Router::new()
        .route("/_sandbox/ssm/{account}/{region}", get(parameters))
        .route("/_sandbox/ssm/public/{region}", put(publish))
}

async fn parameters(
    Shared(control): Shared<Control>,
    Path((account, region)): Path<(AccountId, String)>,
) -> Json<Vec<Parameter>> {
    Json(control.parameters(&account, &region))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Published {
    name: String,
    value: String,
}

async fn publish(
    Shared(control): Shared<Control>,
    Path(region): Path<String>,
    Json(Published { name, value }): Json<Published>,
) -> StatusCode {
    control.put_public_parameter(&region, &name, &value);
    StatusCode::NO_CONTENT
}
