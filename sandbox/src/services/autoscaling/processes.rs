//! SuspendProcesses and ResumeProcesses

use super::call::{GroupCall, Operation, invalid, list, required};
use crate::error::ApiError;
use crate::protocol::xml::{Xml, iso};
use crate::state::autoscaling::group::PROCESSES;
use crate::state::throttle::MUTATING;

pub(super) const SUSPEND: Operation = Operation { name: "SuspendProcesses", requests: MUTATING, run: suspend };
pub(super) const RESUME: Operation = Operation { name: "ResumeProcesses", requests: MUTATING, run: resume };

/// The group and the processes, all where none is named.
fn read<'a>(call: &'a GroupCall<'_>) -> Result<(&'a str, Vec<&'a str>), ApiError> {
    let root = call.root();
    let name = required(&root, "AutoScalingGroupName")?;
    let mut processes = list(&root, "ScalingProcesses");
    call.params.finish()?;
    if let Some(unknown) = processes.iter().find(|process| !PROCESSES.contains(process)) {
        return Err(invalid(format!(
            "Scaling process '{unknown}' is not valid. Valid processes: {}",
            PROCESSES.join(", ")
        )));
    }
    if processes.is_empty() {
        processes.extend(PROCESSES);
    }
    Ok((name, processes))
}

fn suspend(call: &GroupCall<'_>) -> Result<Xml, ApiError> {
    let (name, processes) = read(call)?;
    call.change(name, |group| {
        for process in processes {
            let reason = || format!("User suspended at {}", iso(call.now));
            group.suspended.entry(process.to_owned()).or_insert_with(reason);
        }
        Ok(Xml::default())
    })
}

fn resume(call: &GroupCall<'_>) -> Result<Xml, ApiError> {
    let (name, processes) = read(call)?;
    call.change(name, |group| {
        group.suspended.retain(|process, _| !processes.contains(&process.as_str()));
        group.retry = None;
        Ok(Xml::default())
    })
}
