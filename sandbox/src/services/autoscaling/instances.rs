//! SetInstanceProtection, SetInstanceHealth and TerminateInstanceInAutoScalingGroup

use super::call::{GroupCall, Operation, invalid, list, not_found, null, required};
use super::group_xml;
use super::standby::unknown;
use crate::error::ApiError;
use crate::protocol::xml::{Xml, iso};
use crate::state::throttle::MUTATING;

pub(super) const PROTECT: Operation = Operation { name: "SetInstanceProtection", requests: MUTATING, run: protect };
pub(super) const HEALTH: Operation = Operation { name: "SetInstanceHealth", requests: MUTATING, run: set_health };
pub(super) const TERMINATE: Operation =
    Operation { name: "TerminateInstanceInAutoScalingGroup", requests: MUTATING, run: terminate };

fn protect(call: &GroupCall<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let name = required(&root, "AutoScalingGroupName")?;
    let ids = list(&root, "InstanceIds");
    let protected = root.boolean("ProtectedFromScaleIn")?.ok_or_else(|| null("ProtectedFromScaleIn"))?;
    call.params.finish()?;
    if ids.is_empty() || ids.len() > 50 {
        return Err(invalid("Between 1 and 50 instance ids must be given."));
    }
    call.change(name, |group| {
        let find = |id: &&str| group.sequence_of(id).ok_or_else(|| unknown(id, name));
        let found = ids.iter().map(find).collect::<Result<Vec<u64>, _>>()?;
        for sequence in found {
            if let Some(member) = group.members.get_mut(&sequence) {
                member.protected_from_scale_in = protected;
            }
        }
        Ok(Xml::default())
    })
}

/// The name of the group that an instance is in.
fn group_of(call: &GroupCall<'_>, id: &str) -> Result<String, ApiError> {
    call.with(|world| {
        let groups = &world.estate(&call.caller.id.account, &call.caller.region, call.now).groups;
        let found = groups.values().find(|group| group.sequence_of(id).is_some());
        let missing = || invalid(format!("Instance Id not found - No managed instance found for instance ID: {id}"));
        found.map(|group| group.name.clone()).ok_or_else(missing)
    })
}

fn set_health(call: &GroupCall<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let id = required(&root, "InstanceId")?;
    let status = required(&root, "HealthStatus")?;
    let respects = root.boolean("ShouldRespectGracePeriod")?.unwrap_or(true);
    call.params.finish()?;
    let healthy = match status {
        "Healthy" => true,
        "Unhealthy" => false,
        _other => return Err(invalid("Valid instance health states are: [Healthy, Unhealthy].")),
    };
    call.change(&group_of(call, id)?, |group| {
        let grace = group.grace();
        let member = group.sequence_of(id).and_then(|sequence| group.members.get_mut(&sequence));
        let member = member.ok_or_else(|| unknown(id, ""))?;
        let young = member.in_service_since.is_none_or(|since| since + grace > call.now);
        if healthy || !respects || !young {
            member.healthy = healthy;
        }
        Ok(Xml::default())
    })
}

fn terminate(call: &GroupCall<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let id = required(&root, "InstanceId")?;
    let decrement = root.boolean("ShouldDecrementDesiredCapacity")?;
    let decrement = decrement.ok_or_else(|| null("ShouldDecrementDesiredCapacity"))?;
    call.params.finish()?;
    let name = group_of(call, id)?;
    let (account, region) = (&call.caller.id.account, &call.caller.region);
    call.with(|world| {
        let groups = &mut world.estate(account, region, call.now).groups;
        let group = groups.get_mut(&name).ok_or_else(|| not_found(&name))?;
        let sequence = group.sequence_of(id).ok_or_else(|| unknown(id, &name))?;
        if decrement && group.desired_capacity <= group.min_size {
            return Err(invalid(
                "Currently, desiredSize equals minSize. Terminating instance without replacement will violate group's \
                 min size constraint. Either set shouldDecrementDesiredCapacity flag to false or lower group's min size.",
            ));
        }
        group.desired_capacity -= u32::from(decrement);
        let cause = format!("At {} instance {id} was taken out of service in response to a user request.", iso(call.now));
        let mut xml = Xml::default();
        if let Some(activity) = world.dismiss(account, region, &name, sequence, cause, call.now) {
            xml.element("Activity", |xml| group_xml::activity(xml, &name, &activity));
        }
        Ok(xml)
    })
}
