//! CloudWatch, as far as it tells the CPU of instances. boto3 speaks JSON with it, and most other SDKs CBOR.

mod call;
mod get_metric_data;
mod input;

use std::collections::BTreeMap;

use http::{Response, StatusCode, request};

use crate::caller::Caller;
use crate::error::ApiError;
use crate::protocol::cbor::{self, Value};
use crate::protocol::json;
use crate::protocol::response::{Body, ErrorCode};
use crate::state::State;
use crate::state::throttle::{BucketSize, Charge, GET_METRIC_DATA};
use call::CloudWatchCall;

/// How a caller speaks.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Protocol {
    Json,
    Cbor,
}

impl Protocol {
    pub(crate) fn of(parts: &request::Parts) -> Self {
        if parts.headers.contains_key("x-amz-target") { Self::Json } else { Self::Cbor }
    }

    /// The operation and the request.
    pub(crate) fn read(self, parts: &request::Parts, body: &[u8]) -> Result<(String, Value), ApiError> {
        Ok(match self {
            Self::Json => (json::operation(parts), Value::from_json(json::parse(body)?)),
            Self::Cbor => (cbor::operation(parts), cbor::parse(body)?),
        })
    }

    fn respond(self, request_id: &str, output: &Value) -> Response<Body> {
        match self {
            Self::Json => json::respond(StatusCode::OK, request_id, &output.to_json()),
            Self::Cbor => cbor::respond(StatusCode::OK, request_id, output),
        }
    }

    /// The service spoke the Query protocol once: the code that callers know is in a header, too.
    pub(crate) fn error(self, error: &ApiError, request_id: &str) -> Response<Body> {
        let mut response = match self {
            Self::Json => json::error(error, request_id),
            Self::Cbor => cbor::error(error, request_id),
        };
        let side = if error.status.is_server_error() { "Receiver" } else { "Sender" };
        if let Ok(value) = http::HeaderValue::from_str(&format!("{};{side}", error.code)) {
            response.headers_mut().insert("x-amzn-query-error", value);
        }
        response
    }
}

struct Operation {
    name: &'static str,
    requests: BucketSize,
    run: fn(&CloudWatchCall<'_>) -> Result<Value, ApiError>,
}

/// A new operation is a file of its own and a line here.
const OPERATIONS: &[Operation] =
    &[Operation { name: "GetMetricData", requests: GET_METRIC_DATA, run: get_metric_data::run }];

pub(crate) fn has(operation: &str) -> bool {
    OPERATIONS.iter().any(|known| known.name == operation)
}

/// The request as the journal shows it: lists by their length.
pub(crate) fn parameters(input: &Value) -> BTreeMap<String, String> {
    let Value::Map(members) = input else { return BTreeMap::new() };
    let shown = |value: &Value| match value {
        Value::Null => None,
        Value::Bool(value) => Some(value.to_string()),
        Value::Integer(value) => Some(value.to_string()),
        Value::Float(value) => Some(value.to_string()),
        Value::Text(text) => Some(text.clone()),
        Value::Time(time) => Some(time.to_string()),
        Value::List(items) => Some(items.len().to_string()),
        Value::Map(members) => Some(members.len().to_string()),
    };
    members.iter().filter_map(|(name, value)| Some((name.clone(), shown(value)?))).collect()
}

pub(crate) fn handle(
    state: &State,
    caller: &Caller,
    operation: &str,
    (protocol, input): (Protocol, &Value),
    request_id: &str,
) -> Response<Body> {
    let call = CloudWatchCall { state, caller, now: state.clock.now(), input };
    match run(&call, operation) {
        Ok(output) => protocol.respond(request_id, &output),
        Err(refused) => {
            let mut response = protocol.error(&refused, request_id);
            response.extensions_mut().insert(ErrorCode(refused.code));
            response
        }
    }
}

fn run(call: &CloudWatchCall<'_>, operation: &str) -> Result<Value, ApiError> {
    let known = OPERATIONS
        .iter()
        .find(|known| known.name == operation)
        .ok_or_else(|| ApiError::new("InvalidAction", format!("Could not find operation {operation}.")))?;
    let Caller { id, region } = call.caller;
    let charge = [Charge { bucket: known.name, size: known.requests, tokens: 1 }];
    let taken = call.state.throttle.take(&id.account, region, known.name, &charge, call.state.clock.monotonic());
    taken.map_err(|_refused| ApiError::new("Throttling", "Rate exceeded").with_status(StatusCode::BAD_REQUEST))?;
    (known.run)(call)
}
