//! CreateImage

use std::collections::BTreeMap;

use super::call::{Ec2Call, Operation};
use super::register_image;
use crate::error::ApiError;
use crate::protocol::xml::Xml;
use crate::state::ec2::ids;
use crate::state::ec2::image::{Image, ImageState};
use crate::state::throttle::MUTATING;

pub(super) const OPERATION: Operation = Operation { name: "CreateImage", requests: MUTATING, run };

fn run(call: &Ec2Call<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let instance_id = root.required("InstanceId")?;
    let name = root.required("Name")?;
    register_image::check_name(name)?;
    let description = register_image::read_description(&root)?;
    // A snapshot is taken at once: nothing is to be rebooted for it.
    root.boolean("NoReboot")?;
    let tags = register_image::read_tags(&root)?;
    let dry_run = call.finish()?;
    let (account, region) = (&call.caller.id.account, &call.caller.region);
    call.with(|world| {
        let available = call.now + world.lifecycle.images;
        let estate = world.estate(account, region, call.now);
        let missing = || ids::instances_not_found(&[instance_id]);
        ids::check_instance_id(instance_id)?;
        let instance = estate.instance(instance_id).ok_or_else(missing)?.clone();
        if !instance.state.is_alive() {
            let message = format!("Instance '{instance_id}' is not 'running' or 'stopped'.");
            return Err(ApiError::new("IncorrectState", message));
        }
        let of_instance = world.images(region, call.now).get(&instance.image_id).cloned();
        let root_device = instance.block_devices.iter().find(|device| device.device_name == instance.root_device_name);
        let image = Image {
            id: ids::random("ami"),
            owner: account.clone(),
            owner_alias: None,
            name: name.to_owned(),
            description,
            architecture: instance.architecture.clone(),
            state: ImageState::Pending,
            public: false,
            created: call.now,
            deprecated_at: None,
            root_device_name: instance.root_device_name.clone(),
            root_volume_gib: root_device.map_or(8, |device| device.size_gib),
            snapshot_id: ids::random("snap"),
            virtualization_type: "hvm".to_owned(),
            ena_support: true,
            boot_mode: of_instance.as_ref().and_then(|image| image.boot_mode.clone()),
            imds_v2: of_instance.is_some_and(|image| image.imds_v2),
            tags,
            files: BTreeMap::new(),
        };
        register_image::check_unused(world.images(region, call.now), account, name)?;
        dry_run.end()?;
        let mut xml = Xml::default();
        xml.text("imageId", &image.id);
        world.wake_image(available, region, &image.id);
        world.images(region, call.now).insert(image.id.clone(), image);
        Ok(xml)
    })
}
