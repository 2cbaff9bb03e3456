//! Faults on request, as JSON.

use axum::extract::{Path, State as Shared};
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use http::StatusCode;

use crate::control::Control;
use crate::error::ApiError;
use crate::services::service::Service;
use crate::state::faults::{Fault, FaultAction, FaultId};

pub(super) fn routes() -> Router<Control> {
    Router::new()
        .route("/_sandbox/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/_sandbox/faults/{id}", delete(remove_fault))
        .route("/_sandbox/faults/{id}/release", post(release_fault))
}

async fn faults(Shared(control): Shared<Control>) -> impl IntoResponse {
    Json(control.faults())
}

async fn add_fault(Shared(control): Shared<Control>, Json(fault): Json<Fault>) -> Result<Json<FaultId>, ApiError> {
    check(&fault)?;
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

/// Rejects a fault that no call can match: a test would take it for a fault that was survived.
fn check(fault: &Fault) -> Result<(), ApiError> {
    let refuse = |message: String| Err(ApiError::new("InvalidFault", message));
    let Some(service) = Service::from_name(&fault.service) else {
        return refuse(format!(
            "the sandbox has no service {:?}: it has ec2, autoscaling, sns, sts, s3, ssm and cloudwatch",
            fault.service
        ));
    };
    if let Some(operation) = fault.operation.as_deref().filter(|operation| !service.has(operation)) {
        return refuse(format!("the sandbox's {} has no operation {operation:?}", fault.service));
    }
    match &fault.action {
        FaultAction::Error { status: Some(status), .. } if !(400..600).contains(status) => {
            refuse(format!("{status} is not an error status: it must be from 400 to 599"))
        }
        FaultAction::Error { .. }
        | FaultAction::DropBefore
        | FaultAction::DropAfter
        | FaultAction::Delay { .. }
        | FaultAction::Hold { .. }
        | FaultAction::Truncate { .. } => Ok(()),
    }
}
