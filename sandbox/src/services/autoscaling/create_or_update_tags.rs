//! CreateOrUpdateTags

use super::call::{GroupCall, Operation, null};
use super::tags;
use crate::error::ApiError;
use crate::protocol::xml::Xml;
use crate::state::throttle::MUTATING;

pub(super) const OPERATION: Operation = Operation { name: "CreateOrUpdateTags", requests: MUTATING, run };

fn run(call: &GroupCall<'_>) -> Result<Xml, ApiError> {
    let asked = tags::read(&call.root())?;
    call.params.finish()?;
    for one in asked {
        call.change(one.group.ok_or_else(|| null("Tags.member.1.ResourceId"))?, |group| {
            let mut after = group.tags.clone();
            after.insert(one.key.to_owned(), one.tag);
            tags::check_count(&after)?;
            group.tags = after;
            Ok(())
        })?;
    }
    Ok(Xml::default())
}
