//! SNS: a file for each operation, over the topics in [`crate::state::sns`].

mod call;
mod create_topic;
mod get_topic_attributes;
mod publish;

use std::collections::BTreeMap;

use http::Response;

use crate::caller::Caller;
use crate::error::ApiError;
use crate::protocol::params::Params;
use crate::protocol::query;
use crate::protocol::response::Body;
use crate::protocol::xml::Xml;
use crate::state::State;
use crate::state::throttle::Charge;
use call::{Operation, SnsCall};

const NAMESPACE: &str = "xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"";

/// A new operation is a file of its own and a line here.
const OPERATIONS: &[Operation] = &[create_topic::OPERATION, get_topic_attributes::OPERATION, publish::OPERATION];

pub(crate) fn has(operation: &str) -> bool {
    OPERATIONS.iter().any(|known| known.name == operation)
}

/// The topic that a denial names.
pub(crate) fn resource(account: &str, region: &str, parameters: &BTreeMap<String, String>) -> Option<String> {
    let arn = parameters.get("TopicArn").or_else(|| parameters.get("TargetArn")).cloned();
    arn.or_else(|| parameters.get("Name").map(|name| format!("arn:aws:sns:{region}:{account}:{name}")))
}

pub(crate) fn handle(
    state: &State,
    caller: &Caller,
    operation: &str,
    form: &BTreeMap<String, String>,
    request_id: &str,
) -> Response<Body> {
    query::answer(NAMESPACE, operation, carry_out(state, caller, operation, form), request_id)
}

pub(crate) fn carry_out(
    state: &State,
    caller: &Caller,
    operation: &str,
    form: &BTreeMap<String, String>,
) -> Result<Xml, ApiError> {
    let known = OPERATIONS.iter().find(|known| known.name == operation).ok_or_else(|| {
        ApiError::new("InvalidAction", format!("Could not find operation {operation} for version 2010-03-31"))
    })?;
    let charge = [Charge { bucket: known.name, size: known.requests, tokens: 1 }];
    let taken = state.throttle.take(&caller.id.account, &caller.region, known.name, &charge, state.clock.monotonic());
    taken.map_err(|_refused| ApiError::new("Throttled", "Rate exceeded"))?;
    let call = SnsCall { state, caller, params: Params::new(form), now: state.clock.now() };
    (known.run)(&call).map_err(in_its_own_words)
}

/// SNS has one code for what EC2 has many for.
fn in_its_own_words(error: ApiError) -> ApiError {
    match error.code.as_str() {
        "InvalidParameterValue" | "UnknownParameter" => call::invalid(error.message),
        _other => error,
    }
}

pub(crate) fn error(error: &ApiError, request_id: &str) -> Response<Body> {
    query::error(NAMESPACE, error, request_id)
}
