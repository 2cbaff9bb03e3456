//! What CreateAutoScalingGroup and UpdateAutoScalingGroup both take.

use super::call::{invalid, list};
use crate::error::ApiError;
use crate::protocol::params::Scope;
use crate::state::autoscaling::group::{AutoScalingGroup, MaintenancePolicy};
use crate::state::ec2::estate::Estate;

const POLICIES: &[&str] = &[
    "Default",
    "AllocationStrategy",
    "OldestInstance",
    "NewestInstance",
    "OldestLaunchTemplate",
    "OldestLaunchConfiguration",
    "ClosestToNextInstanceHour",
];

/// Those that a request gives.
pub(super) struct Settings<'a> {
    min_size: Option<u32>,
    max_size: Option<u32>,
    desired_capacity: Option<u32>,
    default_cooldown: Option<u32>,
    zones: Vec<&'a str>,
    subnets: Option<Vec<&'a str>>,
    health_check_type: Option<&'a str>,
    health_check_grace_period: Option<u32>,
    default_instance_warmup: Option<i64>,
    termination_policies: Vec<&'a str>,
    new_instances_protected: Option<bool>,
    maintenance_policy: Option<MaintenancePolicy>,
}

impl<'a> Settings<'a> {
    pub(super) fn read(root: &Scope<'a>) -> Result<Self, ApiError> {
        // AWS takes the role of its own that there is.
        root.text("ServiceLinkedRoleARN");
        let termination_policies = list(root, "TerminationPolicies");
        if let Some(unknown) = termination_policies.iter().find(|policy| !POLICIES.contains(policy)) {
            return Err(invalid(format!("The termination policy {unknown} is not valid.")));
        }
        let health_check_type = root.text("HealthCheckType");
        let known = |kind: &str| kind.split(',').all(|kind| ["EC2", "ELB", "EBS", "VPC_LATTICE"].contains(&kind));
        if health_check_type.is_some_and(|kind| !known(kind)) {
            return Err(invalid("HealthCheckType is not valid."));
        }
        let subnets = root.text("VPCZoneIdentifier").filter(|subnets| !subnets.is_empty());
        Ok(Self {
            min_size: root.integer("MinSize")?,
            max_size: root.integer("MaxSize")?,
            desired_capacity: root.integer("DesiredCapacity")?,
            default_cooldown: root.integer("DefaultCooldown")?,
            zones: list(root, "AvailabilityZones"),
            subnets: subnets.map(|subnets| subnets.split(',').map(str::trim).collect()),
            health_check_type,
            health_check_grace_period: root.integer("HealthCheckGracePeriod")?,
            default_instance_warmup: root.integer("DefaultInstanceWarmup")?,
            termination_policies,
            new_instances_protected: root.boolean("NewInstancesProtectedFromScaleIn")?,
            maintenance_policy: root.child("InstanceMaintenancePolicy").map(|s| maintenance_policy(&s)).transpose()?,
        })
    }

    pub(super) fn names_sizes(&self) -> bool {
        self.min_size.is_some() && self.max_size.is_some()
    }

    pub(super) fn names_places(&self) -> bool {
        self.subnets.is_some() || !self.zones.is_empty()
    }

    /// Sets what is given, if all of it is good. A group's places are looked up in its estate.
    pub(super) fn apply(&self, group: &mut AutoScalingGroup, estate: &Estate) -> Result<(), ApiError> {
        let mut changed = group.clone();
        self.set_sizes(&mut changed)?;
        self.set_places(&mut changed, estate)?;
        let Self { default_cooldown, health_check_type, health_check_grace_period, .. } = *self;
        changed.default_cooldown = default_cooldown.unwrap_or(changed.default_cooldown);
        changed.health_check_grace_period = health_check_grace_period.unwrap_or(changed.health_check_grace_period);
        if let Some(kind) = health_check_type {
            kind.clone_into(&mut changed.health_check_type);
        }
        if let Some(warmup) = self.default_instance_warmup {
            // -1 takes it away.
            changed.default_instance_warmup = u32::try_from(warmup).ok();
        }
        if !self.termination_policies.is_empty() {
            changed.termination_policies = self.termination_policies.iter().map(|&policy| policy.to_owned()).collect();
        }
        changed.new_instances_protected = self.new_instances_protected.unwrap_or(changed.new_instances_protected);
        if let Some(policy) = self.maintenance_policy {
            changed.maintenance_policy = (policy.min_healthy_percentage >= 0).then_some(policy);
        }
        *group = changed;
        Ok(())
    }

    fn set_sizes(&self, group: &mut AutoScalingGroup) -> Result<(), ApiError> {
        let (min, max) = (self.min_size.unwrap_or(group.min_size), self.max_size.unwrap_or(group.max_size));
        if min > max {
            return Err(invalid(format!("Max bound, {max}, must be greater than or equal to min bound, {min}")));
        }
        let desired = match self.desired_capacity {
            Some(desired) if !(min..=max).contains(&desired) => {
                return Err(invalid(format!(
                    "Desired capacity:{desired} must be between the specified min size:{min} and max size:{max}"
                )));
            }
            Some(desired) => desired,
            None => group.desired_capacity.clamp(min, max),
        };
        (group.min_size, group.max_size, group.desired_capacity) = (min, max, desired);
        Ok(())
    }

    fn set_places(&self, group: &mut AutoScalingGroup, estate: &Estate) -> Result<(), ApiError> {
        if let Some(zone) = self.zones.iter().find(|zone| !estate.zones.iter().any(|known| known.name == **zone)) {
            return Err(invalid(format!("Invalid Availability Zone(s) [{zone}]")));
        }
        if let Some(ids) = &self.subnets {
            let mut zones = Vec::new();
            for id in ids {
                let missing = || invalid(format!("The subnet ID '{id}' does not exist"));
                zones.push(estate.subnets.get(*id).ok_or_else(missing)?.zone.clone());
            }
            zones.sort();
            zones.dedup();
            group.subnets = ids.iter().map(|&id| id.to_owned()).collect();
            group.zones = zones;
        } else if !self.zones.is_empty() {
            group.subnets.clear();
            group.zones = self.zones.iter().map(|&zone| zone.to_owned()).collect();
        }
        Ok(())
    }
}

fn maintenance_policy(scope: &Scope<'_>) -> Result<MaintenancePolicy, ApiError> {
    let (min, max) = (scope.integer("MinHealthyPercentage")?, scope.integer("MaxHealthyPercentage")?);
    let (Some(min), Some(max)) = (min, max) else {
        return Err(invalid("Both MinHealthyPercentage and MaxHealthyPercentage must be specified."));
    };
    let good = (min, max) == (-1, -1) || ((0..=100).contains(&min) && (100..=200).contains(&max) && max - min <= 100);
    if !good {
        return Err(invalid(
            "MinHealthyPercentage must be from 0 to 100, MaxHealthyPercentage from 100 to 200, and the difference \
             between them cannot be greater than 100.",
        ));
    }
    Ok(MaintenancePolicy { min_healthy_percentage: min, max_healthy_percentage: max })
}
