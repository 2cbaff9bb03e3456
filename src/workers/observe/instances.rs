//! The instances of an owner, as far as they are known.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    aws::ec2::instance::Instance,
    crd::launches::Adopted,
    ids::{ClientToken, InstanceId, MAIN_ROLE, Role, Uid},
    workers::observe::tampered::Tampered,
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
    pub orphans: BTreeMap<InstanceId, Orphan>,
    /// Instances with the owner's tags that it did not launch.
    pub foreign: BTreeSet<InstanceId>,
    /// Recorded as adopted, but no grant covers them. They count, and nothing is done to them.
    pub withheld: BTreeSet<InstanceId>,
}

/// An instance of an earlier object of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// The uid of the earlier object.
    pub uid: Uid,
    pub role: Role,
}

/// What an instance was launched or adopted as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownInstance {
    pub role: Role,
    /// Empty where it is not known.
    pub revision: String,
}

impl From<&Adopted> for KnownInstance {
    fn from(adopted: &Adopted) -> Self {
        Self { role: adopted.role.clone(), revision: adopted.revision.clone().unwrap_or_default() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedInstance {
    pub instance: Instance,
    pub known: KnownInstance,
    /// Its tags do not match its launch. It counts, and it is terminated only with its owner.
    pub tampered: Option<Tampered>,
    /// The sweep shows it, not only a call by id.
    pub swept: bool,
    /// The system and instance status checks passed. False when they were not requested.
    pub checks_passed: bool,
}

#[cfg(test)]
impl ObservedInstance {
    /// An instance whose tags are true, as a sweep shows it.
    pub fn sample(instance: Instance) -> Self {
        let tags = instance.tagged_as();
        let known =
            KnownInstance { role: Role::try_from(tags.role).unwrap_or_default(), revision: tags.revision.into() };
        Self { instance, known, tampered: None, swept: true, checks_passed: true }
    }
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
        let shown = self.shown.values().filter(|worker| !worker.instance.state.is_over());
        let shown = shown.map(|worker| (worker.known.role.as_str(), 1));
        let missing = self.missing.values().map(|known| (known.role.as_str(), 1));
        let unlisted = self.unlisted.iter().map(|(role, count)| (role.as_str(), *count));
        let mut left = BTreeMap::new();
        let withheld = self.withheld.iter().map(|_| (MAIN_ROLE, 1));
        for (role, count) in shown.chain(missing).chain(unlisted).chain(withheld) {
            *left.entry(role).or_default() += count;
        }
        left
    }

    /// The live instances whose tags do not match their launch.
    pub fn tampered(&self) -> impl Iterator<Item = (&InstanceId, &Tampered)> {
        let live = self.shown.iter().filter(|(_, worker)| !worker.instance.state.is_over());
        live.filter_map(|(id, worker)| Some((id, worker.tampered.as_ref()?)))
    }

    pub fn launched_with<'a>(&'a self, token: &'a ClientToken) -> impl Iterator<Item = &'a ObservedInstance> + 'a {
        self.shown.values().filter(move |worker| worker.instance.client_token == token.as_str())
    }
}
