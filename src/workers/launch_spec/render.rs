//! Renders a launch request from a template once: a revision stores it, and launches send the stored one.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};

use crate::{
    aws::ec2::launch_request::{Device, LaunchRequest, Metadata, Network},
    crd::template::{CapacityType, Ebs, HttpTokens, InstanceMetadataTags, VolumeType, WorkerTemplate},
    ids::SecurityGroupId,
    workers::{launch_spec::resolve::resolution::Resolution, parameters::Uncombinable},
};

/// The limit of EC2 in bytes, before base64 (RunInstances, "UserData").
pub const USER_DATA_LIMIT: usize = 16 * 1024;

/// A template that the schema allows and EC2 never accepts.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unrenderable {
    #[error(
        "template.userData is {size} bytes{}, and EC2 takes at most {USER_DATA_LIMIT}: use a short script that fetches \
         the rest, for example from S3",
        of_which(*.added)
    )]
    UserDataTooLong { size: usize, added: usize },
    #[error(
        "the launch template has user data, and with spec.parameters muster would have to copy it into a \
         ControllerRevision, where others may read it: set template.userData to the text that workers run, or use a \
         launch template without user data"
    )]
    UserDataOfLaunchTemplate,
    #[error(transparent)]
    UserDataUncombinable(#[from] Uncombinable),
    #[error("template.blockDeviceMappings: {0:?} is not a valid size: use whole GiB, like 100Gi")]
    VolumeSize(String),
}

fn of_which(added: usize) -> String {
    if added == 0 { String::new() } else { format!(", {added} of them added by muster to fetch the parameters") }
}

/// Renders `template` with its `resolution`. `owner_tags` override the user's tags. Without a launch template, the
/// defaults that the schema leaves out are filled in.
pub fn render(
    template: &WorkerTemplate,
    resolution: &Resolution,
    owner_tags: BTreeMap<String, String>,
) -> Result<LaunchRequest, Unrenderable> {
    let bare = resolution.base.is_none();
    let mut tags = template.tags.clone();
    tags.extend(owner_tags);
    let (network, public, security_groups) = network(template, resolution);
    let devices = template.block_device_mappings.iter();
    Ok(LaunchRequest {
        launch_template_id: resolution.base.as_ref().map(|base| base.id.clone()),
        key_name: template.key_name.clone(),
        instance_profile: template.instance_profile.clone(),
        network,
        security_groups,
        associate_public_ip_address: public,
        devices: devices.map(|mapping| device(&mapping.device_name, &mapping.ebs, bare)).collect::<Result<_, _>>()?,
        metadata: metadata(template, bare),
        spot: template.capacity_type == Some(CapacityType::Spot),
        user_data: resolution.user_data.as_deref().map(user_data).transpose()?,
        shutdown_behavior: None,
        tags,
    })
}

/// Finds the errors of [`render`] that need no resolution.
pub fn check(template: &WorkerTemplate) -> Result<(), Unrenderable> {
    let inline = template.user_data.as_ref().and_then(|data| data.inline.as_deref());
    inline.map(user_data).transpose()?;
    let sizes = template.block_device_mappings.iter().filter_map(|mapping| mapping.ebs.volume_size.as_deref());
    sizes.map(gib).collect::<Result<Vec<_>, _>>().map(drop)
}

fn network(template: &WorkerTemplate, resolution: &Resolution) -> (Network, Option<bool>, Vec<SecurityGroupId>) {
    let groups = resolution.security_groups.clone();
    let public = template.associate_public_ip_address;
    match resolution.base.as_ref().and_then(|base| base.interface.as_ref()) {
        None => (if public.is_some() { Network::Interface } else { Network::Arguments }, public, groups),
        Some(interface) => {
            let unset = template.subnets.is_none() && groups.is_empty() && public.is_none();
            if unset && interface.subnet.is_some() {
                return (Network::LaunchTemplate, None, groups);
            }
            // Repeated, so that it holds whether EC2 merges the interfaces or replaces one with the other.
            let groups = if groups.is_empty() { interface.security_groups.clone() } else { groups };
            (Network::Interface, public.or(interface.public), groups)
        }
    }
}

fn metadata(template: &WorkerTemplate, bare: bool) -> Metadata {
    let options = template.metadata_options.clone().unwrap_or_default();
    let tokens = options.http_tokens.or(bare.then_some(HttpTokens::Required));
    // Always set: the default of the account may differ.
    let tags = options.instance_metadata_tags.or(bare.then_some(InstanceMetadataTags::Enabled));
    Metadata {
        http_tokens_required: tokens.map(|tokens| tokens == HttpTokens::Required),
        hop_limit: options.http_put_response_hop_limit.or(bare.then_some(1)),
        instance_tags: tags.map(|tags| tags == InstanceMetadataTags::Enabled),
    }
}

fn user_data(text: &str) -> Result<String, Unrenderable> {
    check_size(text, 0)?;
    Ok(BASE64_STANDARD.encode(text))
}

/// muster added `added` bytes of `text`.
pub fn check_size(text: &str, added: usize) -> Result<(), Unrenderable> {
    let size = text.len();
    if size > USER_DATA_LIMIT { Err(Unrenderable::UserDataTooLong { size, added }) } else { Ok(()) }
}

fn device(name: &str, ebs: &Ebs, bare: bool) -> Result<Device, Unrenderable> {
    let volume_type = ebs.volume_type.or(bare.then_some(VolumeType::Gp3));
    Ok(Device {
        name: name.into(),
        size_gib: ebs.volume_size.as_deref().map(gib).transpose()?,
        volume_type: volume_type.map(|kind| kind.as_str().into()),
        encrypted: ebs.encrypted,
        kms_key_id: ebs.kms_key_id.clone(),
        iops: ebs.iops,
        throughput: ebs.throughput,
        delete_on_termination: ebs.delete_on_termination.or(bare.then_some(true)),
    })
}

/// The largest volume of any type is 64 TiB.
const MAX_GIB: i32 = 65_536;

fn gib(size: &str) -> Result<i32, Unrenderable> {
    let (digits, factor) = match (size.strip_suffix("Gi"), size.strip_suffix("Ti")) {
        (Some(digits), _) => (digits, 1),
        (_, Some(digits)) => (digits, 1024),
        (None, None) => ("", 1),
    };
    let gib = digits.parse::<i32>().ok().and_then(|n| n.checked_mul(factor));
    gib.filter(|n| (1..=MAX_GIB).contains(n)).ok_or_else(|| Unrenderable::VolumeSize(size.into()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        aws::ec2::InterfaceRow,
        crd::template::LaunchTemplate,
        ids::{LaunchTemplateId, SubnetId},
        workers::launch_spec::{resolve::resolution::Base, sample::template},
    };

    fn owner_tags() -> BTreeMap<String, String> {
        BTreeMap::from([("muster.dev:cluster".into(), "c".into())])
    }

    fn rendered(template: &WorkerTemplate) -> Result<LaunchRequest, Unrenderable> {
        render(template, &Resolution::of_ids(template).unwrap(), owner_tags())
    }

    #[test]
    fn omitted_fields_of_the_template_have_defaults() {
        let request = rendered(&template(json!({}))).unwrap();
        insta::assert_json_snapshot!(request);
    }

    #[test]
    fn every_field_of_the_template_is_rendered() {
        let template = template(json!({
            "keyName": "ops", "instanceProfile": "worker", "securityGroups": {"ids": ["sg-00000001"]},
            "associatePublicIPAddress": false, "userData": {"inline": "#!/bin/sh\n"}, "tags": {"team": "ml"},
            "metadataOptions": {"httpTokens": "optional", "httpPutResponseHopLimit": 2, "instanceMetadataTags": "disabled"},
            "blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": {"volumeSize": "2Ti", "volumeType": "io2",
                "encrypted": true, "kmsKeyID": "k", "iops": 3000, "deleteOnTermination": false}}],
        }));
        insta::assert_json_snapshot!(rendered(&template).unwrap());
    }

    /// Rendered over a launch template with an interface that has a subnet and a group.
    fn over_a_base(extra: serde_json::Value) -> LaunchRequest {
        let mut template = template(extra);
        template.launch_template = Some(LaunchTemplate { name: Some("web".into()), ..LaunchTemplate::default() });
        let interface = InterfaceRow {
            subnet: Some(SubnetId::try_from("subnet-0000000b").unwrap()),
            security_groups: vec![SecurityGroupId::try_from("sg-0000000b").unwrap()],
            public: Some(true),
        };
        let base = Base {
            id: LaunchTemplateId::try_from("lt-00000001").unwrap(),
            version: 7,
            interface: Some(interface),
            has_user_data: true,
        };
        let resolution = Resolution { base: Some(base), ..Resolution::of_ids(&template).unwrap() };
        template.subnets = None;
        render(&template, &resolution, owner_tags()).unwrap()
    }

    #[test]
    fn with_a_launch_template_only_set_fields_are_rendered() {
        insta::assert_json_snapshot!(over_a_base(json!({
            "capacityType": "Spot", "metadataOptions": {"httpPutResponseHopLimit": 2},
            "blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": {"volumeSize": "20Gi"}}],
        })));
    }

    #[test]
    fn network_fields_override_the_interface_of_a_launch_template() {
        let silent = over_a_base(json!({}));
        assert_eq!((silent.network, silent.security_groups), (Network::LaunchTemplate, vec![]));
        let overridden = over_a_base(json!({"securityGroups": {"ids": ["sg-0000000a"]}}));
        assert_eq!(overridden.network, Network::Interface);
        assert_eq!(overridden.security_groups, [SecurityGroupId::try_from("sg-0000000a").unwrap()]);
        assert_eq!(overridden.associate_public_ip_address, Some(true));
        let private = over_a_base(json!({"associatePublicIPAddress": false}));
        assert_eq!(private.security_groups, [SecurityGroupId::try_from("sg-0000000b").unwrap()]);
        assert_eq!(private.associate_public_ip_address, Some(false));
    }

    #[test]
    fn a_request_of_an_earlier_version_can_be_read() {
        let stored = json!({
            "associatePublicIpAddress": false,
            "devices": [{"name": "/dev/xvda", "sizeGib": 20, "volumeType": "gp3", "deleteOnTermination": true}],
            "metadata": {"httpTokensRequired": true, "hopLimit": 1, "instanceTags": true},
            "tags": {"muster.dev:cluster": "c"},
        });
        let read: LaunchRequest = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), stored);
    }

    #[test]
    fn user_data_over_16_kb_is_an_error_with_its_size() {
        let with = |size: usize| template(json!({"userData": {"inline": "x".repeat(size)}}));
        assert!(rendered(&with(16_384)).is_ok());
        let refusal = rendered(&with(16_385)).unwrap_err();
        assert_eq!(refusal, Unrenderable::UserDataTooLong { size: 16_385, added: 0 });
        assert!(refusal.to_string().contains("is 16385 bytes, and EC2 takes"), "{refusal}");
        let refusal = check_size(&"x".repeat(16_385), 300).unwrap_err();
        assert!(refusal.to_string().contains("is 16385 bytes, 300 of them added by muster"), "{refusal}");
    }

    #[test]
    fn volume_sizes_must_be_whole_gib_that_ec2_supports() {
        for (size, expected) in
            [("1Gi", Some(1)), ("2Ti", Some(2048)), ("64Ti", Some(65_536)), ("65Ti", None), ("9", None)]
        {
            assert_eq!(gib(size).ok(), expected, "{size}");
        }
    }
}
