//! The half of a plan that is the same for every kind that runs workers: what is settled is struck, what is not is taken
//! over, victims are chosen once, and launches are cut into calls.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    aws,
    condition::second,
    ids::{ClientToken, ImageId, InstanceId, Role, SubnetId, Uid, Zone},
    workers::{
        headcount::workers,
        indexes::Indexes,
        launch::{LaunchIntent, Termination, TerminationReason},
        ledger::{Ledger, MAX_ADOPTED, MAX_OPEN_CALLS, MAX_OPEN_LAUNCHED, MAX_OPEN_VICTIMS},
        pools::{MAX_PER_CALL, Places, Pool},
        roster::{Roster, Sighting},
        settle::{Standing, settle},
    },
};

/// The world as far as a plan needs it.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    pub roster: Roster,
    /// The zones of the subnets, or why they are not known.
    pub zones: Zones,
    /// What this process learned from calls that it made.
    pub lessons: Lessons,
}

#[derive(Clone, Debug)]
pub enum Zones {
    Known(BTreeMap<SubnetId, Zone>),
    Unknown(aws::Error),
}

impl Default for Zones {
    fn default() -> Self {
        Self::Known(BTreeMap::new())
    }
}

#[derive(Clone, Debug, Default)]
pub struct Lessons {
    /// Launches that are not simply repeatable.
    pub standing: BTreeMap<ClientToken, Standing>,
    /// Pools to leave alone, and what EC2 said there.
    pub cooling: BTreeMap<Pool, aws::Error>,
    /// EC2 refused to launch these revisions for another reason than capacity.
    pub refusals: BTreeMap<String, Refusal>,
    /// Victims that were asked to end a moment ago.
    pub asked: BTreeSet<InstanceId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub cause: aws::Error,
    /// Whether to try again now.
    pub retry: bool,
}

/// What a plan takes from outside and that is different each time.
pub struct Pass<'a> {
    pub now: Timestamp,
    /// This start of this process.
    pub holder: &'a str,
    pub nonce: &'a mut dyn FnMut() -> u64,
}

impl std::fmt::Debug for Pass<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pass").field("now", &self.now).field("holder", &self.holder).finish_non_exhaustive()
    }
}

/// The next record, and the calls that may be made once it is acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub ledger: Ledger,
    pub actions: Vec<Action>,
    /// Why fewer machines are launched or ended than are wanted, and in which group.
    pub holds: BTreeMap<Role, Hold>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "most actions are launches, and there are at most a hundred")]
pub enum Action {
    Launch(LaunchIntent),
    Terminate(Vec<InstanceId>),
}

/// What keeps a plan from what is wanted, the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hold {
    Suspended,
    Orphans,
    /// The parameters that workers would read are not there.
    Parameters,
    /// The template comes to nothing that could be launched.
    Unresolved,
    NoZones,
    Refused,
    NoCapacity,
    /// As many launches are open as may be.
    Busy,
    /// As many workers were replaced within the hour as may be.
    ReplacementLimit,
    /// More workers are unhealthy than may be, so none of them is replaced.
    Unhealthy,
}

/// What to launch for one group.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// How many of these launches replace workers that were lost.
    pub replaces: u32,
    pub owner: &'a Uid,
    pub role: &'a Role,
    pub revision: &'a str,
    pub image: &'a ImageId,
    pub launch_template_version: Option<i64>,
    pub places: &'a Places,
    /// What the workers run, one each, in order. Empty where they are all alike.
    pub indexes: &'a [u32],
}

/// A plan in the making.
#[derive(Debug)]
pub struct Draft<'a, 'p> {
    pub observed: &'a Observed,
    pub pass: &'a mut Pass<'p>,
    pub ledger: Ledger,
    launches: Vec<LaunchIntent>,
    may_send: bool,
}

impl<'a, 'p> Draft<'a, 'p> {
    /// Strikes what is settled, and takes over the launches that are not.
    pub fn begin(observed: &'a Observed, ledger: &Ledger, pass: &'a mut Pass<'p>, may_send: bool) -> Self {
        let mut ledger = ledger.clone();
        let roster = &observed.roster;
        let launches = settle(&mut ledger, roster, &observed.lessons.standing, pass.holder, may_send);
        ledger.strike_victims(|id| roster.is_over(id));
        ledger.adopted.retain(|id| !roster.is_over(id));
        ledger.forget_replacements(pass.now);
        Self { observed, pass, ledger, launches, may_send }
    }

    pub fn workers(&self) -> impl Iterator<Item = &'a Sighting> + use<'a> {
        workers(&self.observed.roster, &self.ledger)
    }

    pub fn adopt(&mut self, uids: &BTreeSet<Uid>) {
        let room = MAX_ADOPTED.saturating_sub(self.ledger.adopted.len());
        let known = self.ledger.adopted();
        let ours = self.observed.roster.orphans.iter().filter(|(id, uid)| uids.contains(uid) && !known.contains(*id));
        self.ledger.adopted.extend(ours.take(room).map(|(id, _)| id.clone()));
    }

    /// Takes machines over that were launched by other means.
    pub fn adopt_ids(&mut self, ids: &BTreeSet<InstanceId>) {
        let room = MAX_ADOPTED.saturating_sub(self.ledger.adopted.len());
        let known = self.ledger.adopted();
        self.ledger.adopted.extend(ids.difference(&known).take(room).cloned());
    }

    /// Chooses victims. They count as gone from here on.
    pub fn end(&mut self, mut ids: Vec<InstanceId>, reason: TerminationReason) {
        ids.truncate(MAX_OPEN_VICTIMS.saturating_sub(self.ledger.victims().len()));
        if ids.is_empty() {
            return;
        }
        // One entry a reason, however many times victims are chosen while EC2 ends none: the schema bounds their number.
        match self.ledger.terminations.iter_mut().find(|open| open.reason == reason) {
            Some(open) => {
                open.holder = self.pass.holder.into();
                open.instance_ids.extend(ids);
            }
            None => self.ledger.terminations.push(Termination {
                holder: self.pass.holder.into(),
                reason,
                started_at: Time(second(self.pass.now)),
                instance_ids: ids,
            }),
        }
    }

    /// Launches `wanted` workers, as far as that is possible now, and says what is in the way of the rest.
    pub fn launch(&mut self, order: &Order<'_>, wanted: u32) -> Option<Hold> {
        if wanted == 0 {
            return None;
        }
        let lessons = &self.observed.lessons;
        if lessons.refusals.get(order.revision).is_some_and(|refusal| !refusal.retry) {
            return Some(Hold::Refused);
        }
        let Zones::Known(zones) = &self.observed.zones else { return Some(Hold::NoZones) };
        let open: u32 = self.ledger.launches.iter().map(|i| (i.instance_ids.len() as u32).max(i.count)).sum();
        let room = MAX_OPEN_LAUNCHED.saturating_sub(open);
        let cooling = lessons.cooling.keys().cloned().collect();
        let present = self.by_zone(order.role, zones);
        let calls = order.places.calls(wanted.min(room), zones, &present, &cooling);
        let calls: Vec<_> = calls.into_iter().take(MAX_OPEN_CALLS.saturating_sub(self.ledger.launches.len())).collect();
        let launched: u32 = calls.iter().map(|(_, count)| count).sum();
        let mut replaces = order.replaces;
        for (pool, count, indexes) in split(calls, order.indexes) {
            let replaced = replaces.min(count);
            replaces -= replaced;
            let intent = LaunchIntent {
                token: ClientToken::new(order.owner, (self.pass.nonce)()),
                holder: self.pass.holder.into(),
                attempts: 1,
                role: order.role.clone(),
                revision: order.revision.into(),
                subnet: pool.subnet,
                instance_type: pool.instance_type,
                image_id: order.image.clone(),
                launch_template_version: order.launch_template_version,
                indexes,
                count,
                replaces: replaced,
                instance_ids: Vec::new(),
                started_at: Time(second(self.pass.now)),
            }
            .sealed();
            self.ledger.launches.push(intent.clone());
            self.launches.push(intent);
        }
        match launched {
            n if n == wanted => None,
            0 if room > 0 && order.places.pools().all(|pool| cooling.contains(&pool)) => Some(Hold::NoCapacity),
            _ => Some(Hold::Busy),
        }
    }

    /// How many workers each zone has, with those that are on their way there.
    fn by_zone(&self, role: &Role, zones: &BTreeMap<SubnetId, Zone>) -> BTreeMap<Zone, u32> {
        let mut present: BTreeMap<Zone, u32> = BTreeMap::new();
        for worker in self.workers().filter(|worker| worker.instance.role() == role.as_str()) {
            if let Ok(zone) = Zone::try_from(worker.instance.zone.as_str()) {
                *present.entry(zone).or_default() += 1;
            }
        }
        for intent in self.ledger.launches.iter().filter(|intent| &intent.role == role) {
            let expected = if intent.instance_ids.is_empty() { intent.count } else { intent.instance_ids.len() as u32 };
            let seen = self.observed.roster.launched_with(&intent.token).count() as u32;
            if let Some(zone) = zones.get(&intent.subnet) {
                *present.entry(zone.clone()).or_default() += expected.saturating_sub(seen);
            }
        }
        present
    }

    pub fn finish(self, holds: BTreeMap<Role, Hold>) -> Plan {
        let mut actions: Vec<_> = self.launches.into_iter().map(Action::Launch).collect();
        let asked = &self.observed.lessons.asked;
        let victims: Vec<_> = self.ledger.victims().into_iter().filter(|id| !asked.contains(id)).collect();
        if self.may_send && !victims.is_empty() {
            actions.push(Action::Terminate(victims));
        }
        Plan { ledger: self.ledger, actions, holds }
    }
}

/// Hands the indexes out to the calls, in order. A call whose indexes make too long a tag becomes several.
fn split(calls: Vec<(Pool, u32)>, indexes: &[u32]) -> Vec<(Pool, u32, Option<Indexes>)> {
    let mut left = indexes;
    let mut split = Vec::new();
    for (pool, count) in calls {
        if indexes.is_empty() {
            split.push((pool, count, None));
            continue;
        }
        let (own, rest) = left.split_at((count as usize).min(left.len()));
        left = rest;
        let sets = Indexes::for_tags(own, MAX_PER_CALL);
        split.extend(sets.into_iter().map(|set| (pool.clone(), set.len(), Some(set))));
    }
    split
}
