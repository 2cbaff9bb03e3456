//! What tests and demos may do with S3 beside its API, as JSON.
//!
//! ```text
//! GET    /_sandbox/s3/{bucket}?prefix=                  keys
//! PUT    /_sandbox/s3/{bucket}                          {account, region}
//! PUT    /_sandbox/s3/{bucket}/open/{account}           "Read" | "ReadWrite"     DELETE
//! POST   /_sandbox/s3/{bucket}/generated                {key, size, head}
//! ```

use axum::extract::{Path, Query, State as Shared};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;

use crate::caller::AccountId;
use crate::control::Control;
use crate::error::ApiError;
use crate::state::s3::Access;

pub(super) fn routes() -> Router<Control> {
    Router::new()
        .route("/_sandbox/s3/{bucket}", get(keys).put(make))
        .route("/_sandbox/s3/{bucket}/open/{account}", put(open).delete(close))
        .route("/_sandbox/s3/{bucket}/generated", post(generate))
}

#[derive(Deserialize)]
struct Under {
    #[serde(default)]
    prefix: String,
}

async fn keys(
    Shared(control): Shared<Control>,
    Path(bucket): Path<String>,
    Query(under): Query<Under>,
) -> Result<Json<Vec<String>>, ApiError> {
    Ok(Json(control.s3().keys(&bucket, &under.prefix)?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Owner {
    account: AccountId,
    region: String,
}

async fn make(
    Shared(control): Shared<Control>,
    Path(bucket): Path<String>,
    Json(owner): Json<Owner>,
) -> Result<StatusCode, ApiError> {
    control.s3().ensure_bucket(owner.account.as_str(), &owner.region, &bucket)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn open(
    Shared(control): Shared<Control>,
    Path((bucket, account)): Path<(String, AccountId)>,
    Json(access): Json<Access>,
) -> Result<StatusCode, ApiError> {
    control.s3().open_bucket(&bucket, account.as_str(), access)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn close(
    Shared(control): Shared<Control>,
    Path((bucket, account)): Path<(String, AccountId)>,
) -> Result<StatusCode, ApiError> {
    control.s3().close_bucket(&bucket, account.as_str())?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Generated {
    key: String,
    size: u64,
    #[serde(default)]
    head: String,
}

async fn generate(
    Shared(control): Shared<Control>,
    Path(bucket): Path<String>,
    Json(wanted): Json<Generated>,
) -> Result<StatusCode, ApiError> {
    control.s3().put_generated(&bucket, &wanted.key, wanted.head.into(), wanted.size)?;
    Ok(StatusCode::NO_CONTENT)
}
