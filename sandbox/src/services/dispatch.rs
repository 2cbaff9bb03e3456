//! From a request to its service and back.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, request};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;

use super::service::Service;
use super::{autoscaling, cloudwatch, ec2, s3, sns, ssm, sts};
use crate::caller::Caller;
use crate::error::ApiError;
use crate::protocol::response::Body;
use crate::protocol::{cbor, json};
use crate::state::State;

/// More than any request that AWS takes, but for objects.
const BODY_LIMIT: usize = 1 << 20;

/// All services of one sandbox.
#[derive(Debug)]
pub(crate) struct Services {
    pub(crate) state: Arc<State>,
    s3: s3::Endpoint,
}

impl Services {
    pub(crate) fn new(state: Arc<State>) -> Self {
        let s3 = s3::Endpoint::new(Arc::clone(&state.s3));
        Self { state, s3 }
    }

    pub(crate) async fn carry_out(
        &self,
        caller: Caller,
        operation: &str,
        work: Work,
        request_id: &str,
    ) -> Response<Body> {
        let state = &*self.state;
        match work {
            Work::Ec2(form) => ec2::handle(state, &caller, operation, &form, request_id),
            Work::AutoScaling(form) => autoscaling::handle(state, &caller, operation, &form, request_id),
            Work::Sns(form) => sns::handle(state, &caller, operation, &form, request_id),
            Work::Sts(form) => sts::handle(state, &caller, operation, &form, request_id),
            Work::S3(request) => self.s3.handle(caller, *request).await,
            Work::Ssm(input) => ssm::handle(state, &caller, operation, &input, request_id),
            Work::CloudWatch(protocol, input) => {
                cloudwatch::handle(state, &caller, operation, (protocol, &input), request_id)
            }
        }
    }
}

/// A request, read as far as its service needs it before it is carried out.
pub(crate) enum Work {
    Ec2(BTreeMap<String, String>),
    AutoScaling(BTreeMap<String, String>),
    Sns(BTreeMap<String, String>),
    Sts(BTreeMap<String, String>),
    S3(Box<Request<Incoming>>),
    Ssm(serde_json::Value),
    CloudWatch(cloudwatch::Protocol, cbor::Value),
}

/// The operation, its parameters as journal and faults know them, and the work.
pub(crate) async fn read(
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
        Service::AutoScaling => Work::AutoScaling,
        Service::Sns => Work::Sns,
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
