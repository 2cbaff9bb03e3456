//! Parameter Store, of Systems Manager: a file for each operation, over the parameters in [`crate::state::ssm`].

mod add_tags_to_resource;
mod call;
mod delete_parameter;
mod delete_parameters;
mod describe_parameters;
mod get_parameter;
mod get_parameters;
mod get_parameters_by_path;
mod list_tags_for_resource;
mod name;
mod page;
mod put_parameter;
mod remove_tags_from_resource;
mod tags;
mod validation;

use std::collections::BTreeMap;

use http::{Response, StatusCode};
use serde_json::Value;

use crate::caller::Caller;
use crate::error::ApiError;
use crate::protocol::json;
use crate::protocol::response::{Body, ErrorCode};
use crate::state::State;
use crate::state::throttle::Charge;
use call::{Operation, SsmCall};

/// What CloudTrail writes in the place of a value.
const HIDDEN: &str = "HIDDEN_DUE_TO_SECURITY_REASONS";

/// A new operation is a file of its own and a line here.
const OPERATIONS: &[Operation] = &[
    add_tags_to_resource::OPERATION,
    delete_parameter::OPERATION,
    delete_parameters::OPERATION,
    describe_parameters::OPERATION,
    get_parameter::OPERATION,
    get_parameters::OPERATION,
    get_parameters_by_path::OPERATION,
    list_tags_for_resource::OPERATION,
    put_parameter::OPERATION,
    remove_tags_from_resource::OPERATION,
];

pub(crate) fn has(operation: &str) -> bool {
    OPERATIONS.iter().any(|known| known.name == operation)
}

/// The request as the journal shows it.
pub(crate) fn parameters(input: &Value) -> BTreeMap<String, String> {
    let mut flat = json::flatten(input);
    if let Some(value) = flat.get_mut("Value") {
        HIDDEN.clone_into(value);
    }
    flat
}

pub(crate) fn handle(
    state: &State,
    caller: &Caller,
    operation: &str,
    input: &Value,
    request_id: &str,
) -> Response<Body> {
    let call = SsmCall { state, caller, now: state.clock.now(), input };
    match run(&call, operation) {
        Ok(output) => json::respond(StatusCode::OK, request_id, &output),
        Err(refused) => {
            let mut response = json::error(&refused, request_id);
            response.extensions_mut().insert(ErrorCode(refused.code));
            response
        }
    }
}

fn run(call: &SsmCall<'_>, operation: &str) -> Result<Value, ApiError> {
    let known = OPERATIONS
        .iter()
        .find(|known| known.name == operation)
        .ok_or_else(|| ApiError::new("UnknownOperationException", ""))?;
    let (bucket, size) = known.bucket;
    let Caller { id, region } = call.caller;
    let charge = [Charge { bucket, size, tokens: 1 }];
    let taken = call.state.throttle.take(&id.account, region, known.name, &charge, call.state.clock.monotonic());
    taken.map_err(|_refused| ApiError::new("ThrottlingException", "Rate exceeded"))?;
    (known.run)(call)
}
