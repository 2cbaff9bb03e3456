//! An Auto Scaling group, and where it names a launch template.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_autoscaling::types::{
    AutoScalingGroup, LaunchTemplate, LaunchTemplateOverrides, LaunchTemplateSpecification, LifecycleState,
    MixedInstancesPolicy,
};

use crate::ids::LaunchTemplateId;

/// An Auto Scaling group as AWS shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupRow {
    pub name: String,
    pub tags: BTreeMap<String, String>,
    /// Everywhere it names a launch template.
    pub places: Vec<Place>,
    /// It launches from a launch configuration.
    pub has_launch_configuration: bool,
    /// An override has an image of its own.
    pub has_override_image: bool,
    /// Only this service of AWS may change it.
    pub operator: Option<String>,
    /// It is being deleted.
    pub is_being_deleted: bool,
    pub suspended: BTreeSet<String>,
    pub instances: Vec<Member>,
}

/// A place in which a group names a launch template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub at: At,
    pub id: Option<LaunchTemplateId>,
    pub name: Option<String>,
    /// A number, `$Latest` or `$Default`.
    pub version: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Template,
    MixedPolicy,
    Override,
}

/// An instance of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The launch template that it was launched from, if any, and the version.
    pub template: Option<(LaunchTemplateId, i64)>,
    /// It is not being terminated.
    pub stays: bool,
}

/// What a group should launch: this launch template, which it may name by its id or its name, in this version.
#[derive(Clone, Copy, Debug)]
pub struct Aim<'a> {
    pub template: &'a LaunchTemplateId,
    pub name: &'a str,
    pub version: &'a str,
}

impl Place {
    pub fn is_of(&self, template: &LaunchTemplateId, name: &str) -> bool {
        self.id.as_ref() == Some(template) || (self.id.is_none() && self.name.as_deref() == Some(name))
    }
}

/// The specification with the version of `aim`, if it names its launch template.
pub(super) fn at(spec: &LaunchTemplateSpecification, aim: &Aim<'_>) -> Option<LaunchTemplateSpecification> {
    let is_of = spec.launch_template_id() == Some(aim.template.as_str())
        || (spec.launch_template_id().is_none() && spec.launch_template_name() == Some(aim.name));
    // AWS returns the id and the name, and accepts one of them.
    let id = aim.template.as_str();
    is_of.then(|| LaunchTemplateSpecification::builder().launch_template_id(id).version(aim.version).build())
}

/// The policy with the version of `aim` everywhere it names its launch template, if it does.
pub(super) fn policy_at(policy: &MixedInstancesPolicy, aim: &Aim<'_>) -> Option<MixedInstancesPolicy> {
    let template = policy.launch_template()?;
    let mut changed = false;
    let mut change = |spec: &LaunchTemplateSpecification| match at(spec, aim) {
        Some(new) => {
            changed = true;
            new
        }
        None => by_one_key(spec),
    };
    let base = template.launch_template_specification().map(&mut change);
    let overrides = template.overrides().iter().map(|old| {
        let spec = old.launch_template_specification().map(&mut change);
        LaunchTemplateOverrides::builder()
            .set_instance_type(old.instance_type().map(str::to_owned))
            .set_weighted_capacity(old.weighted_capacity().map(str::to_owned))
            .set_launch_template_specification(spec)
            .set_instance_requirements(old.instance_requirements().cloned())
            .set_image_id(old.image_id().map(str::to_owned))
            .build()
    });
    let overrides: Vec<_> = overrides.collect();
    let overrides = Some(overrides).filter(|overrides| !overrides.is_empty());
    let template = LaunchTemplate::builder().set_launch_template_specification(base).set_overrides(overrides).build();
    let policy = MixedInstancesPolicy::builder()
        .launch_template(template)
        .set_instances_distribution(policy.instances_distribution().cloned())
        .build();
    changed.then_some(policy)
}

/// AWS returns the id and the name, and accepts one of them.
fn by_one_key(spec: &LaunchTemplateSpecification) -> LaunchTemplateSpecification {
    let name = spec.launch_template_name().filter(|_| spec.launch_template_id().is_none());
    LaunchTemplateSpecification::builder()
        .set_launch_template_id(spec.launch_template_id().map(str::to_owned))
        .set_launch_template_name(name.map(str::to_owned))
        .set_version(spec.version().map(str::to_owned))
        .build()
}

/// `None` for a row without a name, which AWS does not send.
pub(super) fn row(group: &AutoScalingGroup) -> Option<GroupRow> {
    let overrides = overrides(group.mixed_instances_policy());
    let tags = group.tags().iter().filter_map(|tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned())));
    Some(GroupRow {
        name: group.auto_scaling_group_name()?.to_owned(),
        tags: tags.collect(),
        places: places(group.launch_template(), group.mixed_instances_policy()),
        has_launch_configuration: group.launch_configuration_name().is_some_and(|name| !name.is_empty()),
        has_override_image: overrides.iter().any(|row| row.image_id().is_some()),
        operator: group.operator().map(|o| o.principal().unwrap_or_default().to_owned()),
        is_being_deleted: group.status().is_some(),
        suspended: group.suspended_processes().iter().filter_map(|p| p.process_name().map(str::to_owned)).collect(),
        instances: group.instances().iter().map(member).collect(),
    })
}

/// Everywhere a group, or the desired configuration of a refresh, names a launch template.
pub(super) fn places(
    template: Option<&LaunchTemplateSpecification>,
    policy: Option<&MixedInstancesPolicy>,
) -> Vec<Place> {
    let base = policy.and_then(|policy| policy.launch_template()?.launch_template_specification());
    let specs = overrides(policy).iter().filter_map(|row| row.launch_template_specification());
    let template = template.into_iter().map(|spec| place(At::Template, spec));
    let base = base.into_iter().map(|spec| place(At::MixedPolicy, spec));
    template.chain(base).chain(specs.map(|spec| place(At::Override, spec))).collect()
}

fn overrides(policy: Option<&MixedInstancesPolicy>) -> &[LaunchTemplateOverrides] {
    policy.and_then(|policy| policy.launch_template()).map(|template| template.overrides()).unwrap_or_default()
}

fn place(at: At, spec: &LaunchTemplateSpecification) -> Place {
    Place {
        at,
        id: spec.launch_template_id().and_then(|id| LaunchTemplateId::try_from(id).ok()),
        name: spec.launch_template_name().map(str::to_owned),
        // AWS uses the default version then.
        version: spec.version().unwrap_or("$Default").to_owned(),
    }
}

fn member(row: &aws_sdk_autoscaling::types::Instance) -> Member {
    let template = row.launch_template().and_then(|spec| {
        Some((LaunchTemplateId::try_from(spec.launch_template_id()?).ok()?, spec.version()?.parse().ok()?))
    });
    let ends = matches!(
        row.lifecycle_state(),
        Some(
            LifecycleState::Terminated
                | LifecycleState::Terminating
                | LifecycleState::TerminatingProceed
                | LifecycleState::TerminatingWait
                | LifecycleState::TerminatingRetained
                | LifecycleState::Detached
                | LifecycleState::Detaching
        )
    );
    Member { template, stays: !ends }
}
