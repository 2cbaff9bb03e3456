//! Auto Scaling groups and what AWS does to them, as JSON.
//!
//! ```text
//! POST   /_sandbox/launch-templates                              a LaunchTemplateSpec; answers the id
//! POST   /_sandbox/groups                                        a GroupSpec
//! GET    /_sandbox/groups/{account}/{region}                     with instances, refreshes, activities
//! GET    /_sandbox/groups/{account}/{region}/{name}
//! PUT    /_sandbox/groups/{account}/{region}/{name}/suspended/{process}   "reason"         DELETE
//! PUT    /_sandbox/groups/{account}/{region}/{name}/operator              "service" | null
//! PUT    /_sandbox/alarms/{account}/{region}/{name}              true | false
//! ```

use axum::extract::{Path, State as Shared};
use axum::response::IntoResponse;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use http::StatusCode;

use crate::caller::AccountId;
use crate::control::{Control, GroupSpec, LaunchTemplateSpec};
use crate::error::ApiError;
use crate::state::autoscaling::group::AutoScalingGroup;

pub(super) fn routes() -> Router<Control> {
    let process = put(suspend).delete(resume);
    Router::new()
        .route("/_sandbox/launch-templates", post(add_launch_template))
        .route("/_sandbox/groups", post(add_group))
        .route("/_sandbox/groups/{account}/{region}", get(groups))
        .route("/_sandbox/groups/{account}/{region}/{name}", get(group))
        .route("/_sandbox/groups/{account}/{region}/{name}/suspended/{process}", process)
        .route("/_sandbox/groups/{account}/{region}/{name}/operator", put(set_operator))
        .route("/_sandbox/alarms/{account}/{region}/{name}", put(set_alarm))
}

async fn add_launch_template(
    Shared(control): Shared<Control>,
    Json(spec): Json<LaunchTemplateSpec>,
) -> Result<Json<String>, ApiError> {
    control.add_launch_template(&spec).map(Json)
}

async fn add_group(Shared(control): Shared<Control>, Json(spec): Json<GroupSpec>) -> Result<StatusCode, ApiError> {
    control.add_group(&spec).map(|()| StatusCode::NO_CONTENT)
}

async fn groups(
    Shared(control): Shared<Control>,
    Path((account, region)): Path<(AccountId, String)>,
) -> Json<Vec<AutoScalingGroup>> {
    Json(control.groups(&account, &region))
}

async fn group(
    Shared(control): Shared<Control>,
    Path((account, region, name)): Path<(AccountId, String, String)>,
) -> impl IntoResponse {
    control.group(&account, &region, &name).map(Json).ok_or(StatusCode::NOT_FOUND)
}

type Process = (AccountId, String, String, String);

async fn suspend(
    Shared(control): Shared<Control>,
    Path((account, region, name, process)): Path<Process>,
    Json(reason): Json<String>,
) -> Result<StatusCode, ApiError> {
    control.suspend_process(&account, &region, &name, &process, Some(&reason)).map(|()| StatusCode::NO_CONTENT)
}

async fn resume(
    Shared(control): Shared<Control>,
    Path((account, region, name, process)): Path<Process>,
) -> Result<StatusCode, ApiError> {
    control.suspend_process(&account, &region, &name, &process, None).map(|()| StatusCode::NO_CONTENT)
}

async fn set_operator(
    Shared(control): Shared<Control>,
    Path((account, region, name)): Path<(AccountId, String, String)>,
    Json(operator): Json<Option<String>>,
) -> Result<StatusCode, ApiError> {
    control.set_group_operator(&account, &region, &name, operator.as_deref()).map(|()| StatusCode::NO_CONTENT)
}

async fn set_alarm(
    Shared(control): Shared<Control>,
    Path((account, region, name)): Path<(AccountId, String, String)>,
    Json(on): Json<bool>,
) -> StatusCode {
    control.set_alarm(&account, &region, &name, on);
    StatusCode::NO_CONTENT
}
