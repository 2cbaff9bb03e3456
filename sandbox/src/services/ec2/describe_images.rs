//! DescribeImages

use super::call::{Ec2Call, Operation};
use super::filter::{self, Filters};
use super::page::Page;
use crate::caller::AccountId;
use crate::error::ApiError;
use crate::protocol::xml::{Xml, iso};
use crate::state::ec2::image::{Image, ImageState};
use crate::state::ec2::{ids, tags};
use crate::state::throttle::NON_MUTATING;

pub(super) const OPERATION: Operation = Operation { name: "DescribeImages", requests: NON_MUTATING, run };

const FILTERS: &[&str] = &[
    "architecture",
    "block-device-mapping.snapshot-id",
    "block-device-mapping.volume-size",
    "creation-date",
    "description",
    "ena-support",
    "hypervisor",
    "image-id",
    "image-type",
    "is-public",
    "name",
    "owner-alias",
    "owner-id",
    "platform-details",
    "root-device-name",
    "root-device-type",
    "state",
    "tag-key",
    "virtualization-type",
];

fn run(call: &Ec2Call<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let wanted = root.list("ImageId");
    let owners = root.list("Owner");
    let executable_by = root.list("ExecutableBy");
    let filters = Filters::read(&root, FILTERS)?;
    let page = Page::read(&root)?;
    let deprecated = root.boolean("IncludeDeprecated")?.unwrap_or(false);
    let disabled = root.boolean("IncludeDisabled")?.unwrap_or(false);
    let dry_run = call.finish()?;
    if page.max_given && !wanted.is_empty() {
        return Err(ApiError::new(
            "InvalidParameterCombination",
            "The parameter imageIdsSet cannot be used with the parameter maxResults",
        ));
    }
    wanted.iter().try_for_each(|id| ids::check_image_id(id))?;
    dry_run.end()?;

    let account = &call.caller.id.account;
    call.with(|world| {
        let images = world.images(&call.caller.region, call.now);
        let visible = |id: &&str| images.get(*id).is_some_and(|image| image.is_visible_to(account));
        let missing: Vec<&str> = wanted.iter().copied().filter(|id| !visible(id)).collect();
        if !missing.is_empty() {
            return Err(ids::images_not_found(&missing));
        }
        let rows = images
            .values()
            .filter(|image| image.is_visible_to(account))
            .filter(|image| wanted.is_empty() || wanted.contains(&image.id.as_str()))
            .filter(|image| owners.is_empty() || owners.iter().any(|owner| owns(image, owner, account)))
            .filter(|image| executable_by.is_empty() || executable_by.iter().any(|by| may_launch(image, by, account)))
            // An owner sees deprecated images of its own, everybody sees what is asked for by id.
            .filter(|image| {
                let hidden = image.deprecated_at.is_some_and(|at| at <= call.now);
                deprecated || !hidden || image.owner == *account || !wanted.is_empty()
            })
            .filter(|image| disabled || image.state != ImageState::Disabled || !wanted.is_empty())
            .filter(|image| filters.match_row(|name| values(image, name)));
        let (rows, next) = page.cut(rows.map(|image| (image.id.clone(), image)));
        let mut xml = Xml::default();
        xml.list("imagesSet", rows, write);
        xml.option("nextToken", next);
        Ok(xml)
    })
}

fn owns(image: &Image, owner: &str, caller: &AccountId) -> bool {
    match owner {
        "self" => image.owner == *caller,
        "amazon" | "aws-marketplace" | "aws-backup-vault" => image.owner_alias.as_deref() == Some(owner),
        account => image.owner.as_str() == account,
    }
}

fn may_launch(image: &Image, by: &str, caller: &AccountId) -> bool {
    match by {
        "all" => image.public,
        // Launch permissions for single accounts are not kept: nobody has one.
        _self_or_account => by == image.owner.as_str() || (by == "self" && image.owner == *caller),
    }
}

fn write(xml: &mut Xml, image: &Image) {
    xml.text("imageId", &image.id);
    let alias = image.owner_alias.as_deref().unwrap_or(image.owner.as_str());
    xml.text("imageLocation", format!("{alias}/{}", image.name));
    xml.text("imageState", image.state.name());
    xml.text("imageOwnerId", &image.owner);
    xml.time("creationDate", image.created);
    xml.text("isPublic", image.public);
    xml.text("architecture", &image.architecture);
    xml.text("imageType", "machine");
    xml.text("platformDetails", "Linux/UNIX");
    xml.text("usageOperation", "RunInstances");
    xml.option("imageOwnerAlias", image.owner_alias.as_ref());
    xml.text("name", &image.name);
    xml.option("description", image.description.as_ref());
    xml.text("rootDeviceType", "ebs");
    xml.text("rootDeviceName", &image.root_device_name);
    xml.list("blockDeviceMapping", [image], |xml, image| {
        xml.text("deviceName", &image.root_device_name);
        xml.element("ebs", |xml| {
            xml.text("snapshotId", &image.snapshot_id);
            xml.text("volumeSize", image.root_volume_gib);
            xml.text("deleteOnTermination", true);
            xml.text("volumeType", "gp3");
            xml.text("encrypted", false);
        });
    });
    xml.text("virtualizationType", &image.virtualization_type);
    tags::write(xml, &image.tags);
    xml.text("hypervisor", "xen");
    xml.text("enaSupport", image.ena_support);
    xml.text("sriovNetSupport", "simple");
    xml.option("bootMode", image.boot_mode.as_ref());
    xml.option("imdsSupport", image.imds_v2.then_some("v2.0"));
    xml.option("deprecationTime", image.deprecated_at.map(iso));
}

fn values(image: &Image, filter: &str) -> Vec<String> {
    let one = |value: &dyn ToString| vec![value.to_string()];
    match filter {
        "architecture" => one(&image.architecture),
        "block-device-mapping.snapshot-id" => one(&image.snapshot_id),
        "block-device-mapping.volume-size" => one(&image.root_volume_gib),
        "creation-date" => one(&iso(image.created)),
        "description" => image.description.clone().into_iter().collect(),
        "ena-support" => one(&image.ena_support),
        "hypervisor" => one(&"xen"),
        "image-id" => one(&image.id),
        "image-type" => one(&"machine"),
        "is-public" => one(&image.public),
        "name" => one(&image.name),
        "owner-alias" => image.owner_alias.clone().into_iter().collect(),
        "owner-id" => one(&image.owner),
        "platform-details" => one(&"Linux/UNIX"),
        "root-device-name" => one(&image.root_device_name),
        "root-device-type" => one(&"ebs"),
        "state" => one(&image.state.name()),
        "virtualization-type" => one(&image.virtualization_type),
        tags => filter::tag_values(&image.tags, tags),
    }
}
