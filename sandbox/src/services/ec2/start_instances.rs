//! StartInstances

use super::call::{Ec2Call, Operation};
use super::state_changes::Named;
use crate::caller::AccountId;
use crate::error::ApiError;
use crate::protocol::xml::Xml;
use crate::state::ec2::instance::{Instance, InstanceState};
use crate::state::ec2::launch::placement;
use crate::state::ec2::world::World;
use crate::state::throttle::{START_INSTANCES, START_INSTANCES_RESOURCES};

pub(super) const OPERATION: Operation = Operation { name: "StartInstances", requests: START_INSTANCES, run };

fn run(call: &Ec2Call<'_>) -> Result<Xml, ApiError> {
    call.root().text("AdditionalInfo");
    let (account, region) = (&call.caller.id.account, &call.caller.region);
    Named::read(call)?.change(
        call,
        (OPERATION.name, "StartInstances/resources", START_INSTANCES_RESOURCES),
        |world, named| {
            named.iter().try_for_each(check)?;
            check_capacity(world, account, named)
        },
        |world, sequence| world.start(sequence, account, region, call.now),
    )
}

fn check_capacity(world: &World, account: &AccountId, named: &[Instance]) -> Result<(), ApiError> {
    let stopped: Vec<_> = named.iter().filter(|instance| instance.state == InstanceState::Stopped).collect();
    for instance in &stopped {
        let alike =
            |other: &&&Instance| (&other.zone, &other.instance_type) == (&instance.zone, &instance.instance_type);
        let wanted = u32::try_from(stopped.iter().filter(alike).count()).unwrap_or(u32::MAX);
        let free = world.free_capacity(account, &instance.zone, &instance.instance_type, instance.market);
        if free.is_some_and(|free| free < wanted) {
            return Err(placement::no_capacity(&instance.instance_type, instance.market, &instance.zone));
        }
    }
    Ok(())
}

fn check(instance: &Instance) -> Result<(), ApiError> {
    match instance.state {
        InstanceState::Stopped | InstanceState::Pending | InstanceState::Running => Ok(()),
        InstanceState::Stopping | InstanceState::ShuttingDown | InstanceState::Terminated => {
            let message = format!("The instance '{}' is not in a state from which it can be started.", instance.id);
            Err(ApiError::new("IncorrectInstanceState", message))
        }
    }
}
