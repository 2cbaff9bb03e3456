//! A launch request, rendered from a template once and then never again: what is stored in a revision is what is sent.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use crate::{
    ids::SecurityGroupId,
    workers::{
        parameters::Uncombinable,
        resolve::Resolution,
        template::{Ebs, HttpTokens, InstanceMetadataTags, VolumeType, WorkerTemplate},
    },
};

/// What EC2 takes, before base64 (RunInstances, "UserData").
pub const USER_DATA_LIMIT: usize = 16 * 1024;

/// Everything of a RunInstances call that is the same for all launches of a revision. The rest (token, subnet, instance
/// type, image, count) is in each intent. Nothing is left to a default of EC2 or of a later muster that could change
/// between a call and its repetition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LaunchRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_profile: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<SecurityGroupId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub associate_public_ip_address: Option<bool>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<Device>,
    pub metadata: Metadata,
    /// In base64, as the API wants it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
    /// For the instance, its volumes and its network interfaces.
    pub tags: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Device {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_gib: Option<i32>,
    pub volume_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iops: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throughput: Option<i32>,
    pub delete_on_termination: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    pub http_tokens_required: bool,
    pub hop_limit: i32,
    pub instance_tags: bool,
}

/// A template that the schema allows and EC2 never would.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unrenderable {
    #[error(
        "template.userData is {size} bytes with what muster adds to fetch parameters, if there are any, and EC2 takes at most {USER_DATA_LIMIT}: keep a short script there that fetches the rest, for example from S3"
    )]
    UserDataTooLong { size: usize },
    #[error(transparent)]
    UserDataUncombinable(#[from] Uncombinable),
    #[error("template.blockDeviceMappings: {0:?} is not a size that EC2 can make: write whole GiB, like 100Gi")]
    VolumeSize(String),
}

/// Renders `template` and what it came to, with the defaults that the schema leaves out, and `owner_tags` over the user's
/// own.
///
/// # Errors
/// What only EC2 or a careful reader could object to.
pub fn render(
    template: &WorkerTemplate,
    resolution: &Resolution,
    owner_tags: BTreeMap<String, String>,
) -> Result<LaunchRequest, Unrenderable> {
    let options = template.metadata_options.clone().unwrap_or_default();
    let mut tags = template.tags.clone();
    tags.extend(owner_tags);
    Ok(LaunchRequest {
        key_name: template.key_name.clone(),
        instance_profile: template.instance_profile.clone(),
        security_groups: resolution.security_groups.clone(),
        associate_public_ip_address: template.associate_public_ip_address,
        devices: template
            .block_device_mappings
            .iter()
            .map(|mapping| device(&mapping.device_name, &mapping.ebs))
            .collect::<Result<_, _>>()?,
        metadata: Metadata {
            http_tokens_required: options.http_tokens.unwrap_or_default() == HttpTokens::Required,
            hop_limit: options.http_put_response_hop_limit.unwrap_or(1),
            instance_tags: options.instance_metadata_tags.unwrap_or_default() == InstanceMetadataTags::Enabled,
        },
        user_data: resolution.user_data.as_deref().map(user_data).transpose()?,
        tags,
    })
}

fn user_data(text: &str) -> Result<String, Unrenderable> {
    if text.len() > USER_DATA_LIMIT {
        return Err(Unrenderable::UserDataTooLong { size: text.len() });
    }
    Ok(BASE64_STANDARD.encode(text))
}

fn device(name: &str, ebs: &Ebs) -> Result<Device, Unrenderable> {
    Ok(Device {
        name: name.into(),
        size_gib: ebs.volume_size.as_deref().map(gib).transpose()?,
        volume_type: ebs.volume_type.unwrap_or(VolumeType::Gp3).as_str().into(),
        encrypted: ebs.encrypted,
        kms_key_id: ebs.kms_key_id.clone(),
        iops: ebs.iops,
        throughput: ebs.throughput,
        delete_on_termination: ebs.delete_on_termination.unwrap_or(true),
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

    fn template(extra: serde_json::Value) -> WorkerTemplate {
        let mut template = json!({
            "ami": {"id": "ami-00000001"}, "instanceTypes": ["m6i.large"], "subnets": {"ids": ["subnet-00000001"]},
        });
        template.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value(template).unwrap()
    }

    fn owner_tags() -> BTreeMap<String, String> {
        BTreeMap::from([("muster.dev:cluster".into(), "c".into())])
    }

    fn rendered(template: &WorkerTemplate) -> Result<LaunchRequest, Unrenderable> {
        render(template, &Resolution::of_ids(template).unwrap(), owner_tags())
    }

    #[test]
    fn what_the_template_leaves_out_is_filled_in() {
        let request = rendered(&template(json!({}))).unwrap();
        insta::assert_json_snapshot!(request);
    }

    #[test]
    fn what_the_template_says_is_rendered_whole() {
        let template = template(json!({
            "keyName": "ops", "instanceProfile": "worker", "securityGroups": {"ids": ["sg-00000001"]},
            "associatePublicIPAddress": false, "userData": {"inline": "#!/bin/sh\n"}, "tags": {"team": "ml"},
            "metadataOptions": {"httpTokens": "optional", "httpPutResponseHopLimit": 2, "instanceMetadataTags": "disabled"},
            "blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": {"volumeSize": "2Ti", "volumeType": "io2",
                "encrypted": true, "kmsKeyID": "k", "iops": 3000, "deleteOnTermination": false}}],
        }));
        insta::assert_json_snapshot!(rendered(&template).unwrap());
    }

    #[test]
    fn user_data_is_refused_over_16_kb_with_its_size() {
        let with = |size: usize| template(json!({"userData": {"inline": "x".repeat(size)}}));
        assert!(rendered(&with(16_384)).is_ok());
        let refusal = rendered(&with(16_385)).unwrap_err();
        assert_eq!(refusal, Unrenderable::UserDataTooLong { size: 16_385 });
        assert!(refusal.to_string().contains("16385 bytes"));
    }

    #[test]
    fn volume_sizes_are_whole_gib_that_ec2_can_make() {
        for (size, expected) in
            [("1Gi", Some(1)), ("2Ti", Some(2048)), ("64Ti", Some(65_536)), ("65Ti", None), ("9", None)]
        {
            assert_eq!(gib(size).ok(), expected, "{size}");
        }
    }
}
