//! Roles, access keys and instance profiles, as JSON.

use axum::extract::{Path, State as Shared};
use axum::response::IntoResponse;
use axum::routing::{delete, put};
use axum::{Json, Router};
use http::StatusCode;

use crate::caller::AccountId;
use crate::control::Control;
use crate::state::accounts::RoleSpec;

pub(super) fn routes() -> Router<Control> {
    Router::new()
        .route("/_sandbox/roles", put(put_role))
        .route("/_sandbox/roles/{account}/{name}", delete(delete_role))
        .route("/_sandbox/revoked-keys/{key}", put(revoke_key).delete(restore_key))
        .route(
            "/_sandbox/accounts/{account}/instance-profiles/{name}",
            put(put_instance_profile).delete(delete_instance_profile),
        )
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
