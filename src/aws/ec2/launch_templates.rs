//! Launch templates.

use aws_sdk_ec2::types::{LaunchTemplateVersion, MarketType};

use crate::{
    aws::{Error, ec2::Ec2},
    crd::template::LaunchTemplate,
    ids::{ImageId, InstanceType, InvalidId, LaunchTemplateId, SecurityGroupId, SubnetId, Zone},
};

const OPERATION: &str = "ec2:DescribeLaunchTemplateVersions";

/// The part of a launch template version that muster needs to override it with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateRow {
    pub id: LaunchTemplateId,
    pub name: Option<String>,
    pub version: i64,
    pub image: Option<ImageId>,
    pub instance_type: Option<InstanceType>,
    pub interface: Option<InterfaceRow>,
    /// The zone of its instances, if it sets one.
    pub zone: Option<Zone>,
    pub spot: bool,
    pub has_user_data: bool,
}

/// The first network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceRow {
    pub subnet: Option<SubnetId>,
    pub security_groups: Vec<SecurityGroupId>,
    pub public: Option<bool>,
}

impl Ec2 {
    /// The version that the reference of a worker template resolves to now.
    pub async fn launch_template(&self, wanted: &LaunchTemplate) -> Result<TemplateRow, Error> {
        let call = self
            .client
            .describe_launch_template_versions()
            .set_launch_template_name(wanted.name.clone())
            .set_launch_template_id(wanted.id.clone())
            .versions(wanted.version.as_deref().unwrap_or("$Default"))
            // Returns the id of an image that is given as a parameter.
            .resolve_alias(true);
        let answer = call.send().await.map_err(|e| Error::from_sdk(OPERATION, &e))?;
        answer.launch_template_versions().first().map(row).transpose()?.ok_or_else(|| {
            Error::not_found(OPERATION, "InvalidLaunchTemplateId.VersionNotFound", "The version does not exist")
        })
    }
}

fn row(version: &LaunchTemplateVersion) -> Result<TemplateRow, Error> {
    let bad = |error: InvalidId| Error::garbled(OPERATION, error);
    let data = version.launch_template_data().ok_or_else(|| Error::garbled(OPERATION, "a version without data"))?;
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
    Ok(TemplateRow {
        id: LaunchTemplateId::try_from(version.launch_template_id().unwrap_or_default()).map_err(bad)?,
        name: version.launch_template_name().map(str::to_owned),
        version: version.version_number().ok_or_else(|| Error::garbled(OPERATION, "a version without a number"))?,
        image: data.image_id().map(ImageId::try_from).transpose().map_err(bad)?,
        instance_type: data
            .instance_type()
            .map(|kind| InstanceType::try_from(kind.as_str()))
            .transpose()
            .map_err(bad)?,
        interface: interface.transpose().map_err(bad)?,
        zone: zone.map(Zone::try_from).transpose().map_err(bad)?,
        spot: market == Some(&MarketType::Spot),
        has_user_data: data.user_data().is_some_and(|text| !text.is_empty()),
    })
}
