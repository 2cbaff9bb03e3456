//! CreateLaunchTemplateVersion

use super::call::{Ec2Call, Operation};
use super::launch_template_request;
use crate::error::ApiError;
use crate::protocol::xml::Xml;
use crate::state::ec2::launch::request;
use crate::state::ec2::launch_template::{Reference, TemplateData};
use crate::state::throttle::MUTATING;

pub(super) const OPERATION: Operation = Operation { name: "CreateLaunchTemplateVersion", requests: MUTATING, run };

fn run(call: &Ec2Call<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let reference = Reference::read(&root)?;
    let source = root.text("SourceVersion");
    let (token, description) = launch_template_request::read_token_and_description(&root)?;
    let data = launch_template_request::read_data(&root)?;
    root.boolean("ResolveAlias")?;
    let dry_run = call.finish()?;
    let fingerprint = request::fingerprint(call.params.all());
    let caller = &call.caller.id;
    call.with(|world| {
        let templates = &mut world.estate(&caller.account, &call.caller.region, call.now).launch_templates;
        let mut xml = Xml::default();
        if let Some((template, version)) = templates.made_by(OPERATION.name, token, &fingerprint)? {
            dry_run.end()?;
            xml.element("launchTemplateVersion", |xml| template.write_version(xml, version));
            return Ok(xml);
        }
        let template = templates.find_mut(reference)?;
        let base = source.map(|version| template.version(version)).transpose()?;
        let data = base.map_or_else(|| data.clone(), |base| TemplateData::replaced_by(&base.data, &data));
        dry_run.end()?;
        let number = template.add(description, data, caller, call.now);
        if let Some(version) = template.versions.get(&number) {
            xml.element("launchTemplateVersion", |xml| template.write_version(xml, version));
        }
        let id = template.id.clone();
        templates.remember(OPERATION.name, token, fingerprint, &id, number);
        Ok(xml)
    })
}
