//! RegisterImage

use std::collections::BTreeMap;

use super::call::{Ec2Call, Operation};
use crate::caller::AccountId;
use crate::error::ApiError;
use crate::protocol::params::{Scope, invalid};
use crate::protocol::xml::Xml;
use crate::state::ec2::ids;
use crate::state::ec2::image::{Image, ImageState};
use crate::state::ec2::tags::{self, Tags};
use crate::state::throttle::MUTATING;

pub(super) const OPERATION: Operation = Operation { name: "RegisterImage", requests: MUTATING, run };

fn run(call: &Ec2Call<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let name = root.required("Name")?;
    check_name(name)?;
    let account = &call.caller.id.account;
    let root_device_name = root.text("RootDeviceName").unwrap_or("/dev/sda1").to_owned();
    let (snapshot_id, root_volume_gib) = root_volume(&root, &root_device_name)?;
    let architecture = ["x86_64", "arm64", "i386"].map(|name| (name, name));
    let virtualization = ["hvm", "paravirtual"].map(|name| (name, name));
    let boot_modes = ["legacy-bios", "uefi", "uefi-preferred"].map(|name| (name, name));
    let image = Image {
        id: ids::random("ami"),
        owner: account.clone(),
        owner_alias: None,
        name: name.to_owned(),
        description: read_description(&root)?,
        architecture: root.one_of("Architecture", &architecture)?.unwrap_or("i386").to_owned(),
        state: ImageState::Available,
        public: false,
        created: call.now,
        deprecated_at: None,
        root_device_name,
        root_volume_gib,
        snapshot_id,
        virtualization_type: root.one_of("VirtualizationType", &virtualization)?.unwrap_or("paravirtual").to_owned(),
        ena_support: root.boolean("EnaSupport")?.unwrap_or(false),
        boot_mode: root.one_of("BootMode", &boot_modes)?.map(str::to_owned),
        imds_v2: root.one_of("ImdsSupport", &[("v2.0", ())])?.is_some(),
        tags: read_tags(&root)?,
        files: BTreeMap::new(),
    };
    root.one_of("SriovNetSupport", &[("simple", ())])?;
    root.one_of("TpmSupport", &[("v2.0", ())])?;
    let dry_run = call.finish()?;
    call.with(|world| {
        let images = world.images(&call.caller.region, call.now);
        check_unused(images, account, name)?;
        dry_run.end()?;
        let mut xml = Xml::default();
        xml.text("imageId", &image.id);
        images.insert(image.id.clone(), image);
        Ok(xml)
    })
}

/// The snapshot behind the root device and its size.
fn root_volume(root: &Scope<'_>, root_device: &str) -> Result<(String, u32), ApiError> {
    let mut found = None;
    for device in root.items("BlockDeviceMapping") {
        let name = device.required("DeviceName")?;
        device.text("VirtualName");
        device.text("NoDevice");
        let Some(ebs) = device.child("Ebs") else { continue };
        let snapshot = ebs.text("SnapshotId");
        let size = ebs.integer::<u32>("VolumeSize")?.unwrap_or(8);
        ebs.boolean("DeleteOnTermination")?;
        ebs.boolean("Encrypted")?;
        ebs.text("VolumeType");
        ebs.integer::<u32>("Iops")?;
        ebs.integer::<u32>("Throughput")?;
        if name == root_device {
            found = snapshot.map(|snapshot| (snapshot.to_owned(), size));
        }
    }
    match (found, root.text("ImageLocation")) {
        (Some(found), _) => Ok(found),
        // An instance-store image: its bundle lies in S3.
        (None, Some(_location)) => Ok((String::new(), 8)),
        (None, None) => Err(ApiError::new(
            "InvalidBlockDeviceMapping",
            format!("The root device {root_device} must be mapped to an EBS snapshot."),
        )),
    }
}

pub(super) fn read_description(root: &Scope<'_>) -> Result<Option<String>, ApiError> {
    let description = root.text("Description");
    if description.is_some_and(|text| text.chars().count() > 255) {
        return Err(invalid("Character count of 'description' must not exceed 255."));
    }
    Ok(description.map(str::to_owned))
}

/// An owner has one image of a name.
pub(super) fn check_unused(images: &BTreeMap<String, Image>, account: &AccountId, name: &str) -> Result<(), ApiError> {
    match images.values().find(|other| other.owner == *account && other.name == name) {
        Some(other) => Err(ApiError::new(
            "InvalidAMIName.Duplicate",
            format!("AMI name {name} is already in use by AMI {}", other.id),
        )),
        None => Ok(()),
    }
}

pub(super) fn check_name(name: &str) -> Result<(), ApiError> {
    let good = (3..=128).contains(&name.chars().count())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "()[] ./-'@_".contains(c));
    if good {
        return Ok(());
    }
    Err(ApiError::new(
        "InvalidAMIName.Malformed",
        "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, '(', ')', '.', '-', \
         '/' and '_'",
    ))
}

pub(super) fn read_tags(root: &Scope<'_>) -> Result<Tags, ApiError> {
    let mut found = Tags::new();
    for specification in root.items("TagSpecification") {
        let tags = tags::read(&specification)?;
        match specification.required("ResourceType")? {
            "image" => found = tags,
            "snapshot" => {}
            other => {
                return Err(invalid(format!("'{other}' is not a valid taggable resource type for this operation.")));
            }
        }
    }
    Ok(found)
}
