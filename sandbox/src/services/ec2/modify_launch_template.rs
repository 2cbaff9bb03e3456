//! ModifyLaunchTemplate

use super::call::{Ec2Call, Operation};
use crate::error::ApiError;
use crate::protocol::xml::Xml;
use crate::state::ec2::launch_template::{self, Reference};
use crate::state::throttle::MUTATING;

pub(super) const OPERATION: Operation = Operation { name: "ModifyLaunchTemplate", requests: MUTATING, run };

fn run(call: &Ec2Call<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let reference = Reference::read(&root)?;
    // To set the default version twice is to set it once.
    root.text("ClientToken");
    let version = root.text("SetDefaultVersion").map(launch_template::parse_number).transpose()?;
    let dry_run = call.finish()?;
    call.with(|world| {
        let templates = &mut world.estate(&call.caller.id.account, &call.caller.region, call.now).launch_templates;
        let template = templates.find_mut(reference)?;
        let number = version.map(|number| template.version(&number.to_string()).map(|v| v.number)).transpose()?;
        dry_run.end()?;
        template.default_version = number.unwrap_or(template.default_version);
        let mut xml = Xml::default();
        xml.element("launchTemplate", |xml| template.write(xml));
        Ok(xml)
    })
}
