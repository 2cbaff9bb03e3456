//! What is done to instances.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::{Path, Query, State as Shared};
use axum::response::IntoResponse;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;

use crate::caller::AccountId;
use crate::control::Control;
use crate::duration::millis;
use crate::error::ApiError;
use crate::state::ec2::instance::HealthStatus;

pub(super) fn routes() -> Router<Control> {
    Router::new()
        .route("/_sandbox/instances", get(instances))
        .route("/_sandbox/instances/{id}", get(instance))
        .route("/_sandbox/instances/{id}/health", put(set_health))
        .route("/_sandbox/instances/{id}/tags", put(tag_instance))
        .route("/_sandbox/instances/{id}/interrupt", post(interrupt))
        .route("/_sandbox/instances/{id}/console", put(set_console_output))
        .route("/_sandbox/instances/{id}/{deed}", post(instance_deed))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfAccount {
    account: Option<AccountId>,
}

async fn instances(Shared(control): Shared<Control>, Query(of): Query<OfAccount>) -> impl IntoResponse {
    Json(match of.account {
        Some(account) => control.instances_of(&account),
        None => control.instances(),
    })
}

async fn instance(Shared(control): Shared<Control>, Path(id): Path<String>) -> impl IntoResponse {
    control.instance(&id).map(Json).ok_or(StatusCode::NOT_FOUND)
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Deed {
    Stop,
    Start,
    Terminate,
    Shutdown,
    Reclaim,
    Fail,
    Rebalance,
}

async fn instance_deed(
    Shared(control): Shared<Control>,
    Path((id, deed)): Path<(String, Deed)>,
) -> Result<StatusCode, ApiError> {
    match deed {
        Deed::Stop => control.stop_instance(&id),
        Deed::Start => control.start_instance(&id),
        Deed::Terminate => control.terminate_instance(&id),
        Deed::Shutdown => control.shut_down_from_inside(&id),
        Deed::Reclaim => control.reclaim_spot_instance(&id),
        Deed::Fail => control.fail_instance(&id),
        Deed::Rebalance => control.recommend_rebalance(&id),
    }
    .map(|()| StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Notice {
    #[serde(rename = "millis", with = "millis", default = "two_minutes")]
    notice: Duration,
}

fn two_minutes() -> Duration {
    Duration::from_secs(120)
}

async fn interrupt(
    Shared(control): Shared<Control>,
    Path(id): Path<String>,
    Json(Notice { notice }): Json<Notice>,
) -> Result<StatusCode, ApiError> {
    control.interrupt_spot_instance(&id, notice).map(|()| StatusCode::NO_CONTENT)
}

async fn set_console_output(
    Shared(control): Shared<Control>,
    Path(id): Path<String>,
    text: Bytes,
) -> Result<StatusCode, ApiError> {
    control.set_console_output(&id, &text).map(|()| StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Health {
    system: Option<HealthStatus>,
    instance: Option<HealthStatus>,
}

async fn set_health(
    Shared(control): Shared<Control>,
    Path(id): Path<String>,
    Json(health): Json<Health>,
) -> Result<StatusCode, ApiError> {
    control.set_health(&id, health.system, health.instance).map(|()| StatusCode::NO_CONTENT)
}

async fn tag_instance(
    Shared(control): Shared<Control>,
    Path(id): Path<String>,
    Json(tags): Json<BTreeMap<String, String>>,
) -> Result<StatusCode, ApiError> {
    control.tag_instance(&id, &tags).map(|()| StatusCode::NO_CONTENT)
}
