//! AddTagsToResource

use serde::Deserialize;
use serde_json::{Value, json};

use super::call::{OTHERS, Operation, SsmCall};
use super::tags::{self, Tag};
use crate::error::ApiError;

pub(super) const OPERATION: Operation = Operation { name: "AddTagsToResource", bucket: OTHERS, run };

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Input {
    resource_type: String,
    resource_id: String,
    tags: Vec<Tag>,
}

fn run(call: &SsmCall<'_>) -> Result<Value, ApiError> {
    let input: Input = call.input()?;
    let wanted = tags::read(input.tags)?;
    call.with(|store| {
        let parameter = tags::resource(store, &input.resource_type, &input.resource_id)?;
        tags::add(&mut parameter.tags, wanted)?;
        Ok(json!({}))
    })
}
