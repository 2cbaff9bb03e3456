//! One call: finds out who calls which service, records the call in the journal, applies faults, passes it on.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use futures::StreamExt;
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};

use crate::caller::{Caller, CallerId};
use crate::control;
use crate::error::ApiError;
use crate::protocol::response::{Body, ErrorCode};
use crate::protocol::scope::{self, CredentialScope};
use crate::services::dispatch::{self, Services};
use crate::services::service::Service;
use crate::services::{s3, sts};
use crate::state::State;
use crate::state::faults::{FaultAction, FaultId, Moment, Target};
use crate::state::journal::{Call, Outcome};

/// Ends the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("a fault cut the connection")]
pub(crate) struct Cut;

/// Longer parameter values are cut in the journal.
const JOURNAL_VALUE_LIMIT: usize = 256;

pub(crate) async fn answer(services: Arc<Services>, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
    if request.uri().path().starts_with(control::http::PREFIX) {
        return Ok(control::http::answer(Arc::clone(&services.state), request).await);
    }
    let calls = services.state.calls.clone();
    // A task of its own: AWS carries a call through when the caller has hung up.
    match calls.spawn(serve(services, request)).await {
        Ok(answer) => answer,
        Err(panicked) => {
            tracing::error!(error = &panicked as &dyn std::error::Error, "a call panicked");
            Err(Cut)
        }
    }
}

async fn serve(services: Arc<Services>, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
    let state = &*services.state;
    let request_id = uuid::Uuid::new_v4().to_string();
    let (parts, body) = request.into_parts();
    let unsigned = || ApiError::new("MissingAuthenticationToken", "Request is missing Authentication Token");
    let Some(scope) = scope::read(&parts) else {
        return Ok(s3::error(&unsigned(), &request_id));
    };
    let Some(service) = Service::from_scope(&scope.service, &parts) else {
        let unknown = ApiError::new("UnknownService", format!("The sandbox has no service {:?}.", scope.service));
        // The shape that most of the other services have.
        return Ok(sts::error(&unknown, &request_id));
    };
    let (operation, parameters, work) = match dispatch::read(service, parts, body).await {
        Ok(read) => read,
        Err(error) => return Ok(service.error(&error, &request_id)),
    };
    let caller = state.accounts.authenticate(&scope.access_key, scope.session_token.as_deref());
    let number = state.journal.begin(call(state, service, &operation, &scope, caller.as_ref().ok(), &parameters));
    let served = match caller {
        Ok(id) => {
            let target = Target {
                service: service.name(),
                operation: &operation,
                account: Some(&id.account),
                region: &scope.region,
                parameters: &parameters,
            };
            let fault = state.faults.take(&target);
            let action = service.action(&operation);
            let denied = state.accounts.is_denied(&id, &action);
            let caller = Caller { region: scope.region.clone(), id };
            if denied {
                let resource = service.resource(&caller, &parameters);
                let denial = service.denial(&caller.id.principal_arn, &action, resource.as_deref());
                Ok(service.error(&denial, &request_id))
            } else {
                let work = services.carry_out(caller, &operation, work, &request_id);
                under_fault(state, fault, service, &request_id, work).await
            }
        }
        Err(refusal) => Ok(service.error(&service.refusal(refusal), &request_id)),
    };
    let (outcome, answer) = match served {
        Ok(response) => (outcome_of(&response), Ok(response)),
        Err(outcome) => (outcome, Err(Cut)),
    };
    state.journal.end(number, state.clock.now(), outcome);
    answer
}

fn call(
    state: &State,
    service: Service,
    operation: &str,
    scope: &CredentialScope,
    caller: Option<&CallerId>,
    parameters: &BTreeMap<String, String>,
) -> Call {
    let cut = |value: &String| value.chars().take(JOURNAL_VALUE_LIMIT).collect();
    Call {
        number: 0,
        service: service.name().to_owned(),
        operation: operation.to_owned(),
        account: caller.map(|caller| caller.account.clone()),
        region: scope.region.clone(),
        principal_arn: caller.map(|caller| caller.principal_arn.clone()),
        access_key: scope.access_key.clone(),
        parameters: parameters.iter().map(|(name, value)| (name.clone(), cut(value))).collect(),
        started: state.clock.now(),
        ended: None,
        outcome: Outcome::Open,
    }
}

fn outcome_of(response: &Response<Body>) -> Outcome {
    if response.status().is_success() || response.status().is_redirection() {
        return Outcome::Ok;
    }
    let code = response.extensions().get::<ErrorCode>().map(|code| code.0.clone());
    Outcome::Error(code.unwrap_or_else(|| response.status().as_u16().to_string()))
}

/// Carries a call out under a fault. `Err`: the connection is to be cut, and how the call ended.
async fn under_fault(
    state: &State,
    fault: Option<(FaultId, FaultAction)>,
    service: Service,
    request_id: &str,
    work: impl Future<Output = Response<Body>>,
) -> Result<Response<Body>, Outcome> {
    let Some((id, action)) = fault else { return Ok(work.await) };
    match action {
        FaultAction::Error { code, message, status } => {
            Ok(service.error(&FaultAction::api_error(&code, message.as_deref(), status), request_id))
        }
        FaultAction::DropBefore => Err(Outcome::DroppedBefore),
        FaultAction::DropAfter => {
            let _lost: Response<Body> = work.await;
            Err(Outcome::DroppedAfter)
        }
        FaultAction::Delay { by } => {
            tokio::time::sleep(by).await;
            Ok(work.await)
        }
        FaultAction::Hold { moment: Moment::Before } => {
            state.faults.held(id).await;
            Ok(work.await)
        }
        FaultAction::Hold { moment: Moment::After } => {
            let response = work.await;
            state.faults.held(id).await;
            Ok(response)
        }
        FaultAction::Truncate { bytes } => Ok(truncated(work.await, bytes)),
    }
}

/// The whole head, so many bytes of the body, then an error that makes the server cut the connection.
fn truncated(response: Response<Body>, bytes: u64) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    if let Some(length) = hyper::body::Body::size_hint(&body).exact() {
        parts.headers.insert(http::header::CONTENT_LENGTH, length.into());
    }
    let mut left = usize::try_from(bytes).unwrap_or(usize::MAX);
    let frames = body.into_data_stream().map(move |data| {
        let mut data = data?;
        if left == 0 {
            return Err(io::Error::other(Cut).into());
        }
        data.truncate(left);
        left -= data.len();
        Ok(Frame::data(data))
    });
    let end = futures::stream::once(async { Err(io::Error::other(Cut).into()) });
    Response::from_parts(parts, StreamBody::new(frames.chain(end)).boxed_unsync())
}
