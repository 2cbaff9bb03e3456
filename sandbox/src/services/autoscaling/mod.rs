//! Auto Scaling: a file for each operation, or for some that are alike, over the groups in
//! [`crate::state::autoscaling`].

mod call;
mod cancel_instance_refresh;
mod create_auto_scaling_group;
mod create_or_update_tags;
mod delete_auto_scaling_group;
mod delete_tags;
mod describe_auto_scaling_groups;
mod describe_instance_refreshes;
mod describe_scaling_activities;
mod group_xml;
mod instances;
mod page;
mod preferences;
mod processes;
mod rollback_instance_refresh;
mod set_desired_capacity;
mod settings;
mod source;
mod standby;
mod start_instance_refresh;
mod tags;
#[cfg(test)]
mod tests;
mod update_auto_scaling_group;

use std::collections::BTreeMap;

use http::Response;

use crate::caller::Caller;
use crate::error::ApiError;
use crate::protocol::params::Params;
use crate::protocol::query;
use crate::protocol::response::Body;
use crate::protocol::xml::Xml;
use crate::state::State;
use crate::state::throttle::Charge;
pub(crate) use call::not_found;
use call::{GroupCall, Operation};

const NAMESPACE: &str = "xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\"";

/// A new operation is a file of its own and a line here.
const OPERATIONS: &[Operation] = &[
    cancel_instance_refresh::OPERATION,
    create_auto_scaling_group::OPERATION,
    create_or_update_tags::OPERATION,
    delete_auto_scaling_group::OPERATION,
    delete_tags::OPERATION,
    describe_auto_scaling_groups::OPERATION,
    describe_instance_refreshes::OPERATION,
    describe_scaling_activities::OPERATION,
    instances::HEALTH,
    instances::PROTECT,
    instances::TERMINATE,
    processes::RESUME,
    processes::SUSPEND,
    rollback_instance_refresh::OPERATION,
    set_desired_capacity::OPERATION,
    standby::ENTER,
    standby::EXIT,
    start_instance_refresh::OPERATION,
    update_auto_scaling_group::OPERATION,
];

pub(crate) fn has(operation: &str) -> bool {
    OPERATIONS.iter().any(|known| known.name == operation)
}

/// The ARN that a denial names: that of a group where the request names one.
pub(crate) fn resource(account: &str, region: &str, parameters: &BTreeMap<String, String>) -> Option<String> {
    let name = parameters.get("AutoScalingGroupName")?;
    Some(format!("arn:aws:autoscaling:{region}:{account}:autoScalingGroup:*:autoScalingGroupName/{name}"))
}

pub(crate) fn handle(
    state: &State,
    caller: &Caller,
    operation: &str,
    form: &BTreeMap<String, String>,
    request_id: &str,
) -> Response<Body> {
    query::answer(NAMESPACE, operation, carry_out(state, caller, operation, form), request_id)
}

pub(crate) fn carry_out(
    state: &State,
    caller: &Caller,
    operation: &str,
    form: &BTreeMap<String, String>,
) -> Result<Xml, ApiError> {
    let known = OPERATIONS.iter().find(|known| known.name == operation).ok_or_else(|| {
        ApiError::new("InvalidAction", format!("Could not find operation {operation} for version 2011-01-01"))
    })?;
    // Auto Scaling publishes no sizes: EC2's stand in for them.
    let charge = [Charge { bucket: known.name, size: known.requests, tokens: 1 }];
    let taken = state.throttle.take(&caller.id.account, &caller.region, known.name, &charge, state.clock.monotonic());
    taken.map_err(|_refused| ApiError::new("Throttling", "Rate exceeded"))?;
    let call = GroupCall { state, caller, params: Params::new(form), now: state.clock.now() };
    (known.run)(&call).map_err(in_its_own_words)
}

/// Auto Scaling has one code for what EC2 has many for.
fn in_its_own_words(error: ApiError) -> ApiError {
    match error.code.as_str() {
        "MissingParameter" | "InvalidParameterValue" | "UnknownParameter" => {
            ApiError::new("ValidationError", error.message)
        }
        _other => error,
    }
}

pub(crate) fn error(error: &ApiError, request_id: &str) -> Response<Body> {
    query::error(NAMESPACE, error, request_id)
}
