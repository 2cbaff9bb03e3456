//! GetParameter

use serde::Deserialize;
use serde_json::{Value, json};

use super::call::{Operation, READS, SsmCall};
use crate::error::ApiError;

pub(super) const OPERATION: Operation = Operation { name: "GetParameter", bucket: READS, run };

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Input {
    name: String,
    #[serde(default)]
    with_decryption: bool,
}

fn run(call: &SsmCall<'_>) -> Result<Value, ApiError> {
    let input: Input = call.input()?;
    call.with(|store| {
        let (parameter, version, selector) = store.find(&input.name)?;
        Ok(json!({"Parameter": parameter.shown(version, selector, input.with_decryption)}))
    })
}
