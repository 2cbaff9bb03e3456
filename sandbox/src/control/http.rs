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
//! GET    /_sandbox/instances?account=
//! GET    /_sandbox/instances/{id}
//! POST   /_sandbox/instances/{id}/{stop | start | terminate | shutdown | reclaim | fail | rebalance}
//! POST   /_sandbox/instances/{id}/interrupt       {millis}: of notice, two minutes if not given
//! PUT    /_sandbox/instances/{id}/console         the text
//! PUT    /_sandbox/instances/{id}/health          {system, instance}
//! PUT    /_sandbox/instances/{id}/tags            {key: value}
//! ```

mod instances;

use std::sync::Arc;

use axum::extract::{Path, Query, State as Shared};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use jiff::Timestamp;
use serde::Serialize;
use tower::ServiceExt;

use super::{CapacitySpec, Control, ImageSpec, SecurityGroupSpec, Settings, Step, SubnetSpec};
use crate::accounts::RoleSpec;
use crate::caller::AccountId;
use crate::cloudwatch;
use crate::ec2::image::ImageState;
use crate::error::ApiError;
use crate::faults::{Fault, FaultId};
use crate::front::{self, Body};
use crate::journal::CallQuery;
use crate::s3;
use crate::ssm;
use crate::state::State;
use crate::workers;

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
        .route("/_sandbox/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/_sandbox/faults/{id}", delete(remove_fault))
        .route("/_sandbox/faults/{id}/release", post(release_fault))
        .route("/_sandbox/settings", get(settings).patch(configure))
        .route("/_sandbox/capacity", put(set_capacity))
        .route("/_sandbox/roles", put(put_role))
        .route("/_sandbox/roles/{account}/{name}", delete(delete_role))
        .route("/_sandbox/revoked-keys/{key}", put(revoke_key).delete(restore_key))
        .route("/_sandbox/accounts/{account}/{region}/subnets", get(subnets))
        .route("/_sandbox/accounts/{account}/{region}/security-groups", get(security_groups))
        .route("/_sandbox/accounts/{account}/{region}/metadata-tags-default", put(set_metadata_tags_default))
        .route("/_sandbox/accounts/{account}/{region}/dark-zones/{zone}", put(darken_zone).delete(light_zone))
        .route("/_sandbox/accounts/{account}/{region}/launch-templates/{id}/undeletable", put(set_undeletable_versions))
        .route("/_sandbox/accounts/{account}/{region}/key-pairs/{name}", put(add_key_pair).delete(delete_key_pair))
        .route(
            "/_sandbox/accounts/{account}/instance-profiles/{name}",
            put(put_instance_profile).delete(delete_instance_profile),
        )
        .route("/_sandbox/subnets", post(add_subnet))
        .route("/_sandbox/security-groups", post(add_security_group))
        .route("/_sandbox/images", post(add_image))
        .route("/_sandbox/images/{region}/{id}", delete(deregister_image))
        .route("/_sandbox/images/{region}/{id}/state", put(set_image_state))
        .route("/_sandbox/images/{region}/{id}/deprecation", put(set_image_deprecation))
        .merge(instances::routes())
        .merge(s3::routes())
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

async fn faults(Shared(control): Shared<Control>) -> impl IntoResponse {
    Json(control.faults())
}

async fn add_fault(Shared(control): Shared<Control>, Json(fault): Json<Fault>) -> Result<Json<FaultId>, ApiError> {
    front::check_fault(&fault)?;
    Ok(Json(control.add_fault(fault)))
}

async fn clear_faults(Shared(control): Shared<Control>) -> StatusCode {
    control.clear_faults();
    StatusCode::NO_CONTENT
}

async fn remove_fault(Shared(control): Shared<Control>, Path(id): Path<FaultId>) -> StatusCode {
    control.remove_fault(id);
    StatusCode::NO_CONTENT
}

async fn release_fault(Shared(control): Shared<Control>, Path(id): Path<FaultId>) -> StatusCode {
    control.release_fault(id);
    StatusCode::NO_CONTENT
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

async fn put_role(Shared(control): Shared<Control>, Json(role): Json<RoleSpec>) -> impl IntoResponse {
    let arn = role.arn();
    control.put_role(role);
    Json(arn)
}

async fn delete_role(Shared(control): Shared<Control>, Path((account, name)): Path<(AccountId, String)>) -> StatusCode {
    control.delete_role(&account, &name);
    StatusCode::NO_CONTENT
}

async fn revoke_key(Shared(control): Shared<Control>, Path(key): Path<String>) -> StatusCode {
    control.revoke_key(&key);
    StatusCode::NO_CONTENT
}

async fn restore_key(Shared(control): Shared<Control>, Path(key): Path<String>) -> StatusCode {
    control.restore_key(&key);
    StatusCode::NO_CONTENT
}

async fn subnets(
    Shared(control): Shared<Control>,
    Path((account, region)): Path<(AccountId, String)>,
) -> impl IntoResponse {
    Json(control.subnets(&account, &region))
}

async fn security_groups(
    Shared(control): Shared<Control>,
    Path((account, region)): Path<(AccountId, String)>,
) -> impl IntoResponse {
    Json(control.security_groups(&account, &region))
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

async fn set_undeletable_versions(
    Shared(control): Shared<Control>,
    Path((account, region, id)): Path<(AccountId, String, String)>,
    Json(versions): Json<Vec<u64>>,
) -> Result<StatusCode, ApiError> {
    control.set_undeletable_versions(&account, &region, &id, &versions).map(|()| StatusCode::NO_CONTENT)
}

async fn add_subnet(Shared(control): Shared<Control>, Json(spec): Json<SubnetSpec>) -> impl IntoResponse {
    control.add_subnet(spec).map(Json)
}

async fn add_security_group(
    Shared(control): Shared<Control>,
    Json(spec): Json<SecurityGroupSpec>,
) -> impl IntoResponse {
    Json(control.add_security_group(spec))
}

async fn add_image(Shared(control): Shared<Control>, Json(spec): Json<ImageSpec>) -> impl IntoResponse {
    Json(control.add_image(spec))
}

async fn set_image_state(
    Shared(control): Shared<Control>,
    Path((region, id)): Path<(String, String)>,
    Json(state): Json<ImageState>,
) -> Result<StatusCode, ApiError> {
    control.set_image_state(&region, &id, state).map(|()| StatusCode::NO_CONTENT)
}

async fn set_image_deprecation(
    Shared(control): Shared<Control>,
    Path((region, id)): Path<(String, String)>,
    Json(at): Json<Option<Timestamp>>,
) -> Result<StatusCode, ApiError> {
    control.set_image_deprecation(&region, &id, at).map(|()| StatusCode::NO_CONTENT)
}

async fn deregister_image(
    Shared(control): Shared<Control>,
    Path((region, id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    control.deregister_image(&region, &id).map(|()| StatusCode::NO_CONTENT)
}

async fn add_key_pair(
    Shared(control): Shared<Control>,
    Path((account, region, name)): Path<(AccountId, String, String)>,
) -> StatusCode {
    control.add_key_pair(&account, &region, &name);
    StatusCode::NO_CONTENT
}

async fn delete_key_pair(
    Shared(control): Shared<Control>,
    Path((account, region, name)): Path<(AccountId, String, String)>,
) -> StatusCode {
    control.delete_key_pair(&account, &region, &name);
    StatusCode::NO_CONTENT
}

async fn put_instance_profile(
    Shared(control): Shared<Control>,
    Path((account, name)): Path<(AccountId, String)>,
    Json(role): Json<String>,
) -> StatusCode {
    control.put_instance_profile(&account, &name, &role);
    StatusCode::NO_CONTENT
}

async fn delete_instance_profile(
    Shared(control): Shared<Control>,
    Path((account, name)): Path<(AccountId, String)>,
) -> StatusCode {
    control.delete_instance_profile(&account, &name);
    StatusCode::NO_CONTENT
}
