//! DeleteParameters

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

use super::call::{OTHERS, Operation, SsmCall};
use super::get_parameters::check_count;
use crate::error::ApiError;

pub(super) const OPERATION: Operation = Operation { name: "DeleteParameters", bucket: OTHERS, run };

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Input {
    names: Vec<String>,
}

fn run(call: &SsmCall<'_>) -> Result<Value, ApiError> {
    let Input { names } = call.input()?;
    check_count(&names)?;
    let names: BTreeSet<String> = names.into_iter().collect();
    let (deleted, invalid): (Vec<_>, Vec<_>) =
        call.with(|store| names.into_iter().partition(|name| store.own.remove(name).is_some()));
    Ok(json!({"DeletedParameters": deleted, "InvalidParameters": invalid}))
}
