//! RunInstances, from an intent and its request.

use std::{collections::BTreeMap, time::Duration};

use aws_sdk_ec2::types::{
    BlockDeviceMapping, EbsBlockDevice, HttpTokensState, IamInstanceProfileSpecification, InstanceInterruptionBehavior,
    InstanceMarketOptionsRequest, InstanceMetadataEndpointState, InstanceMetadataOptionsRequest,
    InstanceMetadataTagsState, InstanceNetworkInterfaceSpecification, InstanceType, LaunchTemplateSpecification,
    MarketType, ResourceType, ShutdownBehavior as SdkShutdownBehavior, SpotInstanceType, SpotMarketOptions, Tag,
    TagSpecification, VolumeType,
};

use crate::{
    aws::{
        Error,
        ec2::{
            Ec2, id,
            launch_request::{Device, LaunchRequest, Metadata, Network, ShutdownBehavior},
        },
        within,
    },
    crd::launches::LaunchIntent,
    ids::InstanceId,
    tags::INDEXES_TAG,
    write_ahead::Acknowledged,
};

impl Ec2 {
    /// Sends the launch of `intent` once, within `budget`. The same intent and request always make the same call, which
    /// EC2 answers with the same instances.
    pub async fn run_instances(
        &self,
        intent: &Acknowledged<LaunchIntent>,
        request: &LaunchRequest,
        budget: Duration,
    ) -> Result<Vec<InstanceId>, Error> {
        const OPERATION: &str = "ec2:RunInstances";
        let intent = intent.intent();
        let profile = request.instance_profile.as_ref();
        let call = self
            .once
            .run_instances()
            .client_token(intent.token.as_str())
            .min_count(1)
            .max_count(i32::try_from(intent.count).unwrap_or(1))
            .set_launch_template(launch_template(intent, request))
            .image_id(intent.image_id.as_str())
            .instance_type(InstanceType::from(intent.instance_type.as_str()))
            .set_key_name(request.key_name.clone())
            .set_user_data(request.user_data.clone())
            .set_iam_instance_profile(profile.map(|name| IamInstanceProfileSpecification::builder().name(name).build()))
            .set_instance_market_options(request.spot.then(spot))
            .set_metadata_options(metadata_options(&request.metadata, request.launch_template_id.is_none()))
            .set_block_device_mappings(Some(request.devices.iter().map(device).collect()))
            .set_instance_initiated_shutdown_behavior(request.shutdown_behavior.map(shutdown_behavior))
            .set_tag_specifications(Some(tag_specifications(intent, request)));
        let groups: Vec<_> = request.security_groups.iter().map(ToString::to_string).collect();
        let groups = Some(groups).filter(|groups| !groups.is_empty());
        // Revisions of earlier versions do not record that a public address needs an interface.
        let call = match (request.network, request.associate_public_ip_address) {
            (Network::Arguments, None) => call.subnet_id(intent.subnet.as_str()).set_security_group_ids(groups),
            (Network::Interface, public) | (Network::Arguments, public @ Some(_)) => {
                let own = request.launch_template_id.is_none();
                call.network_interfaces(
                    InstanceNetworkInterfaceSpecification::builder()
                        .device_index(0)
                        .subnet_id(intent.subnet.as_str())
                        .set_groups(groups)
                        .set_associate_public_ip_address(public)
                        .set_delete_on_termination(own.then_some(true))
                        .build(),
                )
            }
            (Network::LaunchTemplate, _) => call,
        };
        let answer =
            within(OPERATION, budget, Box::pin(call.send())).await?.map_err(|e| Error::from_sdk(OPERATION, &e))?;
        let mut rows: Vec<_> = answer.instances().iter().collect();
        rows.sort_by_key(|row| row.ami_launch_index());
        rows.into_iter().map(|row| id(OPERATION, row.instance_id())).collect()
    }
}

fn launch_template(intent: &LaunchIntent, request: &LaunchRequest) -> Option<LaunchTemplateSpecification> {
    let (id, version) = (request.launch_template_id.as_ref()?, intent.launch_template_version?);
    Some(LaunchTemplateSpecification::builder().launch_template_id(id.as_str()).version(version.to_string()).build())
}

/// One-time, so that EC2 itself does not launch a replacement after an interruption.
fn spot() -> InstanceMarketOptionsRequest {
    let options = SpotMarketOptions::builder()
        .spot_instance_type(SpotInstanceType::OneTime)
        .instance_interruption_behavior(InstanceInterruptionBehavior::Terminate)
        .build();
    InstanceMarketOptionsRequest::builder().market_type(MarketType::Spot).spot_options(options).build()
}

/// A `bare` request has no launch template, which could disable the metadata service.
fn metadata_options(metadata: &Metadata, bare: bool) -> Option<InstanceMetadataOptionsRequest> {
    if metadata.is_empty() {
        return None;
    }
    let tokens = |required| if required { HttpTokensState::Required } else { HttpTokensState::Optional };
    let tags = |on| if on { InstanceMetadataTagsState::Enabled } else { InstanceMetadataTagsState::Disabled };
    Some(
        InstanceMetadataOptionsRequest::builder()
            .set_http_endpoint(bare.then_some(InstanceMetadataEndpointState::Enabled))
            .set_http_tokens(metadata.http_tokens_required.map(tokens))
            .set_http_put_response_hop_limit(metadata.hop_limit)
            .set_instance_metadata_tags(metadata.instance_tags.map(tags))
            .build(),
    )
}

fn device(device: &Device) -> BlockDeviceMapping {
    let ebs = EbsBlockDevice::builder()
        .set_volume_size(device.size_gib)
        .set_volume_type(device.volume_type.as_deref().map(VolumeType::from))
        .set_encrypted(device.encrypted)
        .set_kms_key_id(device.kms_key_id.clone())
        .set_iops(device.iops)
        .set_throughput(device.throughput)
        .set_delete_on_termination(device.delete_on_termination)
        .build();
    BlockDeviceMapping::builder().device_name(&device.name).ebs(ebs).build()
}

fn shutdown_behavior(behavior: ShutdownBehavior) -> SdkShutdownBehavior {
    match behavior {
        ShutdownBehavior::Stop => SdkShutdownBehavior::Stop,
        ShutdownBehavior::Terminate => SdkShutdownBehavior::Terminate,
    }
}

/// The tags of the request, and the indexes of the intent.
fn tag_specifications(intent: &LaunchIntent, request: &LaunchRequest) -> Vec<TagSpecification> {
    let indexes = intent.indexes.iter().map(|indexes| (INDEXES_TAG.to_owned(), indexes.to_string()));
    let tags: BTreeMap<_, _> = request.tags.clone().into_iter().chain(indexes).collect();
    let tags: Vec<_> = tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect();
    [ResourceType::Instance, ResourceType::Volume, ResourceType::NetworkInterface]
        .into_iter()
        .map(|resource| TagSpecification::builder().resource_type(resource).set_tags(Some(tags.clone())).build())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metadata_service_is_enabled_only_without_a_launch_template() {
        let metadata = Metadata { hop_limit: Some(2), ..Metadata::default() };
        let endpoint = |bare| metadata_options(&metadata, bare).unwrap().http_endpoint().cloned();
        assert_eq!(endpoint(true), Some(InstanceMetadataEndpointState::Enabled));
        assert_eq!(endpoint(false), None);
        assert_eq!(metadata_options(&Metadata::default(), true), None);
    }
}
