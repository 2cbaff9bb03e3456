//! CancelInstanceRefresh

use super::call::{GroupCall, Operation, required};
use crate::error::ApiError;
use crate::protocol::xml::Xml;
use crate::state::autoscaling::refresh::RefreshStatus;
use crate::state::throttle::MUTATING;

pub(super) const OPERATION: Operation = Operation { name: "CancelInstanceRefresh", requests: MUTATING, run };

fn run(call: &GroupCall<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let name = required(&root, "AutoScalingGroupName")?;
    let waits = root.boolean("WaitForTransitioningInstances")?.unwrap_or(true);
    call.params.finish()?;
    call.change(name, |group| {
        let active = group.active_refresh_mut().filter(|refresh| refresh.status != RefreshStatus::Cancelling);
        let refresh = active.ok_or_else(|| none_in_progress(name))?;
        let reason = Some("Cancelled due to user request.".to_owned());
        if refresh.started.is_none() {
            refresh.end(RefreshStatus::Cancelled, reason, call.now);
        } else {
            refresh.status = RefreshStatus::Cancelling;
            refresh.status_reason = reason;
            refresh.plan.ends_with_transitions = waits;
            refresh.plan.surge = 0;
        }
        let mut xml = Xml::default();
        xml.text("InstanceRefreshId", &refresh.id);
        Ok(xml)
    })
}

pub(super) fn none_in_progress(group: &str) -> ApiError {
    let message = format!("No in progress or pending Instance Refresh found for Auto Scaling group {group}");
    ApiError::new("ActiveInstanceRefreshNotFound", message)
}
