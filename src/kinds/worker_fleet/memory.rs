//! What this process remembers about a fleet between reconciles.

use std::{collections::BTreeSet, time::Instant};

use crate::{
    ids::InstanceId,
    kinds::worker_fleet::cpu::Subscription,
    workers::{memory::Memory, observe::health::ReadinessTracker, plan::progress_tracker::ProgressTracker},
};

#[derive(Debug, Default)]
pub struct FleetMemory {
    pub(super) workers: Memory,
    pub(super) readiness: ReadinessTracker,
    pub(super) progress: ProgressTracker,
    /// The instances whose startup deadline this process has reported.
    pub(super) reported: BTreeSet<InstanceId>,
    /// Since when the FleetReport that readiness depends on does not exist.
    pub(super) report_absent_since: Option<Instant>,
    /// While the fleet requests CPU metrics.
    pub(super) cpu: Option<Subscription>,
}

impl AsMut<Memory> for FleetMemory {
    fn as_mut(&mut self) -> &mut Memory {
        &mut self.workers
    }
}
