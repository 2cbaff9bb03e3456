//! DeleteLaunchTemplateVersions

use super::call::{Ec2Call, Operation};
use crate::error::ApiError;
use crate::protocol::params::{invalid, missing};
use crate::protocol::xml::Xml;
use crate::state::ec2::launch_template::{self, LaunchTemplate, Reference};
use crate::state::throttle::MUTATING;

pub(super) const OPERATION: Operation = Operation { name: "DeleteLaunchTemplateVersions", requests: MUTATING, run };

const MAX_VERSIONS: usize = 200;

/// Why a version was not deleted, in the answer to a call that succeeded.
struct Failure {
    code: &'static str,
    message: String,
}

fn run(call: &Ec2Call<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let reference = Reference::read(&root)?;
    let versions = root.list("LaunchTemplateVersion");
    let versions: Vec<u64> =
        versions.into_iter().map(launch_template::parse_number).collect::<Result<_, ApiError>>()?;
    let dry_run = call.finish()?;
    if versions.is_empty() {
        return Err(missing("LaunchTemplateVersion"));
    }
    if versions.len() > MAX_VERSIONS {
        return Err(invalid(format!("At most {MAX_VERSIONS} launch template versions can be deleted at a time.")));
    }
    call.with(|world| {
        let templates = &mut world.estate(&call.caller.id.account, &call.caller.region, call.now).launch_templates;
        let template = templates.find_mut(reference)?;
        dry_run.end()?;
        let (mut deleted, mut kept) = (Vec::new(), Vec::new());
        for number in versions {
            match delete(template, number) {
                Ok(()) => deleted.push(number),
                Err(failure) => kept.push((number, failure)),
            }
        }
        let name = |xml: &mut Xml, number: u64| {
            xml.text("launchTemplateId", &template.id);
            xml.text("launchTemplateName", &template.name);
            xml.text("versionNumber", number);
        };
        let mut xml = Xml::default();
        xml.list("successfullyDeletedLaunchTemplateVersionSet", deleted, name);
        xml.list("unsuccessfullyDeletedLaunchTemplateVersionSet", kept, |xml, (number, failure)| {
            name(xml, number);
            xml.element("responseError", |xml| {
                xml.text("code", failure.code);
                xml.text("message", &failure.message);
            });
        });
        Ok(xml)
    })
}

fn delete(template: &mut LaunchTemplate, number: u64) -> Result<(), Failure> {
    let failure = |code, message: String| Err(Failure { code, message });
    if !template.versions.contains_key(&number) {
        let message = format!("The version {number} of the launch template {} does not exist.", template.id);
        return failure("launchTemplateVersionDoesNotExist", message);
    }
    if number == template.default_version {
        return failure("unexpectedError", "Cannot delete the default version of a launch template.".to_owned());
    }
    if template.undeletable.contains(&number) {
        return failure("unexpectedError", format!("The version {number} is in use and cannot be deleted."));
    }
    template.versions.remove(&number);
    Ok(())
}
