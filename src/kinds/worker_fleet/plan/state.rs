//! The state of a fleet's workers.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    aws::cpu_samples::CpuSamples,
    ids::{InstanceId, Role},
    workers::observe::{health::Health, instances::ObservedInstance},
};

#[derive(Clone, Debug, Default)]
pub(in crate::kinds::worker_fleet) struct State {
    pub health: BTreeMap<InstanceId, Health>,
    /// The revisions of each role whose workers an update replaces.
    pub outdated: BTreeMap<Role, BTreeSet<String>>,
    /// The CPU of the workers, as far as it is known.
    pub cpu: CpuSamples,
    /// The instances to adopt that exist and have no other owner.
    pub adoptable: BTreeSet<InstanceId>,
}

impl State {
    pub(in crate::kinds::worker_fleet) fn of(&self, worker: &ObservedInstance) -> Health {
        self.health.get(&worker.instance.id).copied().unwrap_or_default()
    }

    pub(in crate::kinds::worker_fleet) fn is_outdated(&self, role: &Role, revision: &str) -> bool {
        self.outdated.get(role).is_some_and(|revisions| revisions.contains(revision))
    }
}
