//! DeleteAutoScalingGroup

use super::call::{GroupCall, Operation, required};
use crate::error::ApiError;
use crate::protocol::xml::Xml;
use crate::state::autoscaling::group::MemberState;
use crate::state::throttle::MUTATING;

pub(super) const OPERATION: Operation = Operation { name: "DeleteAutoScalingGroup", requests: MUTATING, run };

fn run(call: &GroupCall<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let name = required(&root, "AutoScalingGroupName")?;
    let force = root.boolean("ForceDelete")?.unwrap_or(false);
    call.params.finish()?;
    call.change(name, |group| {
        let moves = group
            .members
            .values()
            .any(|member| matches!(member.state, MemberState::Pending | MemberState::Terminating));
        if moves && !force {
            let message =
                "You cannot delete an AutoScalingGroup while there are scaling activities in progress for that group.";
            return Err(ApiError::new("ScalingActivityInProgress", message));
        }
        if !group.members.is_empty() && !force {
            let message = "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance \
                           request(s) still in the group.";
            return Err(ApiError::new("ResourceInUse", message));
        }
        group.deleting = true;
        group.desired_capacity = 0;
        group.min_size = 0;
        Ok(Xml::default())
    })
}
