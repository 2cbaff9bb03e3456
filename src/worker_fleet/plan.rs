//! What to do: from the wish, the record and the world to the next record and the calls that may follow it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    aws,
    condition::second,
    ids::{ClientToken, InstanceId, SubnetId, Zone},
    worker_fleet::{
        crd::{DeletionPolicy, OnStopped, ReadinessCheck, ScaleDownPolicy},
        desired::Desired,
    },
    workers::{
        cpu::{CpuSamples, idleness},
        instance::InstanceState,
        launch::{LaunchIntent, Termination, TerminationReason},
        ledger::{Ledger, MAX_ADOPTED, MAX_OPEN_CALLS, MAX_OPEN_LAUNCHED, MAX_OPEN_VICTIMS},
        pools::Pool,
        roster::{Roster, Sighting},
        settle::{Standing, settle, untold},
    },
};

/// The world as far as a plan needs it.
#[derive(Clone, Debug, Default)]
pub(super) struct Observed {
    pub roster: Roster,
    /// The zones of the subnets, or why they are not known.
    pub zones: Zones,
    /// What this process learned from calls that it made.
    pub lessons: Lessons,
    /// How busy the workers are, as far as is known.
    pub cpu: CpuSamples,
}

#[derive(Clone, Debug)]
pub(super) enum Zones {
    Known(BTreeMap<SubnetId, Zone>),
    Unknown(aws::Error),
}

impl Default for Zones {
    fn default() -> Self {
        Self::Known(BTreeMap::new())
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Lessons {
    /// Launches that are not simply repeatable.
    pub standing: BTreeMap<ClientToken, Standing>,
    /// Pools to leave alone, and what EC2 said there.
    pub cooling: BTreeMap<Pool, aws::Error>,
    /// EC2 refused the launch for another reason than capacity.
    pub refusal: Option<Refusal>,
    /// Victims that were asked to end a moment ago.
    pub asked: BTreeSet<InstanceId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub cause: aws::Error,
    /// Whether to try again now.
    pub retry: bool,
}

/// What a plan takes from outside and that is different each time.
pub(super) struct Pass<'a> {
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
pub(super) struct Plan {
    pub ledger: Ledger,
    pub actions: Vec<Action>,
    /// Why fewer machines are launched than are wanted.
    pub hold: Option<Hold>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Launch(LaunchIntent),
    Terminate(Vec<InstanceId>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    Suspended,
    Orphans,
    /// The parameters that workers would read are not there.
    Parameters,
    Refused,
    NoZones,
    NoCapacity,
    /// As many launches are open as may be.
    Busy,
}

/// Towards `desired.replicas` workers.
pub(super) fn plan(desired: &Desired, observed: &Observed, ledger: &Ledger, pass: &mut Pass<'_>) -> Plan {
    let mut draft = Draft::begin(observed, ledger, pass, !desired.suspended);
    if desired.suspended {
        return draft.finish(Some(Hold::Suspended));
    }
    draft.adopt(&desired.adopt);
    if desired.on_stopped == OnStopped::Replace {
        let stopped = |worker: &&Sighting| worker.instance.state.is_stopped();
        let stopped = draft.workers().filter(stopped).map(|worker| worker.instance.id.clone()).collect();
        draft.end(stopped, TerminationReason::Stopped);
    }
    let present = draft.workers().count() as u32;
    let surplus = present.saturating_sub(desired.replicas);
    draft.end(draft.surplus(surplus, desired), TerminationReason::ScaleDown);
    let hold = draft.launch(desired);
    draft.finish(hold)
}

/// Towards none, and nothing unsettled.
pub(super) fn plan_end(policy: DeletionPolicy, observed: &Observed, ledger: &Ledger, pass: &mut Pass<'_>) -> Plan {
    let mut draft = Draft::begin(observed, ledger, pass, true);
    match policy {
        DeletionPolicy::Retain => {}
        DeletionPolicy::Terminate => {
            let all = draft.workers().map(|worker| worker.instance.id.clone()).collect();
            draft.end(all, TerminationReason::Deleted);
        }
    }
    draft.finish(None)
}

/// Whether an object may go: nothing unsettled, and with [`DeletionPolicy::Terminate`] nothing left.
pub(super) fn has_ended(policy: DeletionPolicy, observed: &Observed, ledger: &Ledger) -> bool {
    let left = match policy {
        DeletionPolicy::Retain => false,
        DeletionPolicy::Terminate => {
            !observed.roster.unseen.is_empty()
                || observed.roster.machines.values().any(|worker| !worker.instance.state.is_over())
        }
    };
    !ledger.is_open() && !left
}

/// The machines that count as workers: live, and not chosen to end.
pub(super) fn workers<'a>(roster: &'a Roster, ledger: &Ledger) -> impl Iterator<Item = &'a Sighting> + use<'a> {
    let victims = ledger.victims();
    roster.machines.values().filter(move |m| !m.instance.state.is_over() && !victims.contains(&m.instance.id))
}

/// How many workers there are, with those that nobody has seen yet.
pub(super) fn existing(roster: &Roster, ledger: &Ledger) -> u32 {
    let unseen = roster.unseen.difference(&ledger.victims()).count();
    (workers(roster, ledger).count() + unseen) as u32 + untold(ledger, roster)
}

pub(super) fn is_ready(worker: &Sighting, check: ReadinessCheck) -> bool {
    worker.instance.state == InstanceState::Running
        && match check {
            ReadinessCheck::Running => true,
            ReadinessCheck::StatusChecks => worker.checks_passed,
        }
}

struct Draft<'a, 'p> {
    observed: &'a Observed,
    pass: &'a mut Pass<'p>,
    ledger: Ledger,
    launches: Vec<LaunchIntent>,
    may_send: bool,
}

impl<'a, 'p> Draft<'a, 'p> {
    /// Strikes what is settled, and takes over the launches that are not.
    fn begin(observed: &'a Observed, ledger: &Ledger, pass: &'a mut Pass<'p>, may_send: bool) -> Self {
        let mut ledger = ledger.clone();
        let roster = &observed.roster;
        let launches = settle(&mut ledger, roster, &observed.lessons.standing, pass.holder, may_send);
        ledger.strike_victims(|id| roster.is_over(id));
        ledger.adopted.retain(|id| !roster.is_over(id));
        Self { observed, pass, ledger, launches, may_send }
    }

    fn workers(&self) -> impl Iterator<Item = &'a Sighting> + use<'a> {
        workers(&self.observed.roster, &self.ledger)
    }

    fn adopt(&mut self, uids: &BTreeSet<crate::ids::Uid>) {
        let room = MAX_ADOPTED.saturating_sub(self.ledger.adopted.len());
        let known = self.ledger.adopted();
        let ours = self.observed.roster.orphans.iter().filter(|(id, uid)| uids.contains(uid) && !known.contains(*id));
        self.ledger.adopted.extend(ours.take(room).map(|(id, _)| id.clone()));
    }

    /// The first `count` to end: those that are not ready, then by age.
    fn surplus(&self, count: u32, desired: &Desired) -> Vec<InstanceId> {
        let mut workers: Vec<_> = self.workers().collect();
        workers.sort_by_key(|worker| {
            let age = worker.instance.launched_at.map_or(0, |t| t.as_second());
            let idle = |worker: &Sighting| idleness(self.observed.cpu.get(&worker.instance.id));
            let (idle, age) = match desired.scale_down {
                ScaleDownPolicy::Oldest => (None, age),
                ScaleDownPolicy::Newest => (None, -age),
                ScaleDownPolicy::LowestCpu => (Some(idle(worker)), age),
            };
            (is_ready(worker, desired.readiness), idle, age, &worker.instance.id)
        });
        workers.into_iter().take(count as usize).map(|worker| worker.instance.id.clone()).collect()
    }

    /// Chooses victims. They count as gone from here on.
    fn end(&mut self, mut ids: Vec<InstanceId>, reason: TerminationReason) {
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

    fn launch(&mut self, desired: &Desired) -> Option<Hold> {
        let roster = &self.observed.roster;
        let adopted = self.ledger.adopted();
        let orphans =
            || roster.orphans.iter().filter(|(id, uid)| !desired.ignore.contains(uid) && !adopted.contains(*id));
        let fresh = adopted.iter().filter(|id| roster.orphans.contains_key(*id)).count() as u32;
        let wanted = desired.replicas.saturating_sub(existing(roster, &self.ledger) + fresh);
        if wanted == 0 {
            return None;
        }
        if orphans().next().is_some() {
            return Some(Hold::Orphans);
        }
        if desired.parameters.problem.is_some() {
            return Some(Hold::Parameters);
        }
        let lessons = &self.observed.lessons;
        if lessons.refusal.as_ref().is_some_and(|refusal| !refusal.retry) {
            return Some(Hold::Refused);
        }
        let Zones::Known(zones) = &self.observed.zones else { return Some(Hold::NoZones) };
        let open: u32 = self.ledger.launches.iter().map(|i| (i.instance_ids.len() as u32).max(i.count)).sum();
        let room = MAX_OPEN_LAUNCHED.saturating_sub(open);
        let cooling = lessons.cooling.keys().cloned().collect();
        let calls = desired.places.calls(wanted.min(room), zones, &self.by_zone(zones), &cooling);
        let calls: Vec<_> = calls.into_iter().take(MAX_OPEN_CALLS.saturating_sub(self.ledger.launches.len())).collect();
        let launched: u32 = calls.iter().map(|(_, count)| count).sum();
        for (pool, count) in calls {
            let intent = LaunchIntent {
                token: ClientToken::new(&desired.owner.uid, (self.pass.nonce)()),
                holder: self.pass.holder.into(),
                attempts: 1,
                role: crate::ids::Role::main(),
                revision: desired.revision.name.clone(),
                subnet: pool.subnet,
                instance_type: pool.instance_type,
                image_id: desired.image.clone(),
                count,
                instance_ids: Vec::new(),
                started_at: Time(second(self.pass.now)),
            };
            self.ledger.launches.push(intent.clone());
            self.launches.push(intent);
        }
        match launched {
            n if n == wanted => None,
            0 if room > 0 && desired.places.pools().all(|pool| cooling.contains(&pool)) => Some(Hold::NoCapacity),
            _ => Some(Hold::Busy),
        }
    }

    /// How many workers each zone has, with those that are on their way there.
    fn by_zone(&self, zones: &BTreeMap<SubnetId, Zone>) -> BTreeMap<Zone, u32> {
        let mut present: BTreeMap<Zone, u32> = BTreeMap::new();
        for worker in self.workers() {
            if let Ok(zone) = Zone::try_from(worker.instance.zone.as_str()) {
                *present.entry(zone).or_default() += 1;
            }
        }
        for intent in &self.ledger.launches {
            let expected = if intent.instance_ids.is_empty() { intent.count } else { intent.instance_ids.len() as u32 };
            let seen = self.observed.roster.launched_with(&intent.token).count() as u32;
            if let Some(zone) = zones.get(&intent.subnet) {
                *present.entry(zone.clone()).or_default() += expected.saturating_sub(seen);
            }
        }
        present
    }

    fn finish(self, hold: Option<Hold>) -> Plan {
        let mut actions: Vec<_> = self.launches.into_iter().map(Action::Launch).collect();
        let asked = &self.observed.lessons.asked;
        let victims: Vec<_> = self.ledger.victims().into_iter().filter(|id| !asked.contains(id)).collect();
        if self.may_send && !victims.is_empty() {
            actions.push(Action::Terminate(victims));
        }
        Plan { ledger: self.ledger, actions, hold }
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
