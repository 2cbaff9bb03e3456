//! The control API: JSON under `/_sandbox/`, without authentication, on loopback.
//!
//! ```text
//! GET    /_sandbox/clock                          {now}
//! POST   /_sandbox/clock                          {millis}
//! GET    /_sandbox/calls?service=&operation=&account=&region=&after=
//! GET    /_sandbox/calls/counts?...               {"ec2:RunInstances": 1}
//! DELETE /_sandbox/calls
//! GET    /_sandbox/throttled
//! GET    /_sandbox/faults          POST (a Fault) DELETE
//! DELETE /_sandbox/faults/{id}
//! POST   /_sandbox/faults/{id}/release
//! GET    /_sandbox/settings        PATCH {throttling, describeLagMillis, lifecycle}
//! PUT    /_sandbox/capacity                       {zone, instanceType, market, account, limit}
//! PUT    /_sandbox/roles                          {account, name, allowedPrincipals, externalId, ...}
//! DELETE /_sandbox/roles/{account}/{name}
//! PUT    /_sandbox/revoked-keys/{accessKey}       DELETE
//! GET    /_sandbox/accounts/{account}/{region}/subnets
//! GET    /_sandbox/accounts/{account}/{region}/security-groups
//! PUT    /_sandbox/accounts/{account}/{region}/metadata-tags-default   true | false
//! PUT    /_sandbox/accounts/{account}/{region}/dark-zones/{zone}       DELETE
//! PUT    /_sandbox/accounts/{account}/{region}/launch-templates/{id}/undeletable   [version, ...]
//! POST   /_sandbox/subnets
//! POST   /_sandbox/security-groups
//! PUT    /_sandbox/accounts/{account}/{region}/key-pairs/{name}       DELETE
//! PUT    /_sandbox/accounts/{account}/instance-profiles/{name}        "role"         DELETE
//! POST   /_sandbox/images
//! DELETE /_sandbox/images/{region}/{id}
//! PUT    /_sandbox/images/{region}/{id}/state     "pending" | "available" | ...
//! PUT    /_sandbox/images/{region}/{id}/deprecation   a time, or null
//! PUT    /_sandbox/images/{region}/{id}/launch-failure   {code, message}   DELETE
//! GET    /_sandbox/instances?account=
//! GET    /_sandbox/instances/{id}
//! POST   /_sandbox/instances/{id}/{stop | start | terminate | shutdown | reclaim | fail | rebalance}
//! POST   /_sandbox/instances/{id}/interrupt       {millis}: of notice, two minutes if not given
//! PUT    /_sandbox/instances/{id}/console         the text
//! PUT    /_sandbox/instances/{id}/health          {system, instance}
//! PUT    /_sandbox/instances/{id}/tags            {key: value}
//! ```

mod autoscaling;
mod cloudwatch;
mod faults;
mod identities;
mod instances;
mod network;
mod s3;
mod sns;
mod ssm;
mod workers;

use std::sync::Arc;

use axum::extract::{Path, Query, State as Shared};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use jiff::Timestamp;
use serde::Serialize;
use tower::ServiceExt;

use crate::caller::AccountId;
use crate::control::{CapacitySpec, Control, Settings, Step};
use crate::error::ApiError;
use crate::protocol::response::Body;
use crate::state::State;
use crate::state::journal::CallQuery;

pub(crate) const PREFIX: &str = "/_sandbox/";

pub(crate) async fn answer(state: Arc<State>, request: Request<Incoming>) -> Response<Body> {
    let Ok(response) = router(Control::new(state)).oneshot(request.map(axum::body::Body::new)).await;
    response.map(|body| body.map_err(Into::into).boxed_unsync())
}

fn router(control: Control) -> Router {
    Router::new()
        .route("/_sandbox/clock", get(clock).post(step))
        .route("/_sandbox/calls", get(calls).delete(clear_calls))
        .route("/_sandbox/calls/counts", get(call_counts))
        .route("/_sandbox/throttled", get(throttled))
        .route("/_sandbox/settings", get(settings).patch(configure))
        .route("/_sandbox/capacity", put(set_capacity))
        .route("/_sandbox/accounts/{account}/{region}/metadata-tags-default", put(set_metadata_tags_default))
        .route("/_sandbox/accounts/{account}/{region}/dark-zones/{zone}", put(darken_zone).delete(light_zone))
        .merge(autoscaling::routes())
        .merge(faults::routes())
        .merge(identities::routes())
        .merge(instances::routes())
        .merge(network::routes())
        .merge(s3::routes())
        .merge(sns::routes())
        .merge(ssm::routes())
        .merge(cloudwatch::routes())
        .merge(workers::routes())
        .with_state(control)
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Refusal {
            code: String,
            message: String,
        }
        (self.status, Json(Refusal { code: self.code, message: self.message })).into_response()
    }
}

#[derive(Serialize)]
struct Now {
    now: Timestamp,
}

async fn clock(Shared(control): Shared<Control>) -> Json<Now> {
    Json(Now { now: control.now() })
}

async fn step(Shared(control): Shared<Control>, Json(step): Json<Step>) -> Json<Now> {
    control.step(step.by);
    Json(Now { now: control.now() })
}

async fn calls(Shared(control): Shared<Control>, Query(query): Query<CallQuery>) -> impl IntoResponse {
    Json(control.calls(&query))
}

async fn call_counts(Shared(control): Shared<Control>, Query(query): Query<CallQuery>) -> impl IntoResponse {
    Json(control.call_counts(&query))
}

async fn clear_calls(Shared(control): Shared<Control>) -> StatusCode {
    control.clear_calls();
    StatusCode::NO_CONTENT
}

async fn throttled(Shared(control): Shared<Control>) -> impl IntoResponse {
    Json(control.throttled())
}

async fn settings(Shared(control): Shared<Control>) -> Json<Settings> {
    Json(control.settings())
}

async fn configure(Shared(control): Shared<Control>, Json(settings): Json<Settings>) -> Json<Settings> {
    control.configure(&settings);
    Json(control.settings())
}

async fn set_capacity(Shared(control): Shared<Control>, Json(spec): Json<CapacitySpec>) -> StatusCode {
    control.set_capacity(spec);
    StatusCode::NO_CONTENT
}

async fn set_metadata_tags_default(
    Shared(control): Shared<Control>,
    Path((account, region)): Path<(AccountId, String)>,
    Json(on): Json<bool>,
) -> StatusCode {
    control.set_metadata_tags_default(&account, &region, on);
    StatusCode::NO_CONTENT
}

async fn darken_zone(
    Shared(control): Shared<Control>,
    Path((account, region, zone)): Path<(AccountId, String, String)>,
) -> StatusCode {
    control.set_zone_dark(&account, &region, &zone, true);
    StatusCode::NO_CONTENT
}

async fn light_zone(
    Shared(control): Shared<Control>,
    Path((account, region, zone)): Path<(AccountId, String, String)>,
) -> StatusCode {
    control.set_zone_dark(&account, &region, &zone, false);
    StatusCode::NO_CONTENT
}
