//! UpdateAutoScalingGroup

use super::call::{GroupCall, Operation, invalid, not_found, required};
use super::settings::Settings;
use super::source::{self, AskedSource};
use crate::error::ApiError;
use crate::protocol::xml::Xml;
use crate::state::throttle::MUTATING;

pub(super) const OPERATION: Operation = Operation { name: "UpdateAutoScalingGroup", requests: MUTATING, run };

fn run(call: &GroupCall<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let name = required(&root, "AutoScalingGroupName")?;
    let source = AskedSource::read(&root)?;
    let settings = Settings::read(&root)?;
    call.params.finish()?;
    let (account, region) = (&call.caller.id.account, &call.caller.region);
    call.with(|world| {
        let estate = world.estate(account, region, call.now);
        let mut changed = estate.groups.get(name).ok_or_else(|| not_found(name))?.clone();
        if changed.deleting {
            let message = "You cannot update an AutoScalingGroup while it is pending deletion.";
            return Err(ApiError::new("ScalingActivityInProgress", message));
        }
        settings.apply(&mut changed, estate)?;
        if let Some(source) = source {
            if changed.active_refresh().is_some_and(|refresh| refresh.desired.is_some()) {
                return Err(invalid(
                    "An active instance refresh with a desired configuration exists. All configuration options derived \
                     from the desired configuration are not available for update while the instance refresh is active.",
                ));
            }
            changed.launch = source.resolve(call, &estate.launch_templates)?;
            source::check(call, world, &changed, &changed.launch)?;
        }
        call.change_in(world, name, |group| {
            *group = changed;
            Ok(Xml::default())
        })
    })
}
