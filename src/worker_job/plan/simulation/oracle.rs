//! What must hold at every moment.

use std::collections::BTreeMap;

use proptest::{prelude::*, test_runner::TestCaseError};

use super::{BACKOFF, PARALLELISM, world::World};
use crate::{
    ids::InstanceId,
    workers::{instance::InstanceState, progress::JobOutcome},
};

impl World {
    pub(super) fn check(&self, finished: Option<JobOutcome>) -> Result<(), TestCaseError> {
        let mut at_work: BTreeMap<u32, Vec<&InstanceId>> = BTreeMap::new();
        for (id, machine) in self.machines.iter().filter(|(_, machine)| machine.works()) {
            at_work.entry(machine.index()).or_default().push(id);
        }
        let twice = at_work.iter().find(|(_, ids)| ids.len() > 1);
        prop_assert!(twice.is_none(), "an index runs twice at once: {twice:?}");
        let victims = self.ledger.victims();
        let live = self.machines.iter().filter(|(id, m)| m.state == InstanceState::Running && !victims.contains(*id));
        prop_assert!(live.count() <= PARALLELISM as usize, "more than {PARALLELISM} are live");
        let progress = &self.ledger.progress;
        let believed = progress.completed.iter().find(|index| !self.succeeded.contains(index));
        prop_assert!(believed.is_none(), "nobody succeeded at {believed:?}");
        let failed = |index: &u32| self.failures.get(index).copied().unwrap_or_default();
        let blamed = progress.failed.iter().find(|index| failed(index) <= BACKOFF);
        prop_assert!(blamed.is_none(), "{blamed:?} failed {:?} times only", blamed.map(|index| failed(&index)));
        let counted = progress.failures.iter().find(|(index, count)| **count > failed(index));
        prop_assert!(counted.is_none(), "counted too often: {counted:?}");
        prop_assert!(self.lost.is_empty(), "ended before its success was on record: {:?}", self.lost);
        if let Some(finished) = finished {
            prop_assert_eq!(progress.finished.map(|finish| finish.outcome), Some(finished), "changed its mind");
        }
        Ok(())
    }
}
