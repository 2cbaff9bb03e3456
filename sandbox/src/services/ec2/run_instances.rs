//! RunInstances

use super::call::{Ec2Call, Operation};
use super::launch::sent::SentRequest;
use super::{instance_xml, launch};
use crate::error::ApiError;
use crate::protocol::xml::Xml;
use crate::state::ec2::instance::Instance;
use crate::state::throttle::RUN_INSTANCES;

pub(super) const OPERATION: Operation = Operation { name: "RunInstances", requests: RUN_INSTANCES, run };

/// For whoever needs instances and no call: the ids of what was launched.
pub(crate) fn launch_ids(call: &Ec2Call<'_>) -> Result<Vec<String>, ApiError> {
    let sent = SentRequest::read(&call.root(), call.params.all())?;
    call.with(|world| {
        let launched = launch::launch(world, call, &sent)?;
        let estate = world.estate(&call.caller.id.account, &call.caller.region, call.now);
        let instances = launched.iter().filter_map(|sequence| estate.instances.get(sequence));
        Ok(instances.map(|instance| instance.id.clone()).collect())
    })
}

fn run(call: &Ec2Call<'_>) -> Result<Xml, ApiError> {
    let sent = SentRequest::read(&call.root(), call.params.all())?;
    call.with(|world| {
        let launched = launch::launch(world, call, &sent)?;
        let estate = world.estate(&call.caller.id.account, &call.caller.region, call.now);
        let instances: Vec<&Instance> = launched.iter().filter_map(|sequence| estate.instances.get(sequence)).collect();
        let mut xml = Xml::default();
        instance_xml::reservation(&mut xml, &instances);
        Ok(xml)
    })
}
