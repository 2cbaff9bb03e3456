//! Which of an owner's machines there are, as far as can be known.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    ids::{ClientToken, InstanceId, Role, Uid},
    workers::instance::Instance,
};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// What EC2 shows of the owner's machines, those on their way out included.
    pub machines: BTreeMap<InstanceId, Sighting>,
    /// Believed in and over: EC2 says so of the very id, or knows no such id for long enough.
    pub gone: BTreeSet<InstanceId>,
    /// Believed in, not shown, and not proven to be gone. They count.
    pub unseen: BTreeMap<InstanceId, Known>,
    /// Those of them that EC2 does not show for longer than the grace and that cannot be taken for gone: they are too many
    /// at once, or it does not say that it knows nothing of them.
    pub vanished: BTreeSet<InstanceId>,
    /// How many more there were when somebody else wrote the record. They count, too.
    pub nameless: BTreeMap<Role, u32>,
    /// Live machines of an earlier object of the same name.
    pub orphans: BTreeMap<InstanceId, Uid>,
    /// Machines that carry the owner's tags without being its own.
    pub strangers: BTreeSet<InstanceId>,
}

/// What is known of a machine that is not shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    pub role: Role,
    /// Empty where it is not known.
    pub revision: String,
}

impl Known {
    pub fn of(instance: &Instance) -> Self {
        let role = Role::try_from(instance.role()).unwrap_or_default();
        Self { role, revision: instance.revision().into() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    pub instance: Instance,
    /// Shown by the sweep too, not only when asked for by id.
    pub swept: bool,
    /// EC2's system and instance status checks passed. False when they were not asked for.
    pub checks_passed: bool,
}

impl Roster {
    pub fn is_over(&self, id: &InstanceId) -> bool {
        self.gone.contains(id) || self.machines.get(id).is_some_and(|m| m.instance.state.is_over())
    }

    /// Whether anybody who sweeps from now on knows what became of `id`.
    pub fn is_settled(&self, id: &InstanceId) -> bool {
        self.is_over(id) || self.machines.get(id).is_some_and(|m| m.swept)
    }

    /// Whether anything is said of `id` in here.
    pub fn knows(&self, id: &InstanceId) -> bool {
        self.machines.contains_key(id) || self.gone.contains(id) || self.unseen.contains_key(id)
    }

    /// How many machines of each group are there or may be.
    pub fn left(&self) -> BTreeMap<&str, u32> {
        let shown =
            self.machines.values().map(|machine| &machine.instance).filter(|instance| !instance.state.is_over());
        let shown = shown.map(|instance| (instance.role(), 1));
        let unseen = self.unseen.values().map(|known| (known.role.as_str(), 1));
        let nameless = self.nameless.iter().map(|(role, count)| (role.as_str(), *count));
        let mut left = BTreeMap::new();
        for (role, count) in shown.chain(unseen).chain(nameless) {
            *left.entry(role).or_default() += count;
        }
        left
    }

    pub fn launched_with<'a>(&'a self, token: &'a ClientToken) -> impl Iterator<Item = &'a Sighting> + 'a {
        self.machines.values().filter(move |machine| machine.instance.client_token == token.as_str())
    }
}
