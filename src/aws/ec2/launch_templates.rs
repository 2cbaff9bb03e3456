//! Launch templates.

use aws_sdk_ec2::types::{LaunchTemplateVersion, MarketType};
use base64::{Engine, prelude::BASE64_STANDARD};

use super::{Ec2, garbled};
use crate::{
    aws::{Class, Error},
    ids::{ImageId, InstanceType, InvalidId, LaunchTemplateId, SecurityGroupId, SubnetId, Zone},
    workers::template::LaunchTemplate,
};

const OPERATION: &str = "ec2:DescribeLaunchTemplateVersions";

/// One version of a launch template: what of it muster needs to know to lay a request over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateRow {
    pub id: LaunchTemplateId,
    pub version: i64,
    pub image: Option<ImageId>,
    pub instance_type: Option<InstanceType>,
    pub interface: Option<InterfaceRow>,
    /// The zone that its machines are bound to.
    pub zone: Option<Zone>,
    pub spot: bool,
    /// Decoded, where it is text.
    pub user_data: Option<String>,
}

/// The first network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceRow {
    pub subnet: Option<SubnetId>,
    pub security_groups: Vec<SecurityGroupId>,
    pub public: Option<bool>,
}

impl Ec2 {
    /// The version that a template's reference stands for now.
    pub async fn launch_template(&self, wanted: &LaunchTemplate) -> Result<TemplateRow, Error> {
        let call = self
            .client
            .describe_launch_template_versions()
            .set_launch_template_name(wanted.name.clone())
            .set_launch_template_id(wanted.id.clone())
            .versions(wanted.version.as_deref().unwrap_or("$Default"))
            // An image that is named by a parameter is told by its id.
            .resolve_alias(true);
        let answer = call.send().await.map_err(|e| Error::from_sdk(OPERATION, &e))?;
        answer.launch_template_versions().first().map(row).transpose()?.ok_or_else(|| Error {
            operation: OPERATION,
            class: Class::NotFound,
            code: "InvalidLaunchTemplateId.VersionNotFound".into(),
            message: "EC2 shows no such version".into(),
        })
    }
}

fn row(version: &LaunchTemplateVersion) -> Result<TemplateRow, Error> {
    let bad = |error: InvalidId| garbled(OPERATION, error.to_string());
    let data = version.launch_template_data().ok_or_else(|| garbled(OPERATION, "a version without data"))?;
    let interfaces = data.network_interfaces();
    let interface = interfaces.iter().min_by_key(|interface| interface.device_index().unwrap_or_default());
    let interface = interface.map(|interface| {
        let groups = interface.groups().iter().map(|id| SecurityGroupId::try_from(id.as_str()));
        Ok::<_, InvalidId>(InterfaceRow {
            subnet: interface.subnet_id().map(SubnetId::try_from).transpose()?,
            security_groups: groups.collect::<Result<_, _>>()?,
            public: interface.associate_public_ip_address(),
        })
    });
    let market = data.instance_market_options().and_then(|options| options.market_type());
    let zone = data.placement().and_then(|placement| placement.availability_zone());
    let decoded = |text: &str| BASE64_STANDARD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    Ok(TemplateRow {
        id: LaunchTemplateId::try_from(version.launch_template_id().unwrap_or_default()).map_err(bad)?,
        version: version.version_number().ok_or_else(|| garbled(OPERATION, "a version without a number"))?,
        image: data.image_id().map(ImageId::try_from).transpose().map_err(bad)?,
        instance_type: data
            .instance_type()
            .map(|kind| InstanceType::try_from(kind.as_str()))
            .transpose()
            .map_err(bad)?,
        interface: interface.transpose().map_err(bad)?,
        zone: zone.map(Zone::try_from).transpose().map_err(bad)?,
        spot: market == Some(&MarketType::Spot),
        user_data: data.user_data().and_then(decoded),
    })
}
