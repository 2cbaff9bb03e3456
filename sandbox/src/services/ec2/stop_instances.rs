//! StopInstances

use super::call::{Ec2Call, Operation};
use super::state_changes::Named;
use crate::error::ApiError;
use crate::protocol::xml::Xml;
use crate::state::ec2::instance::{Instance, InstanceState, Market};
use crate::state::ec2::lifecycle::Ending;
use crate::state::throttle::{MUTATING, STOP_INSTANCES_RESOURCES};

pub(super) const OPERATION: Operation = Operation { name: "StopInstances", requests: MUTATING, run };

fn run(call: &Ec2Call<'_>) -> Result<Xml, ApiError> {
    call.root().boolean("Force")?;
    call.root().boolean("SkipOsShutdown")?;
    let (account, region) = (&call.caller.id.account, &call.caller.region);
    Named::read(call)?.change(
        call,
        (OPERATION.name, "StopInstances/resources", STOP_INSTANCES_RESOURCES),
        |_, named| named.iter().try_for_each(check),
        |world, sequence| world.end(sequence, account, region, Ending::UserStops, call.now),
    )
}

fn check(instance: &Instance) -> Result<(), ApiError> {
    if instance.market == Market::Spot && instance.state.is_alive() {
        let message = format!(
            "You can't stop the Spot Instance '{}' because it is associated with a one-time Spot Instance request. You \
             can only stop Spot Instances associated with persistent Spot Instance requests.",
            instance.id
        );
        return Err(ApiError::new("UnsupportedOperation", message));
    }
    match instance.state {
        InstanceState::Running | InstanceState::Stopping | InstanceState::Stopped => Ok(()),
        InstanceState::Pending | InstanceState::ShuttingDown | InstanceState::Terminated => {
            let message = format!("The instance '{}' is not in a state from which it can be stopped.", instance.id);
            Err(ApiError::new("IncorrectInstanceState", message))
        }
    }
}
