//! GetParametersByPath

use serde::Deserialize;
use serde_json::{Value, json};

use super::call::{Operation, READS, SsmCall};
use super::{name, page};
use crate::error::ApiError;

pub(super) const OPERATION: Operation = Operation { name: "GetParametersByPath", bucket: READS, run };

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Input {
    path: String,
    #[serde(default)]
    recursive: bool,
    #[serde(default)]
    with_decryption: bool,
    #[serde(default)]
    max_results: Option<u32>,
    #[serde(default)]
    next_token: Option<String>,
}

fn run(call: &SsmCall<'_>) -> Result<Value, ApiError> {
    let input: Input = call.input()?;
    let prefix = name::below(&input.path)?;
    call.with(|store| {
        let all = if prefix.starts_with("/aws/") { &*store.public } else { &*store.own };
        let below = |name: &str| name.strip_prefix(&prefix).is_some_and(|rest| input.recursive || !rest.contains('/'));
        let rows = all.values().filter(|parameter| below(&parameter.name)).filter_map(|parameter| {
            let version = parameter.latest()?;
            Some((parameter.name.clone(), parameter.shown(version, None, input.with_decryption)))
        });
        let (found, next) = page::cut(rows, input.max_results, (10, 10), input.next_token.as_deref())?;
        let mut answer = json!({"Parameters": found});
        if let Some(next) = next {
            answer["NextToken"] = json!(next);
        }
        Ok(answer)
    })
}
