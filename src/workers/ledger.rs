//! What an object has on record about its machines: the part of a status that safety rests on.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    ids::{ClientToken, InstanceId},
    workers::launch::{LaunchIntent, Termination},
};

/// At most this many launched machines may be unsettled at once: their ids stand in the status.
pub const MAX_OPEN_LAUNCHED: u32 = 1000;
/// And at most this many calls.
pub const MAX_OPEN_CALLS: usize = 100;
/// At most this many victims may be unsettled at once, which is also what one TerminateInstances takes.
pub const MAX_OPEN_VICTIMS: usize = 1000;
pub const MAX_ADOPTED: usize = 1000;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    pub launches: Vec<LaunchIntent>,
    pub terminations: Vec<Termination>,
    pub adopted: Vec<InstanceId>,
}

impl Ledger {
    /// Whether calls were made, or may have been, whose effect is not seen yet.
    pub fn is_open(&self) -> bool {
        !self.launches.is_empty() || !self.terminations.is_empty()
    }

    pub fn launch(&self, token: &ClientToken) -> Option<&LaunchIntent> {
        self.launches.iter().find(|intent| &intent.token == token)
    }

    pub fn victims(&self) -> BTreeSet<InstanceId> {
        self.terminations.iter().flat_map(|t| t.instance_ids.iter().cloned()).collect()
    }

    pub fn adopted(&self) -> BTreeSet<InstanceId> {
        self.adopted.iter().cloned().collect()
    }

    /// Every id that the ledger names.
    pub fn named(&self) -> BTreeSet<InstanceId> {
        let launched = self.launches.iter().flat_map(|intent| intent.instance_ids.iter().cloned());
        launched.chain(self.victims()).chain(self.adopted.iter().cloned()).collect()
    }

    /// The revisions that open launches name.
    pub fn revisions(&self) -> BTreeSet<String> {
        self.launches.iter().map(|intent| intent.revision.clone()).collect()
    }

    /// Takes in what calls came to.
    pub fn settle(&mut self, outcomes: &BTreeMap<ClientToken, Settlement>) {
        self.launches.retain_mut(|intent| match outcomes.get(&intent.token) {
            Some(Settlement::Launched(ids)) => {
                intent.instance_ids.clone_from(ids);
                true
            }
            Some(Settlement::NothingLaunched) => false,
            Some(Settlement::Unknown) | None => true,
        });
    }

    /// Strikes victims that are over, and terminations that have none left.
    pub fn strike_victims(&mut self, over: impl Fn(&InstanceId) -> bool) {
        for termination in &mut self.terminations {
            termination.instance_ids.retain(|id| !over(id));
        }
        self.terminations.retain(|termination| !termination.instance_ids.is_empty());
    }
}

/// What a RunInstances call came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    Launched(Vec<InstanceId>),
    /// It surely launched nothing, nor did an earlier call with the same token.
    NothingLaunched,
    /// It may have launched something or nothing.
    Unknown,
}
