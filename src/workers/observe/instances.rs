//! The instances of an owner, as far as they are known.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    aws::ec2::instance::Instance,
    ids::{ClientToken, InstanceId, Role, Uid},
};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedInstances {
    /// The owner's instances that EC2 shows, terminating ones included.
    pub shown: BTreeMap<InstanceId, ObservedInstance>,
    /// Known instances that are gone: EC2 says so for the id, or has not known the id for long enough.
    pub gone: BTreeSet<InstanceId>,
    /// Known instances that EC2 does not show and that are not proven to be gone. They count.
    pub missing: BTreeMap<InstanceId, KnownInstance>,
    /// The missing ones that exceed the grace period and cannot be assumed to be gone: they are too many at once, or
    /// EC2 does not say that it does not know their ids.
    pub overdue: BTreeSet<InstanceId>,
    /// How many more instances the record of another process counts. They count too.
    pub unlisted: BTreeMap<Role, u32>,
    /// Live instances of an earlier object of the same name.
    pub orphans: BTreeMap<InstanceId, Uid>,
    /// Instances with the owner's tags that it did not launch.
    pub foreign: BTreeSet<InstanceId>,
}

/// What is known of an instance that EC2 does not show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownInstance {
    pub role: Role,
    /// Empty where it is not known.
    pub revision: String,
}

impl KnownInstance {
    pub fn of(instance: &Instance) -> Self {
        let role = Role::try_from(instance.role()).unwrap_or_default();
        Self { role, revision: instance.revision().into() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedInstance {
    pub instance: Instance,
    /// The sweep shows it, not only a call by id.
    pub swept: bool,
    /// The system and instance status checks passed. False when they were not requested.
    pub checks_passed: bool,
}

impl ObservedInstances {
    pub fn is_over(&self, id: &InstanceId) -> bool {
        self.gone.contains(id) || self.shown.get(id).is_some_and(|m| m.instance.state.is_over())
    }

    /// Whether every later sweep shows the state of `id`.
    pub fn is_settled(&self, id: &InstanceId) -> bool {
        self.is_over(id) || self.shown.get(id).is_some_and(|m| m.swept)
    }

    pub fn knows(&self, id: &InstanceId) -> bool {
        self.shown.contains_key(id) || self.gone.contains(id) || self.missing.contains_key(id)
    }

    /// How many instances of each role exist or may exist.
    pub fn left(&self) -> BTreeMap<&str, u32> {
        let shown = self.shown.values().map(|worker| &worker.instance).filter(|instance| !instance.state.is_over());
        let shown = shown.map(|instance| (instance.role(), 1));
        let missing = self.missing.values().map(|known| (known.role.as_str(), 1));
        let unlisted = self.unlisted.iter().map(|(role, count)| (role.as_str(), *count));
        let mut left = BTreeMap::new();
        for (role, count) in shown.chain(missing).chain(unlisted) {
            *left.entry(role).or_default() += count;
        }
        left
    }

    pub fn launched_with<'a>(&'a self, token: &'a ClientToken) -> impl Iterator<Item = &'a ObservedInstance> + 'a {
        self.shown.values().filter(move |worker| worker.instance.client_token == token.as_str())
    }
}
