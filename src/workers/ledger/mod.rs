//! The record of an object about its instances: the part of a status that safety depends on.

pub mod progress;
pub mod settle;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    aws::Session,
    crd::{
        launches::{Adopted, LaunchIntent, Provisioned, Replacements, Termination},
        workers_status::WorkersStatus,
    },
    ids::{ClientToken, InstanceId, Role},
    workers::{ledger::progress::Progress, observe::instances::KnownInstance},
};

/// How many launched instances may be unsettled at once: their ids are in the status.
pub const MAX_OPEN_LAUNCHED: u32 = 1000;
/// How many launch calls may be unsettled at once.
pub const MAX_OPEN_CALLS: usize = 100;
/// How many victims may be unsettled at once. It is also the limit of one TerminateInstances call.
pub const MAX_OPEN_VICTIMS: usize = 1000;
pub const MAX_ADOPTED: usize = 1000;

/// The length of the spans in which replacements are counted, in seconds.
const SPAN: i64 = 600;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    pub launches: Vec<LaunchIntent>,
    pub terminations: Vec<Termination>,
    pub adopted: Vec<Adopted>,
    /// The progress of an object with indexes.
    pub progress: Progress,
    pub provisioned: Vec<Provisioned>,
    pub replacements: Vec<Replacements>,
}

/// What a record says about the number of instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stock {
    provisioned: Vec<Provisioned>,
    launches: BTreeMap<ClientToken, Vec<InstanceId>>,
    victims: BTreeSet<InstanceId>,
}

impl Ledger {
    /// The part of the record that all kinds have.
    pub fn of(status: &WorkersStatus) -> Self {
        Self { launches: status.launches.clone(), terminations: status.terminations.clone(), ..Self::default() }
    }

    /// Writes that part into `status`, and pins the account of `session`.
    pub fn record(&self, session: &Session, status: &mut WorkersStatus) {
        status.aws.get_or_insert_with(|| session.place());
        status.launches.clone_from(&self.launches);
        status.terminations.clone_from(&self.terminations);
    }

    pub fn stock(&self) -> Stock {
        let launches = self.launches.iter().map(|intent| (intent.token.clone(), intent.instance_ids.clone()));
        Stock { provisioned: self.provisioned.clone(), launches: launches.collect(), victims: self.victims() }
    }

    /// Whether calls are pending, or may be, whose effect is not observed yet.
    pub fn is_open(&self) -> bool {
        !self.launches.is_empty() || !self.terminations.is_empty()
    }

    pub fn launch(&self, token: &ClientToken) -> Option<&LaunchIntent> {
        self.launches.iter().find(|intent| &intent.token == token)
    }

    /// The index of an instance of an open launch, whose ids are in the order of the launch indexes. `None` if some of the
    /// ids are missing, because the order says nothing then.
    pub fn index_of_launched(&self, id: &InstanceId) -> Option<u32> {
        let place = |intent: &LaunchIntent| intent.instance_ids.iter().position(|launched| launched == id);
        let (intent, place) = self.launches.iter().find_map(|intent| Some((intent, place(intent)?)))?;
        let is_whole = intent.instance_ids.len() == intent.count as usize;
        intent.indexes.as_ref().filter(|_| is_whole)?.nth(u32::try_from(place).ok()?)
    }

    pub fn victims(&self) -> BTreeSet<InstanceId> {
        self.terminations.iter().flat_map(|t| t.instance_ids.iter().cloned()).collect()
    }

    pub fn adopted(&self) -> BTreeSet<InstanceId> {
        self.adopted.iter().map(|adopted| adopted.id.clone()).collect()
    }

    /// Every id that the ledger names.
    pub fn named(&self) -> BTreeMap<InstanceId, KnownInstance> {
        let victims = self.victims().into_iter().map(|id| (id, KnownInstance::default()));
        let adopted = self.adopted.iter().map(|adopted| (adopted.id.clone(), adopted.into()));
        let launched = self.launches.iter().flat_map(|intent| {
            let known = KnownInstance { role: intent.role.clone(), revision: intent.revision.clone() };
            intent.instance_ids.iter().map(move |id| (id.clone(), known.clone()))
        });
        victims.chain(adopted).chain(launched).collect()
    }

    /// The revisions that open launches and adopted instances name.
    pub fn revisions(&self) -> BTreeSet<String> {
        let adopted = self.adopted.iter().filter_map(|adopted| adopted.revision.clone());
        self.launches.iter().map(|intent| intent.revision.clone()).chain(adopted).collect()
    }

    /// Records the results of calls.
    pub fn settle(&mut self, outcomes: &BTreeMap<ClientToken, Settlement>) {
        let mut settled = Vec::new();
        self.launches.retain_mut(|intent| match outcomes.get(&intent.token) {
            Some(Settlement::Launched(ids)) => {
                intent.instance_ids.clone_from(ids);
                settled.push((intent.clone(), ids.len()));
                true
            }
            Some(Settlement::NothingLaunched) => {
                settled.push((intent.clone(), 0));
                false
            }
            Some(Settlement::Unknown) | None => true,
        });
        settled.iter().for_each(|(intent, launched)| self.count_launched(intent, *launched));
    }

    /// Counts the result of a launch: how many it replaced, and how many its role lacks after all.
    pub fn count_launched(&mut self, intent: &LaunchIntent, launched: usize) {
        count(&mut self.replacements, intent, launched);
        let existing =
            self.provisioned.iter().find(|known| known.role == intent.role).map_or(0, |known| known.existing);
        let existing = existing.saturating_sub(intent.count.saturating_sub(launched as u32));
        self.set_existing(&intent.role, existing);
        let new = (launched as u32).saturating_sub(intent.replaces);
        let missing = intent.count.saturating_sub(intent.replaces).saturating_sub(new);
        if missing > 0 {
            // A surge does not raise the number that a role is provisioned to.
            let provisioned = self.provisioned(&intent.role);
            self.set_provisioned(&intent.role, provisioned.saturating_sub(missing).max(provisioned.min(existing)));
        }
    }

    /// How many were replaced in the hour before `now`, including those that open launches may still bring.
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
        self.provisioned.iter().find(|known| &known.role == role).map_or(0, |known| known.replicas)
    }

    pub fn set_provisioned(&mut self, role: &Role, replicas: u32) {
        self.change(role, |known| known.replicas = replicas);
    }

    pub fn set_existing(&mut self, role: &Role, existing: u32) {
        self.change(role, |known| known.existing = existing);
    }

    fn change(&mut self, role: &Role, change: impl FnOnce(&mut Provisioned)) {
        if let Some(known) = self.provisioned.iter_mut().find(|known| &known.role == role) {
            return change(known);
        }
        let mut new = Provisioned { role: role.clone(), replicas: 0, existing: 0 };
        change(&mut new);
        if (new.replicas, new.existing) != (0, 0) {
            self.provisioned.push(new);
        }
    }

    /// Removes victims that are over, and terminations without victims.
    pub fn strike_victims(&mut self, over: impl Fn(&InstanceId) -> bool) {
        for termination in &mut self.terminations {
            termination.instance_ids.retain(|id| !over(id));
        }
        self.terminations.retain(|termination| !termination.instance_ids.is_empty());
    }
}

impl Replacements {
    fn is_within_the_hour(&self, now: Timestamp) -> bool {
        // The last second of the span counts for an hour too.
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

/// The result of a RunInstances call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    Launched(Vec<InstanceId>),
    /// Neither it nor an earlier call with the same token launched anything.
    NothingLaunched,
    /// It may have launched something or nothing.
    Unknown,
}
