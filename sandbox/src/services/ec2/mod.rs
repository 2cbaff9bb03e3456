//! EC2: a file for each operation, over the state in [`crate::state::ec2`].

pub(crate) mod call;
mod create_image;
pub(crate) mod create_launch_template;
mod create_launch_template_version;
mod create_tags;
mod delete_launch_template;
mod delete_launch_template_versions;
mod delete_tags;
mod deregister_image;
mod describe_image_references;
mod describe_images;
mod describe_instance_status;
mod describe_instances;
mod describe_launch_template_versions;
mod describe_launch_templates;
mod describe_security_groups;
mod describe_subnets;
mod filter;
mod get_console_output;
mod image_changes;
mod instance_xml;
mod launch;
mod launch_template_request;
mod modify_launch_template;
mod page;
mod register_image;
pub(crate) mod run_instances;
mod start_instances;
mod state_changes;
mod stop_instances;
mod template_warning;
mod terminate_instances;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use http::Response;

use crate::caller::Caller;
use crate::error::ApiError;
use crate::protocol::params::Params;
use crate::protocol::query;
use crate::protocol::response::{Body, ErrorCode};
use crate::protocol::xml::Xml;
use crate::state::State;
use crate::state::throttle::{self, Charge};
use call::{Ec2Call, Operation};

/// A new operation is a file of its own and a line here.
const OPERATIONS: &[Operation] = &[
    create_image::OPERATION,
    create_launch_template::OPERATION,
    create_launch_template_version::OPERATION,
    create_tags::OPERATION,
    delete_tags::OPERATION,
    delete_launch_template::OPERATION,
    delete_launch_template_versions::OPERATION,
    deregister_image::OPERATION,
    describe_image_references::OPERATION,
    describe_images::OPERATION,
    describe_instance_status::OPERATION,
    describe_instances::OPERATION,
    describe_launch_template_versions::OPERATION,
    describe_launch_templates::OPERATION,
    describe_security_groups::OPERATION,
    describe_subnets::OPERATION,
    get_console_output::OPERATION,
    image_changes::DEPRECATE,
    image_changes::DISABLE,
    image_changes::ENABLE,
    image_changes::UNDEPRECATE,
    modify_launch_template::OPERATION,
    register_image::OPERATION,
    run_instances::OPERATION,
    start_instances::OPERATION,
    stop_instances::OPERATION,
    terminate_instances::OPERATION,
];

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
    let call = Ec2Call { state, caller, params: Params::new(form), now: state.clock.now() };
    match run(&call, operation, form) {
        Ok(content) => {
            let mut xml = Xml::document();
            let namespace = "xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"";
            xml.element_with(&format!("{operation}Response"), namespace, |xml| {
                xml.text("requestId", request_id);
                xml.append(&content);
            });
            query::respond(http::StatusCode::OK, request_id, xml.into_string())
        }
        Err(refused) => {
            let mut response = error(&refused, request_id);
            response.extensions_mut().insert(ErrorCode(refused.code));
            response
        }
    }
}

fn run(call: &Ec2Call<'_>, operation: &str, form: &BTreeMap<String, String>) -> Result<Xml, ApiError> {
    let known = OPERATIONS.iter().find(|known| known.name == operation).ok_or_else(|| {
        ApiError::new("InvalidAction", format!("The action {operation} is not valid for this web service."))
    })?;
    let (bucket, size) = if known.requests == throttle::NON_MUTATING && is_unfiltered(form) {
        (UNFILTERED_BUCKETS, throttle::UNFILTERED_UNPAGINATED)
    } else {
        (known.name, known.requests)
    };
    call.charge(known.name, Charge { bucket, size, tokens: 1 })?;
    (known.run)(call)
}

const UNFILTERED_BUCKETS: &str = "unfiltered and unpaginated";

fn is_unfiltered(form: &BTreeMap<String, String>) -> bool {
    let narrows = |name: &str| name.starts_with("Filter.") || name.contains("Id") || name.contains("Name");
    form.keys().all(|name| !narrows(name) && name != "MaxResults")
}

/// An error in EC2's shape.
pub(crate) fn error(error: &ApiError, request_id: &str) -> Response<Body> {
    let mut xml = Xml::document();
    xml.element("Response", |xml| {
        xml.element("Errors", |xml| {
            xml.element("Error", |xml| {
                xml.text("Code", &error.code);
                xml.text("Message", &error.message);
            });
        });
        xml.text("RequestID", request_id);
    });
    query::respond(error.status, request_id, xml.into_string())
}
