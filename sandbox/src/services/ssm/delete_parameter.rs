//! DeleteParameter

use serde::Deserialize;
use serde_json::{Value, json};

use super::call::{OTHERS, Operation, SsmCall};
use crate::error::ApiError;

pub(super) const OPERATION: Operation = Operation { name: "DeleteParameter", bucket: OTHERS, run };

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Input {
    name: String,
}

fn run(call: &SsmCall<'_>) -> Result<Value, ApiError> {
    let Input { name } = call.input()?;
    let removed = call.with(|store| store.own.remove(&name));
    removed.map(|_| json!({})).ok_or_else(|| ApiError::new("ParameterNotFound", format!("Parameter {name} not found.")))
}
