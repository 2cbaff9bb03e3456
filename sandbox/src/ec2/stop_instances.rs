//! StopInstances

use super::instance::{Instance, InstanceState, Market};
use super::instance_xml::{self, StateChange};
use super::lifecycle::Ending;
use super::{Ec2Call, Operation};
use crate::error::ApiError;
use crate::query::params::missing;
use crate::query::xml::Xml;
use crate::throttle::{Charge, MUTATING, STOP_INSTANCES_RESOURCES};

pub(super) const OPERATION: Operation = Operation { name: "StopInstances", requests: MUTATING, run };

fn run(call: &Ec2Call<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let ids = root.list("InstanceId");
    root.boolean("Force")?;
    root.boolean("SkipOsShutdown")?;
    let dry_run = call.finish()?;
    if ids.is_empty() {
        return Err(missing("InstanceId"));
    }
    let tokens = u32::try_from(ids.len()).unwrap_or(u32::MAX);
    let charge = Charge { bucket: "StopInstances/resources", size: STOP_INSTANCES_RESOURCES, tokens };
    call.charge(OPERATION.name, charge)?;
    let (account, region) = (&call.caller.id.account, &call.caller.region);
    call.with(|world| {
        let estate = world.estate(account, region, call.now);
        let mut sequences = estate.sequences_of(&ids)?;
        sequences.sort_unstable();
        sequences.dedup();
        sequences.iter().filter_map(|sequence| estate.instances.get(sequence)).try_for_each(check)?;
        dry_run.end()?;
        let mut changes = Vec::new();
        for sequence in sequences {
            let before = world.end(sequence, account, region, Ending::UserStops, call.now);
            if let (Some(before), Some(instance)) = (before, world.instance_mut(account, region, sequence)) {
                changes.push(StateChange { id: instance.id.clone(), before, after: instance.state });
            }
        }
        let mut xml = Xml::default();
        instance_xml::changes(&mut xml, changes);
        Ok(xml)
    })
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
