//! SetDesiredCapacity

use super::call::{GroupCall, Operation, invalid, null, required};
use crate::error::ApiError;
use crate::protocol::xml::Xml;
use crate::state::throttle::MUTATING;

pub(super) const OPERATION: Operation = Operation { name: "SetDesiredCapacity", requests: MUTATING, run };

fn run(call: &GroupCall<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let name = required(&root, "AutoScalingGroupName")?;
    let desired: u32 = root.integer("DesiredCapacity")?.ok_or_else(|| null("DesiredCapacity"))?;
    // Cooldowns follow simple scaling policies, which the sandbox has not.
    root.boolean("HonorCooldown")?;
    call.params.finish()?;
    call.change(name, |group| {
        let (min, max) = (group.min_size, group.max_size);
        let bound = match desired {
            above if above > max => Some(("above max", max)),
            below if below < min => Some(("below min", min)),
            _good => None,
        };
        if let Some((side, bound)) = bound {
            return Err(invalid(format!(
                "New SetDesiredCapacity value {desired} is {side} value {bound} for the AutoScalingGroup."
            )));
        }
        group.desired_capacity = desired;
        Ok(Xml::default())
    })
}
