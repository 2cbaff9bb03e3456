//! GetCallerIdentity

use super::call::{Operation, StsCall};
use crate::error::ApiError;
use crate::protocol::xml::Xml;

pub(super) const OPERATION: Operation = Operation { name: "GetCallerIdentity", run };

fn run(call: &StsCall<'_>) -> Result<Xml, ApiError> {
    call.params.finish()?;
    let id = &call.caller.id;
    let mut xml = Xml::default();
    xml.text("Arn", &id.principal_arn);
    xml.text("UserId", &id.user_id);
    xml.text("Account", &id.account);
    Ok(xml)
}
