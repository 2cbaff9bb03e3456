//! How describe calls show instances.

use crate::protocol::xml::Xml;
use crate::state::ec2::instance::{Instance, InstanceState, Market, StateReason};
use crate::state::ec2::{ids, tags};

/// The content of one reservation.
pub(crate) fn reservation(xml: &mut Xml, instances: &[&Instance]) {
    let Some(first) = instances.first() else { return };
    xml.text("reservationId", &first.reservation_id);
    xml.text("ownerId", &first.account);
    xml.element("groupSet", |_| {});
    xml.list("instancesSet", instances, |xml, instance| write(xml, instance));
}

pub(crate) fn state(xml: &mut Xml, name: &str, state: InstanceState) {
    xml.element(name, |xml| {
        xml.text("code", state.code());
        xml.text("name", state.name());
    });
}

/// What a call did to an instance.
pub(crate) struct StateChange {
    pub(crate) id: String,
    pub(crate) before: InstanceState,
    pub(crate) after: InstanceState,
}

pub(crate) fn changes(xml: &mut Xml, changes: Vec<StateChange>) {
    xml.list("instancesSet", changes, |xml, change| {
        xml.text("instanceId", change.id);
        state(xml, "currentState", change.after);
        state(xml, "previousState", change.before);
    });
}

fn write(xml: &mut Xml, instance: &Instance) {
    // EC2 takes its network away from an instance that has ended.
    let connected = instance.state != InstanceState::Terminated;
    xml.text("instanceId", &instance.id);
    xml.text("imageId", &instance.image_id);
    state(xml, "instanceState", instance.state);
    xml.text("privateDnsName", if connected { instance.private_dns_name() } else { String::new() });
    xml.text("dnsName", public_dns_name(instance).unwrap_or_default());
    xml.text("reason", &instance.transition_reason);
    xml.option("keyName", instance.key_name.as_ref());
    xml.text("amiLaunchIndex", instance.launch_index);
    xml.element("productCodes", |_| {});
    xml.text("instanceType", &instance.instance_type);
    xml.time("launchTime", instance.launch_time);
    xml.element("placement", |xml| {
        xml.text("availabilityZone", &instance.zone);
        xml.text("availabilityZoneId", &instance.zone_id);
        xml.text("groupName", "");
        xml.text("tenancy", "default");
    });
    xml.element("monitoring", |xml| xml.text("state", if instance.monitoring { "enabled" } else { "disabled" }));
    if connected {
        xml.text("subnetId", &instance.subnet_id);
        xml.text("vpcId", &instance.vpc_id);
        xml.text("privateIpAddress", instance.private_ip);
        xml.option("ipAddress", instance.public_ip);
        xml.text("sourceDestCheck", true);
        xml.list("groupSet", &instance.security_groups, |xml, group| {
            xml.text("groupId", &group.id);
            xml.text("groupName", &group.name);
        });
    }
    if let Some(reason) = shown_reason(instance) {
        xml.element("stateReason", |xml| {
            xml.text("code", &reason.code);
            xml.text("message", &reason.message);
        });
    }
    xml.text("architecture", &instance.architecture);
    xml.text("rootDeviceType", "ebs");
    xml.text("rootDeviceName", &instance.root_device_name);
    devices(xml, instance, connected);
    xml.text("virtualizationType", "hvm");
    xml.text("clientToken", instance.client_token.as_deref().unwrap_or_default());
    tags::write(xml, &instance.tags);
    xml.text("hypervisor", "xen");
    if connected {
        network_interface(xml, instance);
    }
    if instance.market == Market::Spot {
        xml.text("instanceLifecycle", "spot");
        xml.option("spotInstanceRequestId", instance.spot_request_id.as_ref());
    }
    if let Some(arn) = &instance.instance_profile {
        xml.element("iamInstanceProfile", |xml| {
            xml.text("arn", arn);
            xml.text("id", ids::derived("AIPA", &[arn]).replace('-', "").to_ascii_uppercase());
        });
    }
    xml.text("ebsOptimized", instance.ebs_optimized);
    xml.text("enaSupport", true);
    metadata_options(xml, instance);
    xml.text("platformDetails", "Linux/UNIX");
    xml.text("usageOperation", "RunInstances");
    xml.time("usageOperationUpdateTime", instance.launch_time);
    xml.element("enclaveOptions", |xml| xml.text("enabled", false));
    xml.element("hibernationOptions", |xml| xml.text("configured", false));
}

/// Only transient and final states have a reason; a running instance has none.
fn shown_reason(instance: &Instance) -> Option<&StateReason> {
    match instance.state {
        InstanceState::Running => None,
        InstanceState::Pending
        | InstanceState::ShuttingDown
        | InstanceState::Terminated
        | InstanceState::Stopping
        | InstanceState::Stopped => instance.state_reason.as_ref(),
    }
}

pub(crate) fn public_dns_name(instance: &Instance) -> Option<String> {
    let address = instance.public_ip.filter(|_| instance.state != InstanceState::Terminated)?;
    let host = format!("ec2-{}", address.to_string().replace('.', "-"));
    Some(match instance.region.as_str() {
        "us-east-1" => format!("{host}.compute-1.amazonaws.com"),
        region => format!("{host}.{region}.compute.amazonaws.com"),
    })
}

fn devices(xml: &mut Xml, instance: &Instance, connected: bool) {
    let shown = if connected { instance.block_devices.as_slice() } else { &[] };
    xml.list("blockDeviceMapping", shown, |xml, device| {
        xml.text("deviceName", &device.device_name);
        xml.element("ebs", |xml| {
            xml.text("volumeId", &device.volume_id);
            xml.text("status", if instance.state == InstanceState::Pending { "attaching" } else { "attached" });
            xml.time("attachTime", instance.launch_time);
            xml.text("deleteOnTermination", device.delete_on_termination);
        });
    });
}

fn metadata_options(xml: &mut Xml, instance: &Instance) {
    let options = &instance.metadata_options;
    let switch = |on: bool| if on { "enabled" } else { "disabled" };
    xml.element("metadataOptions", |xml| {
        xml.text("state", if instance.state == InstanceState::Pending { "pending" } else { "applied" });
        xml.text("httpTokens", if options.tokens_required { "required" } else { "optional" });
        xml.text("httpPutResponseHopLimit", options.hop_limit);
        xml.text("httpEndpoint", switch(options.endpoint_enabled));
        xml.text("httpProtocolIpv6", switch(options.ipv6_enabled));
        xml.text("instanceMetadataTags", switch(options.tags_enabled));
    });
}

fn network_interface(xml: &mut Xml, instance: &Instance) {
    xml.list("networkInterfaceSet", [instance], |xml, instance| {
        xml.text("networkInterfaceId", &instance.network_interface_id);
        xml.text("subnetId", &instance.subnet_id);
        xml.text("vpcId", &instance.vpc_id);
        xml.text("description", "");
        xml.text("ownerId", &instance.account);
        xml.text("status", "in-use");
        xml.text("macAddress", instance.mac_address());
        xml.text("privateIpAddress", instance.private_ip);
        xml.text("privateDnsName", instance.private_dns_name());
        xml.text("sourceDestCheck", true);
        xml.list("groupSet", &instance.security_groups, |xml, group| {
            xml.text("groupId", &group.id);
            xml.text("groupName", &group.name);
        });
        xml.element("attachment", |xml| {
            xml.text("attachmentId", instance.network_interface_id.replace("eni-", "eni-attach-"));
            xml.text("deviceIndex", 0);
            xml.text("networkCardIndex", 0);
            xml.text("status", "attached");
            xml.time("attachTime", instance.launch_time);
            xml.text("deleteOnTermination", true);
        });
        xml.list("privateIpAddressesSet", [instance], |xml, instance| {
            xml.text("privateIpAddress", instance.private_ip);
            xml.text("privateDnsName", instance.private_dns_name());
            xml.text("primary", true);
        });
        xml.text("interfaceType", "interface");
    });
}
