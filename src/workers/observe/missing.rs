//! Known instances that EC2 does not show: they are assumed to exist until they certainly or probably do not. Pure.
//!
//! An instance is gone when EC2 says so for its id. One whose id EC2 does not know is given up after the grace period,
//! if few are missing: if many are missing at once, the cause is probably DescribeInstances and not the instances. A
//! process that has just started knows only the ids that the status lists; the record tells how many others there were.
//! The same holds for a process that finds a record of another process: what it knew depends on an older record.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::{
    aws::ec2::instance::{Described, Instance},
    clock::Timings,
    ids::{InstanceId, Role},
    workers::{
        ledger::{Ledger, Stock},
        observe::{
            counts::counted,
            instances::{KnownInstance, ObservedInstance, ObservedInstances},
        },
        plan::share::Share,
    },
};

/// What is remembered of an object's instances between observations.
#[derive(Debug, Default)]
pub struct MissingInstances {
    /// Instances that were observed alive and not proven gone since. `None` before the first observation.
    known: Option<BTreeMap<InstanceId, KnownInstance>>,
    /// Recorded instances that were observed to be over. A sweep shows them only for a while.
    over: BTreeSet<InstanceId>,
    /// Since when a known instance is missing.
    missing_since: BTreeMap<InstanceId, Instant>,
    /// The record when this process last read it, and what it wrote since.
    stocks: Vec<Stock>,
    /// When a record of another process was first compared with a sweep.
    since: Option<Instant>,
    /// How many instances that sweep did not show of which only the count is recorded.
    unlisted: BTreeMap<Role, u32>,
    /// When instances that EC2 did not know were given up.
    given_up: Vec<Instant>,
}

/// The times of an observation.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// When the sweep was begun.
    pub begun: Instant,
    pub now: Instant,
    pub wall: Timestamp,
    pub timings: &'a Timings,
    /// How many known instances may be missing at once and still be given up after the grace period.
    pub max_missing: Share,
}

/// The instances that a sweep did not show.
#[derive(Debug)]
pub struct NotShown {
    all: BTreeMap<InstanceId, KnownInstance>,
    /// Those that the status lists, at the first observation.
    listed: BTreeMap<InstanceId, KnownInstance>,
    /// Those to describe by id.
    pub asked: BTreeSet<InstanceId>,
}

impl NotShown {
    /// EC2 shows these for their ids.
    pub fn remove(&mut self, ids: &BTreeSet<InstanceId>) {
        self.all.retain(|id, _| !ids.contains(id));
    }
}

impl MissingInstances {
    /// The instances that the sweep does not show. A new process begins with those that the status lists.
    pub fn missing(
        &mut self,
        instances: &ObservedInstances,
        ledger: &Ledger,
        listed: impl FnOnce() -> BTreeMap<InstanceId, KnownInstance>,
        moment: Moment<'_>,
    ) -> NotShown {
        let listed = if self.known.is_none() { listed() } else { BTreeMap::new() };
        let known = self.known.as_ref().unwrap_or(&listed);
        let launched: BTreeSet<_> = ledger.launches.iter().flat_map(|intent| &intent.instance_ids).collect();
        let mut all = ledger.named();
        all.extend(known.clone());
        all.retain(|id, _| !instances.shown.contains_key(id) && !instances.withheld.contains(id));
        self.missing_since.retain(|id, _| all.contains_key(id));
        // An instance that was just launched is expected to be missing.
        let is_expected = |id: &InstanceId| {
            let is_overdue = self.is_overdue(id, moment, moment.timings.describe_grace);
            !is_overdue && !known.contains_key(id) && launched.contains(id)
        };
        let asked = all.keys().filter(|id| !self.over.contains(*id) && !is_expected(id)).cloned().collect();
        for id in all.keys() {
            self.missing_since.entry(id.clone()).or_insert(moment.now);
        }
        NotShown { all, listed, asked }
    }

    /// Completes the observation with the answers for the described ids.
    pub fn conclude(
        &mut self,
        missing: NotShown,
        mut found: Described,
        claim: impl Fn(&Instance) -> Option<ObservedInstance>,
        instances: &mut ObservedInstances,
        ledger: &Ledger,
        moment: Moment<'_>,
    ) {
        let mut doubtful = BTreeMap::new();
        for (id, known) in missing.all {
            match found.remove(&id) {
                Some(Some(instance)) if instance.state.is_over() => {
                    instances.gone.insert(id);
                }
                Some(Some(instance)) => match claim(&instance) {
                    Some(worker) => drop(instances.shown.insert(id, worker)),
                    // It lost its tags.
                    None => drop(instances.gone.insert(id)),
                },
                None if self.over.contains(&id) => {
                    instances.gone.insert(id);
                }
                Some(None) if self.is_overdue(&id, moment, moment.timings.describe_grace) => {
                    doubtful.insert(id, known);
                }
                answer @ (Some(None) | None) => {
                    // An id that the answer leaves out may still exist.
                    let left_out = answer.is_none() && missing.asked.contains(&id);
                    if left_out && self.is_overdue(&id, moment, moment.timings.describe_grace) {
                        instances.overdue.insert(id.clone());
                    }
                    instances.missing.insert(id, known);
                }
            }
        }
        let stock = ledger.stock();
        let anew = !self.stocks.contains(&stock);
        self.stocks = vec![stock];
        if anew {
            self.since = Some(moment.now);
            // Another process may have given up the workers that it replaced within the hour.
            let replaced = self.given_up.len().max(ledger.replaced(moment.wall) as usize);
            self.given_up.resize(replaced, moment.now);
        }
        self.count_unlisted(anew, instances, &doubtful, &missing.listed, ledger, moment);
        let unlisted: u32 = self.unlisted.values().sum();
        let hour = moment.timings.overdue;
        self.given_up.retain(|time| moment.now.saturating_duration_since(*time) < hour);
        let alive = instances.shown.values().filter(|worker| !worker.instance.state.is_over()).count();
        let given_up = doubtful.len() + unlisted as usize + self.given_up.len();
        let total = alive + instances.missing.len() + given_up;
        let many = (instances.overdue.len() + given_up) as u32 > moment.max_missing.rounded_up(total as u32);
        let patience = if many { hour } else { moment.timings.describe_grace };
        for (id, known) in doubtful {
            if self.is_overdue(&id, moment, patience) {
                self.given_up.push(moment.now);
                instances.gone.insert(id);
            } else {
                instances.overdue.insert(id.clone());
                instances.missing.insert(id, known);
            }
        }
        self.over = ledger.named().into_keys().filter(|id| instances.is_over(id)).collect();
        // It begins with the grace period of the ids, which show whether many are missing.
        let since = *self.since.get_or_insert(moment.now);
        // The sweep of a pass may begin long after the pass, by whose time the ids are judged.
        let seen = moment.begun.min(moment.now);
        if seen.saturating_duration_since(since) >= patience {
            self.given_up.extend((0..unlisted).map(|_| moment.now));
            self.unlisted.clear();
        }
        instances.unlisted.clone_from(&self.unlisted);
        let alive = instances.shown.values().filter(|worker| !worker.instance.state.is_over());
        let alive = alive.map(|worker| (worker.instance.id.clone(), worker.known.clone()));
        self.known = Some(alive.chain(instances.missing.clone()).collect());
    }

    /// This process writes or wrote this record.
    pub fn recorded(&mut self, ledger: &Ledger) {
        self.stocks.push(ledger.stock());
    }

    /// How many more instances the record counts than are known. It is determined for each new record of another
    /// process, and later only decreases.
    fn count_unlisted(
        &mut self,
        anew: bool,
        instances: &ObservedInstances,
        doubtful: &BTreeMap<InstanceId, KnownInstance>,
        listed: &BTreeMap<InstanceId, KnownInstance>,
        ledger: &Ledger,
        moment: Moment<'_>,
    ) {
        if !anew && self.unlisted.is_empty() {
            return;
        }
        let mut all = instances.clone();
        all.missing.extend(doubtful.clone());
        let counted = counted(&all, ledger);
        let mut unlisted = BTreeMap::new();
        for known in &ledger.provisioned {
            let seen: u32 = counted.iter().filter(|c| c.role == known.role.as_str()).map(|c| c.count).sum();
            let is_over = |(id, of): &(&InstanceId, &KnownInstance)| of.role == known.role && instances.is_over(id);
            let over = listed.iter().filter(is_over).count() as u32;
            let most = if anew { u32::MAX } else { self.unlisted.get(&known.role).copied().unwrap_or_default() };
            let more = known.existing.saturating_sub(seen + over).min(most);
            if more > 0 {
                unlisted.insert(known.role.clone(), more);
            }
        }
        if anew && !unlisted.is_empty() {
            let grace = moment.timings.describe_grace;
            tracing::info!(?unlisted, ?grace, "EC2 does not show all recorded instances");
        }
        self.unlisted = unlisted;
    }

    fn is_overdue(&self, id: &InstanceId, moment: Moment<'_>, patience: Duration) -> bool {
        let since = self.missing_since.get(id).copied().unwrap_or(moment.now);
        moment.now.saturating_duration_since(since) >= patience
    }
}

#[cfg(test)]
mod tests;
