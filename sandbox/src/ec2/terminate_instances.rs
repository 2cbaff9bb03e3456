//! TerminateInstances

use super::instance_xml::{self, StateChange};
use super::lifecycle::Ending;
use super::{Ec2Call, Operation};
use crate::error::ApiError;
use crate::query::params::{invalid, missing};
use crate::query::xml::Xml;
use crate::throttle::{Charge, TERMINATE_INSTANCES, TERMINATE_INSTANCES_RESOURCES};

pub(super) const OPERATION: Operation = Operation { name: "TerminateInstances", requests: TERMINATE_INSTANCES, run };

const MAX_IDS: usize = 1000;

fn run(call: &Ec2Call<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let ids = root.list("InstanceId");
    root.boolean("Force")?;
    root.boolean("SkipOsShutdown")?;
    let dry_run = call.finish()?;
    if ids.is_empty() {
        return Err(missing("InstanceId"));
    }
    if ids.len() > MAX_IDS {
        return Err(invalid(format!("At most {MAX_IDS} instances can be terminated at a time.")));
    }
    let tokens = u32::try_from(ids.len()).unwrap_or(u32::MAX);
    call.charge(
        OPERATION.name,
        Charge { bucket: "TerminateInstances/resources", size: TERMINATE_INSTANCES_RESOURCES, tokens },
    )?;
    let (account, region) = (&call.caller.id.account, &call.caller.region);
    call.with(|world| {
        let estate = world.estate(account, region, call.now);
        // One bad id fails the whole call.
        let mut sequences = estate.sequences_of(&ids)?;
        sequences.sort_unstable();
        sequences.dedup();
        let protected = sequences.iter().filter_map(|sequence| estate.instances.get(sequence));
        if let Some(instance) = protected.clone().find(|instance| instance.termination_protection) {
            let message = format!(
                "The instance '{}' may not be terminated. Modify its 'disableApiTermination' instance attribute and \
                 try again.",
                instance.id
            );
            return Err(ApiError::new("OperationNotPermitted", message));
        }
        dry_run.end()?;
        let mut changes = Vec::new();
        for sequence in sequences {
            let before = world.end(sequence, account, region, Ending::UserTerminates, call.now);
            if let (Some(before), Some(instance)) = (before, world.instance_mut(account, region, sequence)) {
                changes.push(StateChange { id: instance.id.clone(), before, after: instance.state });
            }
        }
        let mut xml = Xml::default();
        instance_xml::changes(&mut xml, changes);
        Ok(xml)
    })
}
