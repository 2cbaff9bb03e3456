//! A FleetReport that readiness depends on and that does not exist. Meanwhile no worker becomes ready, and none is
//! late.

use crate::{
    crd::worker_fleet::WorkerFleet, inventory::reporters, kinds::worker_fleet::desired::Desired, workers::kind::Pass,
};

/// A FleetReport that the spec names and that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AbsentReport {
    pub name: String,
    /// It has been missing for longer than the grace period, in which it may still be applied.
    pub stalls: bool,
}

impl AbsentReport {
    pub(super) fn of(pass: &mut Pass<'_, WorkerFleet>, desired: &Desired) -> Option<Self> {
        let Pass { ctx, live, memory, .. } = pass;
        // After a start, a report that is not known yet does not count as missing.
        let exists = |name: &String| ctx.references.exists(reporters::KIND, live.namespace(), name);
        let Some(name) = desired.report.clone().filter(|name| matches!(exists(name), Ok(false))) else {
            memory.report_absent_since = None;
            return None;
        };
        let now = ctx.clock.monotonic();
        let since = *memory.report_absent_since.get_or_insert(now);
        Some(Self { name, stalls: now.saturating_duration_since(since) >= ctx.config.timings.reference_grace })
    }

    pub(super) fn message(&self) -> String {
        format!(
            "FleetReport {} does not exist in this namespace, so no worker can become ready; create it, or change \
             spec.readiness.reportRef",
            self.name
        )
    }
}
