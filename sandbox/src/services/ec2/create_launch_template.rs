//! CreateLaunchTemplate

use super::call::{Ec2Call, Operation};
use super::{launch_template_request, template_warning};
use crate::error::ApiError;
use crate::protocol::xml::Xml;
use crate::state::ec2::launch::request;
use crate::state::ec2::launch_template::{self, LaunchTemplate};
use crate::state::throttle::MUTATING;

pub(super) const OPERATION: Operation = Operation { name: "CreateLaunchTemplate", requests: MUTATING, run };

fn run(call: &Ec2Call<'_>) -> Result<Xml, ApiError> {
    let made = make(call)?;
    let mut xml = Xml::default();
    xml.element("launchTemplate", |xml| made.write(xml));
    if let Some(first) = made.versions.values().next() {
        call.with(|world| template_warning::write(&mut xml, call, world, &first.data));
    }
    Ok(xml)
}

/// The template that the request makes, or made when it was sent before.
pub(crate) fn make(call: &Ec2Call<'_>) -> Result<LaunchTemplate, ApiError> {
    let root = call.root();
    let name = root.required("LaunchTemplateName")?;
    launch_template::check_name(name)?;
    let (token, description) = launch_template_request::read_token_and_description(&root)?;
    let data = launch_template_request::read_data(&root)?;
    let tags = launch_template_request::read_tags(&root)?;
    let dry_run = call.finish()?;
    let fingerprint = request::fingerprint(call.params.all());
    let caller = &call.caller.id;
    call.with(|world| {
        let templates = &mut world.estate(&caller.account, &call.caller.region, call.now).launch_templates;
        if let Some((made, _)) = templates.made_by(OPERATION.name, token, &fingerprint)? {
            dry_run.end()?;
            return Ok(made.clone());
        }
        if templates.by_id.values().any(|known| known.name == name) {
            let message = "Launch template name already in use.";
            return Err(ApiError::new("InvalidLaunchTemplateName.AlreadyExistsException", message));
        }
        dry_run.end()?;
        let template = LaunchTemplate::new(name, tags, description, data, caller, call.now);
        templates.remember(OPERATION.name, token, fingerprint, &template.id, 1);
        templates.by_id.insert(template.id.clone(), template.clone());
        Ok(template)
    })
}
