//! EnterStandby and ExitStandby

use super::call::{GroupCall, Operation, invalid, list, null, required};
use super::group_xml;
use crate::error::ApiError;
use crate::protocol::xml::{Xml, iso};
use crate::state::autoscaling::activity::{Activity, ActivityStatus};
use crate::state::autoscaling::group::{AutoScalingGroup, Member, MemberState};
use crate::state::throttle::MUTATING;

pub(super) const ENTER: Operation = Operation { name: "EnterStandby", requests: MUTATING, run: enter };
pub(super) const EXIT: Operation = Operation { name: "ExitStandby", requests: MUTATING, run: exit };

/// The instances by their ids, all of them in the state.
pub(super) fn sequences(group: &AutoScalingGroup, ids: &[&str], state: MemberState) -> Result<Vec<u64>, ApiError> {
    let find = |id: &&str| {
        let sequence = group.sequence_of(id).ok_or_else(|| unknown(id, &group.name))?;
        if group.members[&sequence].state != state {
            return Err(invalid(format!("The instance {id} is not in {}.", state.name())));
        }
        Ok(sequence)
    };
    ids.iter().map(find).collect()
}

pub(super) fn unknown(id: &str, group: &str) -> ApiError {
    invalid(format!("The instance {id} is not part of Auto Scaling group {group}."))
}

fn enter(call: &GroupCall<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let name = required(&root, "AutoScalingGroupName")?;
    let ids = list(&root, "InstanceIds");
    let decrement = root.boolean("ShouldDecrementDesiredCapacity")?;
    let decrement = decrement.ok_or_else(|| null("ShouldDecrementDesiredCapacity"))?;
    call.params.finish()?;
    call.change(name, |group| {
        let found = sequences(group, &ids, MemberState::InService)?;
        let count = u32::try_from(found.len()).unwrap_or(u32::MAX);
        let after = group.desired_capacity.saturating_sub(if decrement { count } else { 0 });
        if after < group.min_size {
            return Err(invalid(format!(
                "AutoScalingGroup {name} has min-size={}, max-size={}, and desired-size={}. To place into standby {count} \
                 instance, please update the AutoScalingGroup sizes appropriately.",
                group.min_size, group.max_size, group.desired_capacity
            )));
        }
        group.desired_capacity = after;
        move_all(call, group, &found, ("Moving EC2 instance to Standby", MemberState::Standby))
    })
}

fn exit(call: &GroupCall<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let name = required(&root, "AutoScalingGroupName")?;
    let ids = list(&root, "InstanceIds");
    call.params.finish()?;
    call.change(name, |group| {
        let found = sequences(group, &ids, MemberState::Standby)?;
        let after = group.desired_capacity + u32::try_from(found.len()).unwrap_or(u32::MAX);
        if after > group.max_size {
            return Err(invalid(format!(
                "AutoScalingGroup {name} has max-size={}: it cannot take back {} more.",
                group.max_size,
                found.len()
            )));
        }
        group.desired_capacity = after;
        move_all(call, group, &found, ("Moving EC2 instance out of Standby", MemberState::InService))
    })
}

fn move_all(
    call: &GroupCall<'_>,
    group: &mut AutoScalingGroup,
    found: &[u64],
    (what, state): (&str, MemberState),
) -> Result<Xml, ApiError> {
    let mut activities = Vec::new();
    for sequence in found {
        let Some(member) = group.members.get_mut(sequence) else { continue };
        let Member { instance_id, .. } = &*member;
        let cause = format!("At {} the instance was moved in response to a user request.", iso(call.now));
        let mut activity = Activity::new(format!("{what}: {instance_id}"), cause, call.now).of(instance_id);
        activity.end(ActivityStatus::Successful, call.now);
        member.state = state;
        group.activities.add(activity.clone());
        activities.push(activity);
    }
    let mut xml = Xml::default();
    xml.members("Activities", &activities, |xml, activity| group_xml::activity(xml, &group.name, activity));
    Ok(xml)
}
