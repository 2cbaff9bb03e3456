//! RunInstances

use super::instance::Instance;
use super::instance_xml;
use super::launch;
use super::launch_request::LaunchRequest;
use super::{Ec2Call, Operation};
use crate::error::ApiError;
use crate::query::xml::Xml;
use crate::throttle::{Charge, RUN_INSTANCES, RUN_INSTANCES_RESOURCES};

pub(super) const OPERATION: Operation = Operation { name: "RunInstances", requests: RUN_INSTANCES, run };

fn run(call: &Ec2Call<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let request = LaunchRequest::read(&root, call.params.all())?;
    let dry_run = call.finish()?;
    call.charge(
        OPERATION.name,
        Charge { bucket: "RunInstances/resources", size: RUN_INSTANCES_RESOURCES, tokens: request.max },
    )?;
    call.with(|world| {
        let launched = launch::launch(world, call.caller, &request, dry_run, call.now)?;
        let estate = world.estate(&call.caller.id.account, &call.caller.region, call.now);
        let instances: Vec<&Instance> = launched.iter().filter_map(|sequence| estate.instances.get(sequence)).collect();
        let mut xml = Xml::default();
        instance_xml::reservation(&mut xml, &instances);
        Ok(xml)
    })
}
