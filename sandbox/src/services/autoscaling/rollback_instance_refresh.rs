//! RollbackInstanceRefresh

use super::call::{GroupCall, Operation, not_found, required};
use super::cancel_instance_refresh::none_in_progress;
use crate::error::ApiError;
use crate::protocol::xml::Xml;
use crate::state::autoscaling::refresh::RefreshStatus;
use crate::state::autoscaling::rolling;
use crate::state::throttle::MUTATING;

pub(super) const OPERATION: Operation = Operation { name: "RollbackInstanceRefresh", requests: MUTATING, run };

fn run(call: &GroupCall<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let name = required(&root, "AutoScalingGroupName")?;
    call.params.finish()?;
    let (account, region) = (&call.caller.id.account, &call.caller.region);
    call.with(|world| {
        let last = world.last_sequence();
        let estate = world.estate(account, region, call.now);
        let group = estate.groups.get(name).ok_or_else(|| not_found(name))?;
        let reversible = [RefreshStatus::Pending, RefreshStatus::InProgress, RefreshStatus::Baking];
        let active = group.active_refresh().filter(|refresh| reversible.contains(&refresh.status));
        let refresh = active.ok_or_else(|| none_in_progress(name))?;
        if refresh.desired.is_none() || !group.launch.stays_as_it_is(&estate.launch_templates) {
            let message = format!(
                "The instance refresh {} cannot be rolled back: it has no desired configuration, or the launch template \
                 of the Auto Scaling group uses an AWS Systems Manager parameter instead of an AMI ID, or the version \
                 $Latest or $Default.",
                refresh.id
            );
            return Err(ApiError::new("IrreversibleInstanceRefresh", message));
        }
        call.change_in(world, name, |group| {
            let mut xml = Xml::default();
            if let Some(mut refresh) = group.refreshes.pop() {
                let reason = "Rolled back due to user request.".to_owned();
                rolling::rollback(&mut refresh, group, reason, last, call.now);
                xml.text("InstanceRefreshId", &refresh.id);
                group.refreshes.push(refresh);
            }
            Ok(xml)
        })
    })
}
