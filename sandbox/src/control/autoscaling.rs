//! Auto Scaling as tests and demos control it.

use std::collections::BTreeMap;

use super::{Control, GroupSpec, LaunchTemplateSpec};
use crate::caller::{AccountId, Caller};
use crate::error::ApiError;
use crate::services::autoscaling;
use crate::services::ec2::create_launch_template;
use crate::state::autoscaling::group::AutoScalingGroup;

impl Control {
    /// Makes a launch template as the account's root user, without a call. Gives its id.
    pub fn add_launch_template(&self, spec: &LaunchTemplateSpec) -> Result<String, ApiError> {
        let mut form = BTreeMap::from([("LaunchTemplateName".to_owned(), spec.name.clone())]);
        form.extend(spec.data.iter().map(|(name, value)| (format!("LaunchTemplateData.{name}"), value.clone())));
        for (index, (key, value)) in spec.tags.iter().enumerate() {
            let tag = format!("TagSpecification.1.Tag.{}", index + 1);
            form.insert("TagSpecification.1.ResourceType".to_owned(), "launch-template".to_owned());
            form.extend([(format!("{tag}.Key"), key.clone()), (format!("{tag}.Value"), value.clone())]);
        }
        let caller = Caller { id: self.root(&spec.account)?, region: spec.region.clone() };
        create_launch_template::make(&self.ec2_call(&caller, &form)).map(|template| template.id)
    }

    /// Makes a group as the account's root user, without a call.
    pub fn add_group(&self, spec: &GroupSpec) -> Result<(), ApiError> {
        let text = str::to_owned;
        let mut form = BTreeMap::from([
            (text("AutoScalingGroupName"), spec.name.clone()),
            (text("LaunchTemplate.LaunchTemplateId"), spec.launch_template.clone()),
            (text("LaunchTemplate.Version"), spec.version.clone()),
            (text("MinSize"), spec.min.to_string()),
            (text("MaxSize"), spec.max.to_string()),
            (text("DesiredCapacity"), spec.desired.to_string()),
        ]);
        let subnets = if spec.subnets.is_empty() {
            let subnets = self.subnets(&spec.account, &spec.region);
            subnets.into_iter().filter(|subnet| subnet.default_for_zone).map(|subnet| subnet.id).collect()
        } else {
            spec.subnets.clone()
        };
        form.insert(text("VPCZoneIdentifier"), subnets.join(","));
        for (index, (key, value)) in spec.tags.iter().enumerate() {
            let tag = format!("Tags.member.{}", index + 1);
            form.extend([(format!("{tag}.Key"), key.clone()), (format!("{tag}.Value"), value.clone())]);
            form.insert(format!("{tag}.PropagateAtLaunch"), text("true"));
        }
        let caller = Caller { id: self.root(&spec.account)?, region: spec.region.clone() };
        autoscaling::carry_out(&self.state, &caller, "CreateAutoScalingGroup", &form).map(|_made| ())
    }

    /// The account's groups in a region, with their instances, refreshes and activities.
    pub fn groups(&self, account: &AccountId, region: &str) -> Vec<AutoScalingGroup> {
        let now = self.now();
        self.state.ec2.with(now, |world| world.estate(account, region, now).groups.values().cloned().collect())
    }

    pub fn group(&self, account: &AccountId, region: &str, name: &str) -> Option<AutoScalingGroup> {
        let now = self.now();
        self.state.ec2.with(now, |world| world.estate(account, region, now).groups.get(name).cloned())
    }

    /// Suspends a process of a group as AWS itself does, with its reason; `None`: resumes it.
    pub fn suspend_process(
        &self,
        account: &AccountId,
        region: &str,
        group: &str,
        process: &str,
        reason: Option<&str>,
    ) -> Result<(), ApiError> {
        self.on_group(account, region, group, |group| match reason {
            Some(reason) => {
                group.suspended.insert(process.to_owned(), reason.to_owned());
            }
            None => {
                group.suspended.remove(process);
            }
        })
    }

    /// Makes a service the only one that may change the group, e.g. `eks.amazonaws.com`.
    pub fn set_group_operator(
        &self,
        account: &AccountId,
        region: &str,
        group: &str,
        operator: Option<&str>,
    ) -> Result<(), ApiError> {
        self.on_group(account, region, group, |group| group.operator = operator.map(str::to_owned))
    }

    /// Whether a CloudWatch alarm is in the ALARM state. A refresh that names it fails.
    pub fn set_alarm(&self, account: &AccountId, region: &str, name: &str, on: bool) {
        let now = self.now();
        self.state.ec2.with(now, |world| world.set_alarm(account, region, name, on, now));
    }

    fn on_group(
        &self,
        account: &AccountId,
        region: &str,
        name: &str,
        change: impl FnOnce(&mut AutoScalingGroup),
    ) -> Result<(), ApiError> {
        let now = self.now();
        self.state.ec2.with(now, |world| {
            let group = world.estate(account, region, now).groups.get_mut(name);
            change(group.ok_or_else(|| autoscaling::not_found(name))?);
            world.keep_group(account, region, name, now);
            Ok(())
        })
    }
}
