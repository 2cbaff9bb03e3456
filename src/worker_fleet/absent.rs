//! The FleetReport that a fleet goes by, where there is none. Meanwhile nobody becomes ready, and nobody is late.

use crate::{
    context::Context,
    reporting,
    worker_fleet::desired::Desired,
    workers::{health::ReadinessCheck, memory::Memory},
};

/// A FleetReport that the spec names and that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AbsentReport {
    pub name: String,
    /// It has been missing for too long to be merely applied a little later.
    pub stalls: bool,
}

impl AbsentReport {
    pub(super) fn of(ctx: &Context, namespace: &str, desired: &Desired, memory: &mut Memory) -> Option<Self> {
        let name = match desired.readiness.criteria.check {
            ReadinessCheck::Report => desired.readiness.report.clone(),
            ReadinessCheck::Running | ReadinessCheck::StatusChecks => None,
        };
        // After a start, what is not known yet is not said to be missing.
        let absent = name.filter(|name| matches!(ctx.references.exists(reporting::KIND, namespace, name), Ok(false)));
        let Some(name) = absent else {
            memory.report_absent_since = None;
            return None;
        };
        let now = ctx.clock.monotonic();
        let since = *memory.report_absent_since.get_or_insert(now);
        Some(Self { name, stalls: now.saturating_duration_since(since) >= ctx.config.timings.reference_grace })
    }

    pub(super) fn message(&self) -> String {
        format!(
            "FleetReport {} does not exist in this namespace, so none can become ready; create it, or change \
             spec.readiness.reportRef",
            self.name
        )
    }
}
