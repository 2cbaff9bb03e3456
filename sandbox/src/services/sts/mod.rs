//! STS: a file for each operation, over the roles and sessions in [`crate::state::accounts`].

mod assume_role;
mod call;
mod get_caller_identity;

use std::collections::BTreeMap;

use http::Response;

use crate::caller::Caller;
use crate::error::ApiError;
use crate::protocol::params::Params;
use crate::protocol::query;
use crate::protocol::response::Body;
use crate::state::State;
use call::{Operation, StsCall};

const NAMESPACE: &str = "xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"";

/// A new operation is a file of its own and a line here.
const OPERATIONS: &[Operation] = &[assume_role::OPERATION, get_caller_identity::OPERATION];

pub(crate) fn has(operation: &str) -> bool {
    OPERATIONS.iter().any(|known| known.name == operation)
}

pub(crate) fn handle(
    state: &State,
    caller: &Caller,
    operation: &str,
    form: &BTreeMap<String, String>,
    request_id: &str,
) -> Response<Body> {
    let call = StsCall { state, caller, params: Params::new(form) };
    let result = OPERATIONS
        .iter()
        .find(|known| known.name == operation)
        .ok_or_else(|| {
            ApiError::new("InvalidAction", format!("Could not find operation {operation} for version 2011-06-15"))
        })
        .and_then(|known| (known.run)(&call));
    query::answer(NAMESPACE, operation, result, request_id)
}

pub(crate) fn error(error: &ApiError, request_id: &str) -> Response<Body> {
    query::error(NAMESPACE, error, request_id)
}
