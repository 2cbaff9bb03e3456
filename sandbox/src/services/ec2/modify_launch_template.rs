//! ModifyLaunchTemplate

use super::call::{Ec2Call, Operation};
use super::launch_template_request;
use crate::error::ApiError;
use crate::protocol::xml::Xml;
use crate::state::ec2::launch::request;
use crate::state::ec2::launch_template::{self, Reference};
use crate::state::throttle::MUTATING;

pub(super) const OPERATION: Operation = Operation { name: "ModifyLaunchTemplate", requests: MUTATING, run };

fn run(call: &Ec2Call<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let reference = Reference::read(&root)?;
    let (token, _) = launch_template_request::read_token_and_description(&root)?;
    let version = root.text("SetDefaultVersion").map(launch_template::parse_number).transpose()?;
    let dry_run = call.finish()?;
    let fingerprint = request::fingerprint(call.params.all());
    call.with(|world| {
        let templates = &mut world.estate(&call.caller.id.account, &call.caller.region, call.now).launch_templates;
        let mut xml = Xml::default();
        if let Some((template, _)) = templates.made_by(OPERATION.name, token, &fingerprint)? {
            dry_run.end()?;
            xml.element("launchTemplate", |xml| template.write(xml));
            return Ok(xml);
        }
        let template = templates.find_mut(reference)?;
        let number = version.map(|number| template.version(&number.to_string()).map(|v| v.number)).transpose()?;
        dry_run.end()?;
        template.default_version = number.unwrap_or(template.default_version);
        let (id, number) = (template.id.clone(), template.default_version);
        xml.element("launchTemplate", |xml| template.write(xml));
        templates.remember(OPERATION.name, token, fingerprint, &id, number);
        Ok(xml)
    })
}
