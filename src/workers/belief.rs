//! What is believed of machines that EC2 does not show: that they are there, until it is certain or likely enough that
//! they are not. Pure.
//!
//! A machine is gone when EC2 says so of its very id. One that EC2 knows nothing of is given up after the grace, if few
//! are: when many are missing at once, what describes them is broken rather than they. A process that has just started
//! knows by id only whom the status lists; of the others it knows from the record how many there were. The same goes for
//! one that finds a record that it did not write: what it believed until then rests on an older one.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::{
    clock::Timings,
    ids::{InstanceId, Role},
    workers::{
        headcount::heads,
        instance::{Described, Instance},
        ledger::{Ledger, Stock},
        roster::{Known, Roster, Sighting},
        share::Share,
    },
};

/// What is remembered of an object's machines from look to look.
#[derive(Debug, Default)]
pub struct Belief {
    /// Machines that were seen alive and not proven gone since. `None` before the first look.
    known: Option<BTreeMap<InstanceId, Known>>,
    /// Machines on record that were seen to be over, which no sweep shows for long.
    over: BTreeSet<InstanceId>,
    /// Since when a believed machine is not shown.
    missing_since: BTreeMap<InstanceId, Instant>,
    /// What was on record when this process last read it, and what it wrote since.
    stocks: Vec<Stock>,
    /// When a sweep was held against a record of somebody else.
    since: Option<Instant>,
    /// How many machines that sweep missed of which only the record's count tells.
    nameless: BTreeMap<Role, u32>,
    /// When machines of which EC2 knew nothing were given up.
    given_up: Vec<Instant>,
}

/// A look at EC2, as far as time matters.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// When the sweep was begun.
    pub begun: Instant,
    pub now: Instant,
    pub wall: Timestamp,
    pub timings: &'a Timings,
    /// How many of the believed machines may be missing at once, to be given up after the grace.
    pub may_vanish: Share,
}

/// The machines that a sweep did not show.
#[derive(Debug)]
pub struct Missing {
    all: BTreeMap<InstanceId, Known>,
    /// Those that the record counts and the status lists, at the first look.
    listed: BTreeMap<InstanceId, Known>,
    /// Those to ask EC2 for by id.
    pub asked: BTreeSet<InstanceId>,
}

impl Belief {
    /// Whom the sweep misses. `listed` are those that the status lists, which a fresh process starts with.
    pub fn missing(
        &mut self,
        roster: &Roster,
        ledger: &Ledger,
        listed: impl FnOnce() -> BTreeMap<InstanceId, Known>,
        moment: Moment<'_>,
    ) -> Missing {
        let (known, listed) = match self.known.clone() {
            Some(known) => (known, BTreeMap::new()),
            None => {
                let listed = listed();
                (listed.clone(), listed)
            }
        };
        let launched: BTreeSet<_> = ledger.launches.iter().flat_map(|intent| &intent.instance_ids).collect();
        let mut all = ledger.named();
        all.extend(known.clone());
        all.retain(|id, _| !roster.machines.contains_key(id));
        self.missing_since.retain(|id, _| all.contains_key(id));
        let asked = all
            .keys()
            .filter(|id| !self.over.contains(*id))
            // A machine that was launched a moment ago is expected to be missing.
            .filter(|id| {
                self.is_overdue(id, moment, moment.timings.describe_grace)
                    || known.contains_key(*id)
                    || !launched.contains(id)
            })
            .cloned()
            .collect();
        for id in all.keys() {
            self.missing_since.entry(id.clone()).or_insert(moment.now);
        }
        Missing { all, listed, asked }
    }

    /// Completes the roster by what EC2 answered for the ids that were asked for.
    pub fn conclude(
        &mut self,
        missing: Missing,
        mut found: Described,
        is_owned: impl Fn(&Instance) -> bool,
        roster: &mut Roster,
        ledger: &Ledger,
        moment: Moment<'_>,
    ) {
        let mut doubtful = BTreeMap::new();
        for (id, known) in missing.all {
            match found.remove(&id) {
                Some(Some(instance)) if instance.state.is_over() || !is_owned(&instance) => {
                    // What is not ours any more had our tags taken off.
                    roster.gone.insert(id);
                }
                Some(Some(instance)) => {
                    roster.machines.insert(id, Sighting { instance, swept: false, checks_passed: false });
                }
                None if self.over.contains(&id) => {
                    roster.gone.insert(id);
                }
                Some(None) if self.is_overdue(&id, moment, moment.timings.describe_grace) => {
                    doubtful.insert(id, known);
                }
                said @ (Some(None) | None) => {
                    // What is merely left out of an answer is not said to be unknown.
                    let left_out = said.is_none() && missing.asked.contains(&id);
                    if left_out && self.is_overdue(&id, moment, moment.timings.describe_grace) {
                        roster.vanished.insert(id.clone());
                    }
                    roster.unseen.insert(id, known);
                }
            }
        }
        let stock = ledger.stock();
        let anew = !self.stocks.contains(&stock);
        self.stocks = vec![stock];
        if anew {
            self.since = Some(moment.now);
            // Why another process replaced workers within the hour nobody knows: it may have given them up.
            let replaced = self.given_up.len().max(ledger.replaced(moment.wall) as usize);
            self.given_up.resize(replaced, moment.now);
        }
        self.count_nameless(anew, roster, &doubtful, &missing.listed, ledger, moment);
        let nameless: u32 = self.nameless.values().sum();
        let hour = moment.timings.vanished;
        self.given_up.retain(|time| moment.now.saturating_duration_since(*time) < hour);
        let alive = roster.machines.values().filter(|machine| !machine.instance.state.is_over()).count();
        let given_up = doubtful.len() + nameless as usize + self.given_up.len();
        let believed = alive + roster.unseen.len() + given_up;
        let many = (roster.vanished.len() + given_up) as u32 > moment.may_vanish.rounded_up(believed as u32);
        let patience = if many { hour } else { moment.timings.describe_grace };
        for (id, known) in doubtful {
            if self.is_overdue(&id, moment, patience) {
                self.given_up.push(moment.now);
                roster.gone.insert(id);
            } else {
                roster.vanished.insert(id.clone());
                roster.unseen.insert(id, known);
            }
        }
        self.over = ledger.named().into_keys().filter(|id| roster.is_over(id)).collect();
        // Counted from the same moment as the patience with those that are known by id, which tell whether many are missing.
        let since = *self.since.get_or_insert(moment.now);
        if moment.begun.saturating_duration_since(since) >= patience {
            self.given_up.extend((0..nameless).map(|_| moment.now));
            self.nameless.clear();
        }
        roster.nameless.clone_from(&self.nameless);
        let alive = roster.machines.values().map(|machine| &machine.instance).filter(|i| !i.state.is_over());
        let alive = alive.map(|instance| (instance.id.clone(), Known::of(instance)));
        self.known = Some(alive.chain(roster.unseen.clone()).collect());
    }

    /// The record is about to be, or was, written by this process.
    pub fn recorded(&mut self, ledger: &Ledger) {
        self.stocks.push(ledger.stock());
    }

    /// How many more there were than can be told of. A look at a record that is new finds out; later ones find some of
    /// them.
    fn count_nameless(
        &mut self,
        anew: bool,
        roster: &Roster,
        doubtful: &BTreeMap<InstanceId, Known>,
        listed: &BTreeMap<InstanceId, Known>,
        ledger: &Ledger,
        moment: Moment<'_>,
    ) {
        if !anew && self.nameless.is_empty() {
            return;
        }
        let mut told = roster.clone();
        told.unseen.extend(doubtful.clone());
        let heads = heads(&told, ledger);
        let ended: Vec<_> = listed.iter().filter(|(id, _)| roster.is_over(id)).map(|(_, known)| &known.role).collect();
        let mut nameless = BTreeMap::new();
        for group in &ledger.provisioned {
            let told: u32 = heads.iter().filter(|head| head.role == group.role.as_str()).map(|head| head.count).sum();
            let ended = ended.iter().filter(|role| **role == &group.role).count() as u32;
            let most = if anew { u32::MAX } else { self.nameless.get(&group.role).copied().unwrap_or_default() };
            let more = group.existing.saturating_sub(told + ended).min(most);
            if more > 0 {
                nameless.insert(group.role.clone(), more);
            }
        }
        if anew && !nameless.is_empty() {
            tracing::info!(?nameless, grace = ?moment.timings.describe_grace, "EC2 does not show all that are on record");
        }
        self.nameless = nameless;
    }

    fn is_overdue(&self, id: &InstanceId, moment: Moment<'_>, patience: Duration) -> bool {
        let since = self.missing_since.get(id).copied().unwrap_or(moment.now);
        moment.now.saturating_duration_since(since) >= patience
    }
}

#[cfg(test)]
mod tests;
