//! CreateLaunchTemplateVersion

use super::call::{Ec2Call, Operation};
use super::{launch_template_request, template_warning};
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
    let resolves = root.boolean("ResolveAlias")?.unwrap_or(false);
    let dry_run = call.finish()?;
    let fingerprint = request::fingerprint(call.params.all());
    let caller = &call.caller.id;
    let region = &call.caller.region;
    call.with(|world| {
        let templates = &mut world.estate(&caller.account, region, call.now).launch_templates;
        let made = templates.made_by(OPERATION.name, token, &fingerprint)?;
        let (template, number) = match made.map(|(template, version)| (template.clone(), version.number)) {
            Some(made) => {
                dry_run.end()?;
                made
            }
            None => {
                let template = templates.find_mut(reference)?;
                let base = source.map(|version| template.version(version)).transpose()?;
                let data = base.map_or_else(|| data.clone(), |base| TemplateData::replaced_by(&base.data, &data));
                dry_run.end()?;
                let number = template.add(description, data, caller, call.now);
                let template = template.clone();
                templates.remember(OPERATION.name, token, fingerprint, &template.id, number);
                (template, number)
            }
        };
        let mut xml = Xml::default();
        if let Some(version) = template.versions.get(&number) {
            let shown = launch_template_request::shown(world, call, version, resolves)?;
            xml.element("launchTemplateVersion", |xml| template.write_version(xml, &shown));
            template_warning::write(&mut xml, call, world, &version.data);
        }
        Ok(xml)
    })
}
