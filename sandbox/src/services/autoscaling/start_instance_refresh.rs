//! StartInstanceRefresh

use super::call::{GroupCall, Operation, invalid, not_found, required};
use super::preferences;
use super::source::{self, AskedSource};
use crate::error::ApiError;
use crate::protocol::xml::Xml;
use crate::state::autoscaling::config::LaunchSource;
use crate::state::autoscaling::group::AutoScalingGroup;
use crate::state::autoscaling::refresh::Refresh;
use crate::state::ec2::launch_template::LaunchTemplates;
use crate::state::throttle::MUTATING;

pub(super) const OPERATION: Operation = Operation { name: "StartInstanceRefresh", requests: MUTATING, run };

fn run(call: &GroupCall<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let name = required(&root, "AutoScalingGroupName")?;
    if root.text("Strategy").is_some_and(|strategy| strategy != "Rolling") {
        return Err(invalid("The sandbox refreshes by the strategy Rolling only."));
    }
    let desired = root.child("DesiredConfiguration");
    let desired = desired.map(|scope| AskedSource::read(&scope)?.ok_or_else(neither)).transpose()?;
    if desired.as_ref().is_some_and(AskedSource::is_configuration) {
        return Err(neither());
    }
    let preferences = preferences::read(&root)?;
    call.params.finish()?;
    let (account, region) = (&call.caller.id.account, &call.caller.region);
    call.with(|world| {
        let estate = world.estate(account, region, call.now);
        let group = estate.groups.get(name).ok_or_else(|| not_found(name))?.clone();
        if group.active_refresh().is_some() {
            let message =
                "An Instance Refresh is already in progress and blocks the execution of this Instance Refresh.";
            return Err(ApiError::new("InstanceRefreshInProgress", message));
        }
        let desired = desired.map(|asked| asked.resolve(call, &estate.launch_templates)).transpose()?;
        if preferences.auto_rollback {
            check_rollback(&group, desired.as_ref(), &estate.launch_templates)?;
        }
        if let Some(desired) = &desired {
            source::check(call, world, &group, desired)?;
        }
        let refresh = Refresh::new(preferences, desired, call.now);
        let mut xml = Xml::default();
        xml.text("InstanceRefreshId", &refresh.id);
        call.change_in(world, name, |group| {
            group.refreshes.push(refresh);
            Ok(xml)
        })
    })
}

fn neither() -> ApiError {
    invalid("A desired configuration must specify either a LaunchTemplate or a MixedInstancesPolicy.")
}

fn check_rollback(
    group: &AutoScalingGroup,
    desired: Option<&LaunchSource>,
    templates: &LaunchTemplates,
) -> Result<(), ApiError> {
    let Some(desired) = desired else {
        return Err(invalid(
            "The request isn't valid. The AutoRollback parameter cannot be set to true when the DesiredConfiguration \
             parameter is empty. Set AutoRollback to false or specify a desired configuration and try again.",
        ));
    };
    for source in [&group.launch, desired] {
        if !source.stays_as_it_is(templates) {
            return Err(invalid(
                "The request isn't valid. The AutoRollback parameter cannot be set to true when a launch template \
                 version is $Latest or $Default, or when a launch template uses an AWS Systems Manager parameter \
                 instead of an AMI ID. Set AutoRollback to false or specify a version number and try again.",
            ));
        }
    }
    Ok(())
}
