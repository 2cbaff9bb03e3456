//! `Warning`: EC2 makes a version of any parameters, and says which of them no launch would take.

use super::call::Ec2Call;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::protocol::params::Params;
use crate::protocol::xml::Xml;
use crate::state::ec2::ids;
use crate::state::ec2::launch::instance_types;
use crate::state::ec2::launch_template::TemplateData;
use crate::state::ec2::world::World;

pub(super) fn write(xml: &mut Xml, call: &Ec2Call<'_>, world: &mut World, data: &TemplateData) {
    let found = find(call, world, data);
    if found.is_empty() {
        return;
    }
    xml.element("warning", |xml| {
        xml.list("errorSet", found, |xml, error| {
            xml.text("code", error.code);
            xml.text("message", error.message);
        });
    });
}

fn find(call: &Ec2Call<'_>, world: &mut World, data: &TemplateData) -> Vec<ApiError> {
    let Caller { id, region } = call.caller;
    let mut found = Vec::new();
    if let Some(image) = data.get("ImageId") {
        found.extend(check_image(call, world, image).err());
    }
    if let Some(kind) = data.get("InstanceType").filter(|kind| !instance_types::exists(kind)) {
        let message = format!("Invalid value '{kind}' for InstanceType.");
        found.push(ApiError::new("InvalidParameterValue", message));
    }
    let estate = world.estate(&id.account, region, call.now);
    if let Some(key) = data.get("KeyName").filter(|key| !estate.key_pairs.contains(*key)) {
        found.push(ApiError::new("InvalidKeyPair.NotFound", format!("The key pair '{key}' does not exist")));
    }
    let params = Params::new(data.all());
    let groups = params.root().list("SecurityGroupId");
    let missing = groups.into_iter().filter(|group| !estate.security_groups.contains_key(*group));
    found.extend(missing.map(ids::group_not_found));
    found
}

fn check_image(call: &Ec2Call<'_>, world: &mut World, image: &str) -> Result<(), ApiError> {
    let Caller { id, region } = call.caller;
    let image = world.resolve_alias(&id.account, region, image)?;
    ids::check_image_id(&image)?;
    let known = world.images(region, call.now).get(&image).is_some_and(|known| known.is_visible_to(&id.account));
    if known { Ok(()) } else { Err(ids::images_not_found(&[&image])) }
}
