//! StartInstances

use super::instance::{Instance, InstanceState};
use super::instance_xml::{self, StateChange};
use super::launch;
use super::{Ec2Call, Operation};
use crate::error::ApiError;
use crate::query::params::missing;
use crate::query::xml::Xml;
use crate::throttle::{Charge, START_INSTANCES, START_INSTANCES_RESOURCES};

pub(super) const OPERATION: Operation = Operation { name: "StartInstances", requests: START_INSTANCES, run };

fn run(call: &Ec2Call<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let ids = root.list("InstanceId");
    root.text("AdditionalInfo");
    let dry_run = call.finish()?;
    if ids.is_empty() {
        return Err(missing("InstanceId"));
    }
    let tokens = u32::try_from(ids.len()).unwrap_or(u32::MAX);
    let charge = Charge { bucket: "StartInstances/resources", size: START_INSTANCES_RESOURCES, tokens };
    call.charge(OPERATION.name, charge)?;
    let (account, region) = (&call.caller.id.account, &call.caller.region);
    call.with(|world| {
        let estate = world.estate(account, region, call.now);
        let mut sequences = estate.sequences_of(&ids)?;
        sequences.sort_unstable();
        sequences.dedup();
        let stopped: Vec<Instance> = sequences
            .iter()
            .filter_map(|sequence| estate.instances.get(sequence))
            .filter(|instance| instance.state == InstanceState::Stopped)
            .cloned()
            .collect();
        sequences.iter().filter_map(|sequence| estate.instances.get(sequence)).try_for_each(check)?;
        for instance in &stopped {
            let alike =
                |other: &&Instance| (&other.zone, &other.instance_type) == (&instance.zone, &instance.instance_type);
            let wanted = u32::try_from(stopped.iter().filter(alike).count()).unwrap_or(u32::MAX);
            let free = world.free_capacity(account, &instance.zone, &instance.instance_type, instance.market);
            if free.is_some_and(|free| free < wanted) {
                return Err(launch::no_capacity(&instance.instance_type, instance.market, &instance.zone));
            }
        }
        dry_run.end()?;
        let mut changes = Vec::new();
        for sequence in sequences {
            let before = world.start(sequence, account, region, call.now);
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
    match instance.state {
        InstanceState::Stopped | InstanceState::Pending | InstanceState::Running => Ok(()),
        InstanceState::Stopping | InstanceState::ShuttingDown | InstanceState::Terminated => {
            let message = format!("The instance '{}' is not in a state from which it can be started.", instance.id);
            Err(ApiError::new("IncorrectInstanceState", message))
        }
    }
}
