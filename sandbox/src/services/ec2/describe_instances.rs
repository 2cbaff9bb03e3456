//! DescribeInstances

use super::call::{Ec2Call, Operation};
use super::filter::{self, Filters};
use super::instance_xml;
use super::page::{Page, number_key};
use crate::error::ApiError;
use crate::protocol::xml::{Xml, iso};
use crate::state::ec2::instance::{BlockDevice, Instance, Market, SecurityGroupRef};
use crate::state::throttle::NON_MUTATING;

pub(super) const OPERATION: Operation = Operation { name: "DescribeInstances", requests: NON_MUTATING, run };

const FILTERS: &[&str] = &[
    "affinity",
    "architecture",
    "availability-zone",
    "availability-zone-id",
    "block-device-mapping.device-name",
    "block-device-mapping.volume-id",
    "client-token",
    "dns-name",
    "hypervisor",
    "iam-instance-profile.arn",
    "image-id",
    "instance-id",
    "instance-lifecycle",
    "instance-state-code",
    "instance-state-name",
    "instance-type",
    "instance.group-id",
    "instance.group-name",
    "ip-address",
    "key-name",
    "launch-index",
    "launch-time",
    "metadata-options.http-tokens",
    "monitoring-state",
    "network-interface.network-interface-id",
    "network-interface.subnet-id",
    "owner-id",
    "private-dns-name",
    "private-ip-address",
    "reason",
    "reservation-id",
    "root-device-name",
    "root-device-type",
    "spot-instance-request-id",
    "state-reason-code",
    "state-reason-message",
    "subnet-id",
    "tag-key",
    "tenancy",
    "virtualization-type",
    "vpc-id",
];

fn run(call: &Ec2Call<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let ids = root.list("InstanceId");
    let filters = Filters::read(&root, FILTERS)?;
    let page = Page::read(&root)?;
    root.boolean("IncludeManagedResources")?;
    let dry_run = call.finish()?;
    page.check_with(&ids)?;
    dry_run.end()?;

    call.with(|world| {
        let estate = world.estate(&call.caller.id.account, &call.caller.region, call.now);
        let rows = estate.visible(&ids, page.first_number(), call.now)?;
        let matching = rows.filter(|instance| filters.match_row(|name| values(instance, name)));
        let (rows, next) = page.cut(matching.map(|instance| (number_key(instance.sequence), instance)));
        let mut xml = Xml::default();
        let reservations: Vec<&[&Instance]> = rows.chunk_by(|a, b| a.reservation_id == b.reservation_id).collect();
        xml.list("reservationSet", reservations, instance_xml::reservation);
        xml.option("nextToken", next);
        Ok(xml)
    })
}

fn values(instance: &Instance, filter: &str) -> Vec<String> {
    let one = |value: &dyn ToString| vec![value.to_string()];
    let some = |value: Option<String>| value.into_iter().collect::<Vec<_>>();
    let groups =
        |of: fn(&SecurityGroupRef) -> &String| instance.security_groups.iter().map(|group| of(group).clone()).collect();
    let devices =
        |of: fn(&BlockDevice) -> &String| instance.block_devices.iter().map(|device| of(device).clone()).collect();
    match filter {
        "architecture" => one(&instance.architecture),
        "availability-zone" => one(&instance.zone),
        "availability-zone-id" => one(&instance.zone_id),
        "block-device-mapping.device-name" => devices(|device| &device.device_name),
        "block-device-mapping.volume-id" => devices(|device| &device.volume_id),
        "client-token" => some(instance.client_token.clone()),
        "dns-name" => some(instance_xml::public_dns_name(instance)),
        "hypervisor" => one(&"xen"),
        "iam-instance-profile.arn" => some(instance.instance_profile.clone()),
        "image-id" => one(&instance.image_id),
        "instance-id" => one(&instance.id),
        "instance-lifecycle" => some((instance.market == Market::Spot).then(|| "spot".to_owned())),
        "instance-state-code" => one(&instance.state.code()),
        "instance-state-name" => one(&instance.state.name()),
        "instance-type" => one(&instance.instance_type),
        "instance.group-id" => groups(|group| &group.id),
        "instance.group-name" => groups(|group| &group.name),
        "ip-address" => some(instance.public_ip.map(|ip| ip.to_string())),
        "key-name" => some(instance.key_name.clone()),
        "launch-index" => one(&instance.launch_index),
        "launch-time" => one(&iso(instance.launch_time)),
        "metadata-options.http-tokens" => {
            one(&if instance.metadata_options.tokens_required { "required" } else { "optional" })
        }
        "monitoring-state" => one(&if instance.monitoring { "enabled" } else { "disabled" }),
        "network-interface.network-interface-id" => one(&instance.network_interface_id),
        "network-interface.subnet-id" | "subnet-id" => one(&instance.subnet_id),
        "owner-id" => one(&instance.account),
        "private-dns-name" => one(&instance.private_dns_name()),
        "private-ip-address" => one(&instance.private_ip),
        "reason" => one(&instance.transition_reason),
        "reservation-id" => one(&instance.reservation_id),
        "root-device-name" => one(&instance.root_device_name),
        "root-device-type" => one(&"ebs"),
        "spot-instance-request-id" => some(instance.spot_request_id.clone()),
        "state-reason-code" => some(instance.state_reason.as_ref().map(|reason| reason.code.clone())),
        "state-reason-message" => some(instance.state_reason.as_ref().map(|reason| reason.message.clone())),
        "tenancy" | "affinity" => one(&"default"),
        "virtualization-type" => one(&"hvm"),
        "vpc-id" => one(&instance.vpc_id),
        tags => filter::tag_values(&instance.tags, tags),
    }
}
