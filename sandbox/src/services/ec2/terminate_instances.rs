//! TerminateInstances

use super::call::{Ec2Call, Operation};
use super::state_changes::Named;
use crate::error::ApiError;
use crate::protocol::params::invalid;
use crate::protocol::xml::Xml;
use crate::state::ec2::instance::Instance;
use crate::state::ec2::lifecycle::Ending;
use crate::state::throttle::{TERMINATE_INSTANCES, TERMINATE_INSTANCES_RESOURCES};

pub(super) const OPERATION: Operation = Operation { name: "TerminateInstances", requests: TERMINATE_INSTANCES, run };

const MAX_IDS: usize = 1000;

fn run(call: &Ec2Call<'_>) -> Result<Xml, ApiError> {
    call.root().boolean("Force")?;
    call.root().boolean("SkipOsShutdown")?;
    let named = Named::read(call)?;
    if named.len() > MAX_IDS {
        return Err(invalid(format!("At most {MAX_IDS} instances can be terminated at a time.")));
    }
    let (account, region) = (&call.caller.id.account, &call.caller.region);
    named.change(
        call,
        (OPERATION.name, "TerminateInstances/resources", TERMINATE_INSTANCES_RESOURCES),
        |_, named| named.iter().try_for_each(check),
        |world, sequence| world.end(sequence, account, region, Ending::UserTerminates, call.now),
    )
}

fn check(instance: &Instance) -> Result<(), ApiError> {
    if instance.termination_protection {
        let message = format!(
            "The instance '{}' may not be terminated. Modify its 'disableApiTermination' instance attribute and try \
             again.",
            instance.id
        );
        return Err(ApiError::new("OperationNotPermitted", message));
    }
    Ok(())
}
