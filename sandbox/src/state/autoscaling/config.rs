//! What a group launches: a template, a policy over several instance types, or a launch configuration.

use serde::Serialize;

use crate::error::ApiError;
use crate::state::ec2::launch_template::{LaunchTemplate, LaunchTemplates, Reference, TemplateVersion};

/// A launch template and the version as it was asked for: a number, `$Latest` or `$Default`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TemplateSpecification {
    pub id: String,
    pub name: String,
    pub version: String,
}

impl TemplateSpecification {
    pub(crate) fn resolve<'t>(
        &self,
        templates: &'t LaunchTemplates,
    ) -> Result<(&'t LaunchTemplate, &'t TemplateVersion), ApiError> {
        let template = templates.find(Reference::Id(&self.id))?;
        Ok((template, template.version(&self.version)?))
    }

    /// Whether it follows the template instead of one version.
    pub fn follows(&self) -> bool {
        self.version.starts_with('$')
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TemplateOverride {
    pub instance_type: Option<String>,
    pub weighted_capacity: Option<String>,
    pub template: Option<TemplateSpecification>,
    pub image_id: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Distribution {
    pub on_demand_allocation_strategy: String,
    pub on_demand_base_capacity: u32,
    pub on_demand_percentage_above_base: u32,
    pub spot_allocation_strategy: String,
    pub spot_instance_pools: Option<u32>,
    pub spot_max_price: Option<String>,
}

impl Default for Distribution {
    fn default() -> Self {
        Self {
            on_demand_allocation_strategy: "prioritized".to_owned(),
            on_demand_base_capacity: 0,
            on_demand_percentage_above_base: 100,
            spot_allocation_strategy: "lowest-price".to_owned(),
            spot_instance_pools: None,
            spot_max_price: None,
        }
    }
}

impl Distribution {
    /// How many of so many instances are On-Demand.
    pub(crate) fn on_demand_of(&self, instances: u32) -> u32 {
        let above = instances.saturating_sub(self.on_demand_base_capacity);
        instances - above + (above * self.on_demand_percentage_above_base).div_ceil(100)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MixedInstancesPolicy {
    pub template: TemplateSpecification,
    pub overrides: Vec<TemplateOverride>,
    pub distribution: Distribution,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum LaunchSource {
    Template(TemplateSpecification),
    Mixed(MixedInstancesPolicy),
    /// The sandbox keeps no launch configurations: one is only a name, and launches Amazon Linux.
    Configuration(String),
}

/// One way to launch an instance.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice<'a> {
    pub(crate) template: &'a TemplateSpecification,
    pub(crate) instance_type: Option<&'a str>,
    pub(crate) image_id: Option<&'a str>,
}

impl LaunchSource {
    /// The ways to launch, in the order of their priority. None for a launch configuration.
    pub(crate) fn choices(&self) -> Vec<Choice<'_>> {
        match self {
            Self::Template(template) => vec![Choice { template, instance_type: None, image_id: None }],
            Self::Mixed(policy) if policy.overrides.is_empty() => {
                vec![Choice { template: &policy.template, instance_type: None, image_id: None }]
            }
            Self::Mixed(policy) => policy
                .overrides
                .iter()
                .map(|one| Choice {
                    template: one.template.as_ref().unwrap_or(&policy.template),
                    instance_type: one.instance_type.as_deref(),
                    image_id: one.image_id.as_deref(),
                })
                .collect(),
            Self::Configuration(_) => Vec::new(),
        }
    }

    /// All templates that it names.
    pub(crate) fn templates(&self) -> Vec<&TemplateSpecification> {
        match self {
            Self::Template(template) => vec![template],
            Self::Mixed(policy) => {
                let overrides = policy.overrides.iter().filter_map(|one| one.template.as_ref());
                std::iter::once(&policy.template).chain(overrides).collect()
            }
            Self::Configuration(_) => Vec::new(),
        }
    }

    /// Whether it can be the goal of a rollback: it stands on numbers, and on images and not on parameters that name one.
    pub(crate) fn stays_as_it_is(&self, templates: &LaunchTemplates) -> bool {
        let fixed = |template: &TemplateSpecification| {
            let image = template.resolve(templates).ok().and_then(|(_, version)| version.data.get("ImageId").cloned());
            !template.follows() && !image.is_some_and(|image| image.starts_with("resolve:"))
        };
        let named = self.templates();
        !named.is_empty() && named.into_iter().all(fixed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_above_the_base_is_on_demand() {
        let distribution =
            Distribution { on_demand_base_capacity: 2, on_demand_percentage_above_base: 25, ..Distribution::default() };
        let shares: Vec<u32> = (0..8).map(|instances| distribution.on_demand_of(instances)).collect();
        assert_eq!(shares, [0, 1, 2, 3, 3, 3, 3, 4]);
        assert_eq!(Distribution::default().on_demand_of(7), 7);
    }
}
