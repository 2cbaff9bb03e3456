//! What an object has on record about its machines: the part of a status that safety rests on.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ids::{ClientToken, InstanceId, Role},
    workers::{
        launch::{LaunchIntent, Termination},
        progress::Progress,
        roster::Known,
    },
};

/// At most this many launched machines may be unsettled at once: their ids stand in the status.
pub const MAX_OPEN_LAUNCHED: u32 = 1000;
/// And at most this many calls.
pub const MAX_OPEN_CALLS: usize = 100;
/// At most this many victims may be unsettled at once, which is also what one TerminateInstances takes.
pub const MAX_OPEN_VICTIMS: usize = 1000;
pub const MAX_ADOPTED: usize = 1000;

/// How many workers a group has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Provisioned {
    /// The group.
    #[schemars(with = "String", length(max = 63))]
    pub role: Role,
    /// How many it had been filled up to.
    #[schemars(with = "i32", range(min = 0))]
    pub replicas: u32,
    /// How many there are, with those that are on their way and those that EC2 does not show.
    #[serde(default)]
    #[schemars(with = "i32", range(min = 0))]
    pub existing: u32,
}

/// How many workers were replaced within ten minutes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Replacements {
    /// When the ten minutes began.
    pub since: Time,
    /// The number of workers.
    #[schemars(with = "i32", range(min = 0))]
    pub count: u32,
}

const SPAN: i64 = 600;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    pub launches: Vec<LaunchIntent>,
    pub terminations: Vec<Termination>,
    pub adopted: Vec<InstanceId>,
    /// How far the work is, where there are indexes to be worked through.
    pub progress: Progress,
    pub provisioned: Vec<Provisioned>,
    pub replacements: Vec<Replacements>,
}

/// What a record says of how many machines there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stock {
    provisioned: Vec<Provisioned>,
    launches: BTreeMap<ClientToken, Vec<InstanceId>>,
    victims: BTreeSet<InstanceId>,
}

impl Ledger {
    pub fn stock(&self) -> Stock {
        let launches = self.launches.iter().map(|intent| (intent.token.clone(), intent.instance_ids.clone()));
        Stock { provisioned: self.provisioned.clone(), launches: launches.collect(), victims: self.victims() }
    }

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
    pub fn named(&self) -> BTreeMap<InstanceId, Known> {
        let bare = self.victims().into_iter().chain(self.adopted.iter().cloned()).map(|id| (id, Known::default()));
        let launched = self.launches.iter().flat_map(|intent| {
            let known = Known { role: intent.role.clone(), revision: intent.revision.clone() };
            intent.instance_ids.iter().map(move |id| (id.clone(), known.clone()))
        });
        bare.chain(launched).collect()
    }

    /// The revisions that open launches name.
    pub fn revisions(&self) -> BTreeSet<String> {
        self.launches.iter().map(|intent| intent.revision.clone()).collect()
    }

    /// Takes in what calls came to.
    pub fn settle(&mut self, outcomes: &BTreeMap<ClientToken, Settlement>) {
        let mut told = Vec::new();
        self.launches.retain_mut(|intent| match outcomes.get(&intent.token) {
            Some(Settlement::Launched(ids)) => {
                intent.instance_ids.clone_from(ids);
                told.push((intent.clone(), ids.len()));
                true
            }
            Some(Settlement::NothingLaunched) => {
                told.push((intent.clone(), 0));
                false
            }
            Some(Settlement::Unknown) | None => true,
        });
        told.iter().for_each(|(intent, launched)| self.count_launched(intent, *launched));
    }

    /// Counts what a launch came to: what it replaced, and what its group does not have after all.
    pub fn count_launched(&mut self, intent: &LaunchIntent, launched: usize) {
        count(&mut self.replacements, intent, launched);
        let existing =
            self.provisioned.iter().find(|group| group.role == intent.role).map_or(0, |group| group.existing);
        let existing = existing.saturating_sub(intent.count.saturating_sub(launched as u32));
        self.set_existing(&intent.role, existing);
        let new = (launched as u32).saturating_sub(intent.replaces);
        let missing = intent.count.saturating_sub(intent.replaces).saturating_sub(new);
        if missing > 0 {
            // A surge adds nothing to what a group is filled up to.
            let provisioned = self.provisioned(&intent.role);
            self.set_provisioned(&intent.role, provisioned.saturating_sub(missing).max(provisioned.min(existing)));
        }
    }

    /// How many were replaced in the hour before `now`, with those that open launches may still bring.
    pub fn replaced(&self, now: Timestamp) -> u32 {
        let counted = self.replacements.iter().filter(|span| span.is_within_the_hour(now)).map(|span| span.count);
        let open = self.launches.iter().filter(|intent| intent.instance_ids.is_empty()).map(|intent| intent.replaces);
        counted.chain(open).sum()
    }

    /// Drops what is older than an hour.
    pub fn forget_replacements(&mut self, now: Timestamp) {
        self.replacements.retain(|span| span.is_within_the_hour(now));
    }

    pub fn provisioned(&self, role: &Role) -> u32 {
        self.provisioned.iter().find(|group| &group.role == role).map_or(0, |group| group.replicas)
    }

    pub fn set_provisioned(&mut self, role: &Role, replicas: u32) {
        match self.provisioned.iter_mut().find(|group| &group.role == role) {
            Some(group) => group.replicas = replicas,
            None if replicas == 0 => {}
            None => self.provisioned.push(Provisioned { role: role.clone(), replicas, existing: 0 }),
        }
    }

    pub fn set_existing(&mut self, role: &Role, existing: u32) {
        match self.provisioned.iter_mut().find(|group| &group.role == role) {
            Some(group) => group.existing = existing,
            None if existing == 0 => {}
            None => self.provisioned.push(Provisioned { role: role.clone(), replicas: 0, existing }),
        }
    }

    /// Strikes victims that are over, and terminations that have none left.
    pub fn strike_victims(&mut self, over: impl Fn(&InstanceId) -> bool) {
        for termination in &mut self.terminations {
            termination.instance_ids.retain(|id| !over(id));
        }
        self.terminations.retain(|termination| !termination.instance_ids.is_empty());
    }
}

impl Replacements {
    fn is_within_the_hour(&self, now: Timestamp) -> bool {
        // The span's last second counts for an hour too.
        now.as_second() - self.since.0.as_second() < 7 * SPAN
    }
}

fn count(replacements: &mut Vec<Replacements>, intent: &LaunchIntent, launched: usize) {
    let count = intent.replaces.min(launched as u32);
    if count == 0 {
        return;
    }
    let started = intent.started_at.0.as_second();
    let since = Time(Timestamp::from_second(started - started.rem_euclid(SPAN)).unwrap_or(intent.started_at.0));
    match replacements.iter_mut().find(|span| span.since == since) {
        Some(span) => span.count += count,
        None => replacements.push(Replacements { since, count }),
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
