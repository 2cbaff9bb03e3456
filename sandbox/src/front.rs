//! The front door: finds out who calls which service, writes the call down, applies faults, hands it on.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request, Response, request};
use http_body_util::{BodyExt, LengthLimitError, Limited, StreamBody};
use hyper::body::{Frame, Incoming};

use crate::accounts::Refusal;
use crate::caller::{Caller, CallerId};
use crate::cbor;
use crate::cloudwatch;
use crate::control;
use crate::ec2;
use crate::error::ApiError;
use crate::faults::{Fault, FaultAction, FaultId, Moment, Target};
use crate::journal::{Call, Outcome};
use crate::json;
use crate::s3;
use crate::scope::{self, CredentialScope};
use crate::ssm;
use crate::state::State;
use crate::sts;

pub(crate) type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Put on failed answers as an extension, for the journal.
#[derive(Debug, Clone)]
pub(crate) struct ErrorCode(pub(crate) String);

/// Ends the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("a fault cut the connection")]
pub(crate) struct Cut;

/// More than any request that AWS takes, but for objects.
const BODY_LIMIT: usize = 1 << 20;
/// Longer parameter values are cut in the journal.
const JOURNAL_VALUE_LIMIT: usize = 256;

pub(crate) async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
    if request.uri().path().starts_with(control::http::PREFIX) {
        return Ok(control::http::answer(state, request).await);
    }
    let calls = state.calls.clone();
    // A task of its own: AWS carries a call through when the caller has hung up.
    match calls.spawn(serve(state, request)).await {
        Ok(answer) => answer,
        Err(panicked) => {
            tracing::error!(error = &panicked as &dyn std::error::Error, "a call panicked");
            Err(Cut)
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Service {
    Ec2,
    Sts,
    S3,
    Ssm,
    CloudWatch(cloudwatch::Protocol),
}

impl Service {
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "ec2" => Some(Self::Ec2),
            "sts" => Some(Self::Sts),
            "s3" => Some(Self::S3),
            "ssm" => Some(Self::Ssm),
            "cloudwatch" => Some(Self::CloudWatch(cloudwatch::Protocol::Cbor)),
            _unknown => None,
        }
    }

    /// By the name that requests are signed for.
    fn from_scope(name: &str, parts: &request::Parts) -> Option<Self> {
        match name {
            "monitoring" => Some(Self::CloudWatch(cloudwatch::Protocol::of(parts))),
            other => Self::from_name(other),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ec2 => "ec2",
            Self::Sts => "sts",
            Self::S3 => "s3",
            Self::Ssm => "ssm",
            Self::CloudWatch(_) => "cloudwatch",
        }
    }

    fn has(self, operation: &str) -> bool {
        match self {
            Self::Ec2 => ec2::has(operation),
            Self::Sts => sts::has(operation),
            Self::S3 => s3::has(operation),
            Self::Ssm => ssm::has(operation),
            Self::CloudWatch(_) => cloudwatch::has(operation),
        }
    }

    fn error(self, error: &ApiError, request_id: &str) -> Response<Body> {
        let mut response = match self {
            Self::Ec2 => ec2::error(error, request_id),
            Self::Sts => sts::error(error, request_id),
            Self::S3 => s3::error(error, request_id),
            Self::Ssm => json::error(error, request_id),
            Self::CloudWatch(protocol) => protocol.error(error, request_id),
        };
        response.extensions_mut().insert(ErrorCode(error.code.clone()));
        response
    }

    fn refusal(self, refusal: Refusal) -> ApiError {
        match (self, refusal) {
            (Self::Ec2, Refusal::UnknownKey | Refusal::WrongToken) => {
                ApiError::new("AuthFailure", "AWS was not able to validate the provided access credentials")
            }
            (Self::Ec2, Refusal::Expired) => ApiError::new("RequestExpired", "Request has expired."),
            (Self::Ssm, Refusal::UnknownKey | Refusal::WrongToken) => {
                ApiError::new("UnrecognizedClientException", "The security token included in the request is invalid.")
            }
            (Self::Ssm, Refusal::Expired) => {
                ApiError::new("ExpiredTokenException", "The security token included in the request is expired")
            }
            (Self::Sts | Self::CloudWatch(_), Refusal::UnknownKey | Refusal::WrongToken) => {
                ApiError::new("InvalidClientTokenId", "The security token included in the request is invalid.")
            }
            (Self::Sts | Self::CloudWatch(_), Refusal::Expired) => {
                ApiError::new("ExpiredToken", "The security token included in the request is expired")
            }
            (Self::S3, Refusal::UnknownKey) => {
                ApiError::new("InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")
            }
            (Self::S3, Refusal::WrongToken) => {
                ApiError::new("InvalidToken", "The provided token is malformed or otherwise invalid.")
            }
            (Self::S3, Refusal::Expired) => ApiError::new("ExpiredToken", "The provided token has expired.")
                .with_status(http::StatusCode::BAD_REQUEST),
        }
    }
}

/// Refuses a fault that no call can meet, which a test would take for a fault that was survived.
pub(crate) fn check_fault(fault: &Fault) -> Result<(), ApiError> {
    let refuse = |message: String| Err(ApiError::new("InvalidFault", message));
    let Some(service) = Service::from_name(&fault.service) else {
        return refuse(format!(
            "the sandbox has no service {:?}: it has ec2, sts, s3, ssm and cloudwatch",
            fault.service
        ));
    };
    if let Some(operation) = fault.operation.as_deref().filter(|operation| !service.has(operation)) {
        return refuse(format!("the sandbox's {} has no operation {operation:?}", fault.service));
    }
    match &fault.action {
        FaultAction::Error { status: Some(status), .. } if !(400..600).contains(status) => {
            refuse(format!("{status} is no status of an error: it must be from 400 to 599"))
        }
        FaultAction::Error { .. }
        | FaultAction::DropBefore
        | FaultAction::DropAfter
        | FaultAction::Delay { .. }
        | FaultAction::Hold { .. }
        | FaultAction::Truncate { .. } => Ok(()),
    }
}

/// A request, read as far as its service needs it before it is carried out.
enum Work {
    Ec2(BTreeMap<String, String>),
    Sts(BTreeMap<String, String>),
    S3(Box<Request<Incoming>>),
    Ssm(serde_json::Value),
    CloudWatch(cloudwatch::Protocol, cbor::Value),
}

async fn serve(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
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
    let (operation, parameters, work) = match read(service, parts, body).await {
        Ok(read) => read,
        Err(error) => return Ok(service.error(&error, &request_id)),
    };
    let caller = state.accounts.authenticate(&scope.access_key, scope.session_token.as_deref());
    let number = state.journal.begin(call(&state, service, &operation, &scope, caller.as_ref().ok(), &parameters));
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
            let caller = Caller { region: scope.region.clone(), id };
            under_fault(&state, fault, service, &request_id, carry_out(&state, caller, &operation, work, &request_id))
                .await
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

async fn read(
    service: Service,
    parts: request::Parts,
    body: Incoming,
) -> Result<(String, BTreeMap<String, String>, Work), ApiError> {
    let query = match service {
        Service::S3 => {
            let (operation, parameters) = (s3::operation(&parts).to_owned(), s3::parameters(&parts));
            return Ok((operation, parameters, Work::S3(Box::new(Request::from_parts(parts, body)))));
        }
        Service::Ec2 => Work::Ec2,
        Service::Sts => Work::Sts,
        Service::Ssm => {
            let input = json::parse(&read_body(body).await?)?;
            return Ok((json::operation(&parts), ssm::parameters(&input), Work::Ssm(input)));
        }
        Service::CloudWatch(protocol) => {
            let (operation, input) = protocol.read(&parts, &read_body(body).await?)?;
            return Ok((operation, cloudwatch::parameters(&input), Work::CloudWatch(protocol, input)));
        }
    };
    let mut form = read_form(&parts, body).await?;
    let operation = form.remove("Action").unwrap_or_default();
    form.remove("Version");
    Ok((operation, form.clone(), query(form)))
}

async fn read_form(parts: &request::Parts, body: Incoming) -> Result<BTreeMap<String, String>, ApiError> {
    let bytes = if parts.method == Method::GET {
        Bytes::from(parts.uri.query().unwrap_or_default().to_owned())
    } else {
        read_body(body).await?
    };
    Ok(form_urlencoded::parse(&bytes).into_owned().filter(|(name, _)| !name.starts_with("X-Amz-")).collect())
}

async fn read_body(body: Incoming) -> Result<Bytes, ApiError> {
    let collected = Limited::new(body, BODY_LIMIT).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            ApiError::new("RequestEntityTooLarge", "The request is larger than the service accepts.")
        } else {
            ApiError::new("IncompleteRequest", "The request's body ended early.")
        }
    })?;
    Ok(collected.to_bytes())
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

async fn carry_out(
    state: &Arc<State>,
    caller: Caller,
    operation: &str,
    work: Work,
    request_id: &str,
) -> Response<Body> {
    match work {
        Work::Ec2(form) => ec2::handle(state, &caller, operation, &form, request_id),
        Work::Sts(form) => sts::handle(state, &caller, operation, &form, request_id),
        Work::S3(request) => s3::handle(state, caller, *request).await,
        Work::Ssm(input) => ssm::handle(state, &caller, operation, &input, request_id),
        Work::CloudWatch(protocol, input) => {
            cloudwatch::handle(state, &caller, operation, (protocol, &input), request_id)
        }
    }
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
