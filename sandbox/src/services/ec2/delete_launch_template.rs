//! DeleteLaunchTemplate

use super::call::{Ec2Call, Operation};
use crate::error::ApiError;
use crate::protocol::xml::Xml;
use crate::state::ec2::launch_template::Reference;
use crate::state::throttle::MUTATING;

pub(super) const OPERATION: Operation = Operation { name: "DeleteLaunchTemplate", requests: MUTATING, run };

fn run(call: &Ec2Call<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let reference = Reference::read(&root)?;
    let dry_run = call.finish()?;
    call.with(|world| {
        let templates = &mut world.estate(&call.caller.id.account, &call.caller.region, call.now).launch_templates;
        let id = templates.find(reference)?.id.clone();
        dry_run.end()?;
        let mut xml = Xml::default();
        if let Some(template) = templates.by_id.remove(&id) {
            xml.element("launchTemplate", |xml| template.write(xml));
        }
        Ok(xml)
    })
}
