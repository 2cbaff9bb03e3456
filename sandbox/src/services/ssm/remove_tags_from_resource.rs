//! RemoveTagsFromResource

use serde::Deserialize;
use serde_json::{Value, json};

use super::call::{OTHERS, Operation, SsmCall};
use super::tags;
use crate::error::ApiError;

pub(super) const OPERATION: Operation = Operation { name: "RemoveTagsFromResource", bucket: OTHERS, run };

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Input {
    resource_type: String,
    resource_id: String,
    tag_keys: Vec<String>,
}

fn run(call: &SsmCall<'_>) -> Result<Value, ApiError> {
    let input: Input = call.input()?;
    call.with(|store| {
        let parameter = tags::resource(store, &input.resource_type, &input.resource_id)?;
        parameter.tags.retain(|key, _| !input.tag_keys.contains(key));
        Ok(json!({}))
    })
}
