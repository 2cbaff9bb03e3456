//! What a group is to launch, as requests say it and answers show it.

use super::call::{GroupCall, invalid, items};
use crate::error::ApiError;
use crate::protocol::params::Scope;
use crate::protocol::xml::Xml;
use crate::state::autoscaling::config::{
    Distribution, LaunchSource, MixedInstancesPolicy, TemplateOverride, TemplateSpecification,
};
use crate::state::autoscaling::group::AutoScalingGroup;
use crate::state::autoscaling::launching;
use crate::state::ec2::launch_template::{LaunchTemplates, Reference};
use crate::state::ec2::world::World;

struct AskedTemplate<'a> {
    reference: Reference<'a>,
    version: &'a str,
}

struct AskedOverride<'a> {
    instance_type: Option<&'a str>,
    weighted_capacity: Option<&'a str>,
    template: Option<AskedTemplate<'a>>,
    image_id: Option<&'a str>,
}

enum Asked<'a> {
    Template(AskedTemplate<'a>),
    Mixed { template: AskedTemplate<'a>, overrides: Vec<AskedOverride<'a>>, distribution: Distribution },
    Configuration(&'a str),
}

/// A source as a request names it, not looked up yet.
pub(super) struct AskedSource<'a>(Asked<'a>);

impl<'a> AskedSource<'a> {
    /// `None`: the request names none. More than one is an error.
    pub(super) fn read(scope: &Scope<'a>) -> Result<Option<Self>, ApiError> {
        let template = scope.child("LaunchTemplate").map(|scope| read_template(&scope)).transpose()?;
        let mixed = scope.child("MixedInstancesPolicy").map(|scope| read_policy(&scope)).transpose()?;
        let configuration = scope.text("LaunchConfigurationName").filter(|name| !name.is_empty());
        match (template, mixed, configuration) {
            (None, None, None) => Ok(None),
            (Some(template), None, None) => Ok(Some(Self(Asked::Template(template)))),
            (None, Some(mixed), None) => Ok(Some(Self(mixed))),
            (None, None, Some(name)) => Ok(Some(Self(Asked::Configuration(name)))),
            _several => Err(one_of_them()),
        }
    }

    pub(super) fn is_configuration(&self) -> bool {
        matches!(self.0, Asked::Configuration(_))
    }

    /// Looks templates up.
    pub(super) fn resolve(&self, call: &GroupCall<'_>, templates: &LaunchTemplates) -> Result<LaunchSource, ApiError> {
        let find = |asked: &AskedTemplate<'_>| find(call, templates, asked);
        Ok(match &self.0 {
            Asked::Template(template) => LaunchSource::Template(find(template)?),
            Asked::Configuration(name) => LaunchSource::Configuration((*name).to_owned()),
            Asked::Mixed { template, overrides, distribution } => {
                let owned = |text: Option<&str>| text.map(str::to_owned);
                let overrides = overrides.iter().map(|one| {
                    Ok(TemplateOverride {
                        instance_type: owned(one.instance_type),
                        weighted_capacity: owned(one.weighted_capacity),
                        template: one.template.as_ref().map(find).transpose()?,
                        image_id: owned(one.image_id),
                    })
                });
                LaunchSource::Mixed(MixedInstancesPolicy {
                    template: find(template)?,
                    overrides: overrides.collect::<Result<_, ApiError>>()?,
                    distribution: distribution.clone(),
                })
            }
        })
    }
}

pub(super) fn one_of_them() -> ApiError {
    invalid(
        "Valid requests must contain either LaunchTemplate, LaunchConfigurationName, InstanceId or \
         MixedInstancesPolicy parameter.",
    )
}

fn read_template<'a>(scope: &Scope<'a>) -> Result<AskedTemplate<'a>, ApiError> {
    let reference = match (scope.text("LaunchTemplateId"), scope.text("LaunchTemplateName")) {
        (Some(id), None) => Reference::Id(id),
        (None, Some(name)) => Reference::Name(name),
        (Some(_), Some(_)) | (None, None) => {
            return Err(invalid("Valid requests must contain either launchTemplateId or LaunchTemplateName"));
        }
    };
    Ok(AskedTemplate { reference, version: scope.text("Version").filter(|v| !v.is_empty()).unwrap_or("$Default") })
}

fn read_policy<'a>(scope: &Scope<'a>) -> Result<Asked<'a>, ApiError> {
    let template = scope.child("LaunchTemplate");
    let specification = template.as_ref().and_then(|template| template.child("LaunchTemplateSpecification"));
    let (Some(template), Some(specification)) = (template, specification) else {
        return Err(invalid("The mixed instances policy must contain a launch template specification."));
    };
    let overrides = items(&template, "Overrides").into_iter().map(|one| {
        let weighted_capacity = one.text("WeightedCapacity");
        let in_range = |weight: &str| weight.parse::<u32>().is_ok_and(|weight| (1..=999).contains(&weight));
        if weighted_capacity.is_some_and(|weight| !in_range(weight)) {
            return Err(invalid("WeightedCapacity must be an integer from 1 to 999."));
        }
        Ok(AskedOverride {
            instance_type: one.text("InstanceType"),
            weighted_capacity,
            template: one.child("LaunchTemplateSpecification").map(|scope| read_template(&scope)).transpose()?,
            image_id: one.text("ImageId"),
        })
    });
    Ok(Asked::Mixed {
        template: read_template(&specification)?,
        overrides: overrides.collect::<Result<_, ApiError>>()?,
        distribution: scope.child("InstancesDistribution").map_or(Ok(Distribution::default()), |s| distribution(&s))?,
    })
}

fn distribution(scope: &Scope<'_>) -> Result<Distribution, ApiError> {
    let default = Distribution::default();
    let one_of = |field: &str, allowed: &[&'static str], default: String| {
        let pairs: Vec<(&str, &'static str)> = allowed.iter().map(|name| (*name, *name)).collect();
        Ok::<_, ApiError>(scope.one_of(field, &pairs)?.map_or(default, str::to_owned))
    };
    let on_demand =
        one_of("OnDemandAllocationStrategy", &["prioritized", "lowest-price"], default.on_demand_allocation_strategy)?;
    let spot = one_of(
        "SpotAllocationStrategy",
        &["lowest-price", "capacity-optimized", "capacity-optimized-prioritized", "price-capacity-optimized"],
        default.spot_allocation_strategy,
    )?;
    let percentage = scope.integer("OnDemandPercentageAboveBaseCapacity")?.unwrap_or(100);
    if percentage > 100 {
        return Err(invalid("OnDemandPercentageAboveBaseCapacity must be from 0 to 100."));
    }
    Ok(Distribution {
        on_demand_allocation_strategy: on_demand,
        on_demand_base_capacity: scope.integer("OnDemandBaseCapacity")?.unwrap_or(0),
        on_demand_percentage_above_base: percentage,
        spot_allocation_strategy: spot,
        spot_instance_pools: scope.integer("SpotInstancePools")?,
        spot_max_price: scope.text("SpotMaxPrice").map(str::to_owned),
    })
}

/// Looks a template up. Whoever makes a group launch from it must be allowed to launch.
fn find(
    call: &GroupCall<'_>,
    templates: &LaunchTemplates,
    AskedTemplate { reference, version }: &AskedTemplate<'_>,
) -> Result<TemplateSpecification, ApiError> {
    let template = templates.find(*reference).map_err(|error| not_well_formed(&error))?;
    if call.state.accounts.is_denied(&call.caller.id, "ec2:RunInstances") {
        let message = format!("You are not authorized to use launch template: {}", template.id);
        return Err(ApiError::new("AccessDenied", message));
    }
    template.version(version).map_err(|error| not_well_formed(&error))?;
    Ok(TemplateSpecification { id: template.id.clone(), name: template.name.clone(), version: (*version).to_owned() })
}

/// Whether a group could launch from a source.
pub(super) fn check(
    call: &GroupCall<'_>,
    world: &mut World,
    group: &AutoScalingGroup,
    source: &LaunchSource,
) -> Result<(), ApiError> {
    let place = (&call.caller.id.account, call.caller.region.as_str());
    launching::try_launch(world, place, group, source, call.now).map_err(|error| not_well_formed(&error))
}

/// How Auto Scaling hands on what EC2 says of a template.
fn not_well_formed(error: &ApiError) -> ApiError {
    invalid(format!("You must use a valid fully-formed launch template. {}", error.message))
}

/// `<LaunchTemplate>`, `<MixedInstancesPolicy>` or `<LaunchConfigurationName>`.
pub(super) fn write(xml: &mut Xml, source: &LaunchSource) {
    match source {
        LaunchSource::Template(template) => write_template(xml, "LaunchTemplate", template),
        LaunchSource::Configuration(name) => xml.text("LaunchConfigurationName", name),
        LaunchSource::Mixed(policy) => xml.element("MixedInstancesPolicy", |xml| {
            xml.element("LaunchTemplate", |xml| {
                write_template(xml, "LaunchTemplateSpecification", &policy.template);
                xml.members("Overrides", &policy.overrides, |xml, one| {
                    xml.option("InstanceType", one.instance_type.as_ref());
                    xml.option("WeightedCapacity", one.weighted_capacity.as_ref());
                    if let Some(template) = &one.template {
                        write_template(xml, "LaunchTemplateSpecification", template);
                    }
                    xml.option("ImageId", one.image_id.as_ref());
                });
            });
            let distribution = &policy.distribution;
            xml.element("InstancesDistribution", |xml| {
                xml.text("OnDemandAllocationStrategy", &distribution.on_demand_allocation_strategy);
                xml.text("OnDemandBaseCapacity", distribution.on_demand_base_capacity);
                xml.text("OnDemandPercentageAboveBaseCapacity", distribution.on_demand_percentage_above_base);
                xml.text("SpotAllocationStrategy", &distribution.spot_allocation_strategy);
                xml.option("SpotInstancePools", distribution.spot_instance_pools);
                xml.option("SpotMaxPrice", distribution.spot_max_price.as_ref());
            });
        }),
    }
}

fn write_template(xml: &mut Xml, name: &str, template: &TemplateSpecification) {
    xml.element(name, |xml| {
        xml.text("LaunchTemplateId", &template.id);
        xml.text("LaunchTemplateName", &template.name);
        xml.text("Version", &template.version);
    });
}
