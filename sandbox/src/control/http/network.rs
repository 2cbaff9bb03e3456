//! Subnets, security groups, key pairs, images and launch templates, as JSON.

use axum::extract::{Path, State as Shared};
use axum::response::IntoResponse;
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;

use crate::caller::AccountId;
use crate::control::{Control, ImageSpec, SecurityGroupSpec, SubnetSpec};
use crate::error::ApiError;
use crate::state::ec2::image::ImageState;

pub(super) fn routes() -> Router<Control> {
    Router::new()
        .route("/_sandbox/accounts/{account}/{region}/subnets", get(subnets))
        .route("/_sandbox/accounts/{account}/{region}/security-groups", get(security_groups))
        .route("/_sandbox/accounts/{account}/{region}/launch-templates/{id}/undeletable", put(set_undeletable_versions))
        .route("/_sandbox/accounts/{account}/{region}/key-pairs/{name}", put(add_key_pair).delete(delete_key_pair))
        .route("/_sandbox/subnets", post(add_subnet))
        .route("/_sandbox/security-groups", post(add_security_group))
        .route("/_sandbox/images", post(add_image))
        .route("/_sandbox/images/{region}/{id}", delete(deregister_image))
        .route("/_sandbox/images/{region}/{id}/state", put(set_image_state))
        .route("/_sandbox/images/{region}/{id}/deprecation", put(set_image_deprecation))
        .route("/_sandbox/images/{region}/{id}/launch-failure", put(fail_launches).delete(mend_launches))
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

async fn set_undeletable_versions(
    Shared(control): Shared<Control>,
    Path((account, region, id)): Path<(AccountId, String, String)>,
    Json(versions): Json<Vec<u64>>,
) -> Result<StatusCode, ApiError> {
    control.set_undeletable_versions(&account, &region, &id, &versions).map(|()| StatusCode::NO_CONTENT)
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

async fn deregister_image(
    Shared(control): Shared<Control>,
    Path((region, id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    control.deregister_image(&region, &id).map(|()| StatusCode::NO_CONTENT)
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Failure {
    code: String,
    message: String,
}

async fn fail_launches(
    Shared(control): Shared<Control>,
    Path((region, id)): Path<(String, String)>,
    Json(Failure { code, message }): Json<Failure>,
) -> StatusCode {
    control.fail_launches(&region, &id, Some(ApiError::new(code, message)));
    StatusCode::NO_CONTENT
}

async fn mend_launches(Shared(control): Shared<Control>, Path((region, id)): Path<(String, String)>) -> StatusCode {
    control.fail_launches(&region, &id, None);
    StatusCode::NO_CONTENT
}
