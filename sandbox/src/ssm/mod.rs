//! Parameter Store, of Systems Manager.

mod add_tags_to_resource;
mod control;
mod delete_parameter;
mod delete_parameters;
mod describe_parameters;
mod get_parameter;
mod get_parameters;
mod get_parameters_by_path;
mod list_tags_for_resource;
mod name;
mod page;
mod parameter;
mod put_parameter;
mod remove_tags_from_resource;
mod store;
mod tags;

use std::collections::BTreeMap;

use http::{Response, StatusCode};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::caller::Caller;
use crate::error::ApiError;
use crate::front::{Body, ErrorCode};
use crate::json;
use crate::state::State;
use crate::throttle::{BucketSize, Charge, PARAMETER_OTHERS, PARAMETER_READS, PUT_PARAMETER};
pub(crate) use control::routes;
pub use parameter::{Kind, Parameter, Tier, Version};
pub(crate) use store::Ssm;
use store::Store;

/// What CloudTrail writes in the place of a value.
const HIDDEN: &str = "HIDDEN_DUE_TO_SECURITY_REASONS";

/// A call that is about to be carried out.
struct SsmCall<'a> {
    state: &'a State,
    caller: &'a Caller,
    now: Timestamp,
    input: &'a Value,
}

impl SsmCall<'_> {
    /// The request. A member that the sandbox does not know is refused, so that none is silently without effect.
    fn input<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        T::deserialize(self.input).map_err(|error| validation(format!("1 validation error detected: {error}")))
    }

    /// Works on the caller's own account and region.
    fn with<T>(&self, work: impl FnOnce(&mut Store<'_>) -> T) -> T {
        let Caller { id, region } = self.caller;
        self.state.ssm.with(&id.account, region, work)
    }
}

struct Operation {
    name: &'static str,
    /// Operations that name the same bucket share it.
    bucket: (&'static str, BucketSize),
    run: fn(&SsmCall<'_>) -> Result<Value, ApiError>,
}

const READS: (&str, BucketSize) = ("Parameter Store reads", PARAMETER_READS);
const PUTS: (&str, BucketSize) = ("PutParameter", PUT_PARAMETER);
const OTHERS: (&str, BucketSize) = ("Parameter Store others", PARAMETER_OTHERS);

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

fn validation(message: impl Into<String>) -> ApiError {
    ApiError::new("ValidationException", message)
}

/// As every service words what breaks a constraint of its model.
fn constraint(value: &str, member: &str, constraint: &str) -> ApiError {
    validation(format!(
        "1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: {constraint}"
    ))
}
