//! GetParameters

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

use super::call::{Operation, READS, SsmCall};
use super::validation::constraint;
use crate::error::ApiError;

pub(super) const OPERATION: Operation = Operation { name: "GetParameters", bucket: READS, run };

const MAX_NAMES: usize = 10;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Input {
    names: Vec<String>,
    #[serde(default)]
    with_decryption: bool,
}

fn run(call: &SsmCall<'_>) -> Result<Value, ApiError> {
    let input: Input = call.input()?;
    check_count(&input.names)?;
    let names: BTreeSet<&String> = input.names.iter().collect();
    call.with(|store| {
        let (mut found, mut invalid) = (Vec::new(), Vec::new());
        for name in names {
            match store.find(name) {
                Ok((parameter, version, selector)) => {
                    found.push(parameter.shown(version, selector, input.with_decryption));
                }
                Err(_missing) => invalid.push(name.clone()),
            }
        }
        Ok(json!({"Parameters": found, "InvalidParameters": invalid}))
    })
}

pub(super) fn check_count(names: &[String]) -> Result<(), ApiError> {
    if names.is_empty() || names.len() > MAX_NAMES {
        let bounds = "Member must have length less than or equal to 10, and greater than or equal to 1";
        return Err(constraint(&format!("[{}]", names.join(", ")), "names", bounds));
    }
    Ok(())
}
