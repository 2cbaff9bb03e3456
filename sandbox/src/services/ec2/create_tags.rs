//! CreateTags

use super::call::{Ec2Call, Operation};
use crate::caller::AccountId;
use crate::error::ApiError;
use crate::protocol::params::missing;
use crate::protocol::xml::Xml;
use crate::state::ec2::estate::Estate;
use crate::state::ec2::image::Image;
use crate::state::ec2::tags::{self, Tags};
use crate::state::ec2::{ids, launch_template, lifecycle};
use crate::state::throttle::CREATE_TAGS;

pub(super) const OPERATION: Operation = Operation { name: "CreateTags", requests: CREATE_TAGS, run };

fn run(call: &Ec2Call<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let resources = root.list("ResourceId");
    let tags = tags::read(&root)?;
    let dry_run = call.finish()?;
    if resources.is_empty() {
        return Err(missing("ResourceId"));
    }
    if tags.is_empty() {
        return Err(missing("Tag"));
    }
    let (account, region) = (&call.caller.id.account, &call.caller.region);
    call.with(|world| {
        let lag = world.describe_lag;
        // All or nothing: look first, write then.
        for id in &resources {
            let before = match id.split('-').next() {
                Some("ami") => image_tags(world.images(region, call.now).get(*id), account, id)?,
                _other => {
                    let estate = world.estate(account, region, call.now);
                    if let Some(sequence) = estate.instance(id).map(|instance| instance.sequence)
                        && estate.instances[&sequence].metadata_options.tags_enabled
                    {
                        tags::check_for_metadata(tags.keys())?;
                    }
                    estate_tags(estate, id)?
                }
            };
            let mut after = before.clone();
            after.extend(tags.clone());
            tags::check_count(after.len())?;
        }
        dry_run.end()?;
        for id in &resources {
            let sequence = world.estate(account, region, call.now).sequences.get(*id).copied();
            if let Some(instance) = sequence.and_then(|sequence| world.instance_mut(account, region, sequence)) {
                lifecycle::remember(instance, lag, call.now);
            }
            if let Some(image) = world.images(region, call.now).get_mut(*id) {
                image.tags.extend(tags.clone());
            } else if let Ok(of_resource) = estate_tags(world.estate(account, region, call.now), id) {
                of_resource.extend(tags.clone());
            }
        }
        let mut xml = Xml::default();
        xml.text("return", true);
        Ok(xml)
    })
}

fn image_tags<'a>(image: Option<&'a Image>, account: &AccountId, id: &str) -> Result<&'a Tags, ApiError> {
    let image = image.filter(|image| image.owner == *account).ok_or_else(|| ids::images_not_found(&[id]))?;
    Ok(&image.tags)
}

pub(super) fn estate_tags<'a>(estate: &'a mut Estate, id: &str) -> Result<&'a mut Tags, ApiError> {
    match id.split('-').next() {
        Some("i") => {
            let sequence = estate.sequences_of(&[id])?;
            let instance = sequence.first().and_then(|sequence| estate.instances.get_mut(sequence));
            instance.map(|instance| &mut instance.tags).ok_or_else(|| ids::instances_not_found(&[id]))
        }
        Some("subnet") => {
            estate.subnets.get_mut(id).map(|subnet| &mut subnet.tags).ok_or_else(|| ids::subnet_not_found(id))
        }
        Some("sg") => {
            estate.security_groups.get_mut(id).map(|group| &mut group.tags).ok_or_else(|| ids::group_not_found(id))
        }
        Some("lt") => {
            let template = estate.launch_templates.by_id.get_mut(id);
            template.map(|template| &mut template.tags).ok_or_else(|| launch_template::id_not_found(id))
        }
        Some("vol") => estate
            .instances
            .values_mut()
            .flat_map(|instance| &mut instance.block_devices)
            .find(|device| device.volume_id == id)
            .map(|device| &mut device.tags)
            .ok_or_else(|| ApiError::new("InvalidVolume.NotFound", format!("The volume '{id}' does not exist."))),
        Some(_) | None => Err(ApiError::new("InvalidID", format!("The ID '{id}' is not valid"))),
    }
}
