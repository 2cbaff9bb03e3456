//! The part of a plan that all kinds that run workers share: settled calls are removed, open ones are claimed, victims
//! are chosen once, and launches are split into calls.

pub mod pools;
pub mod preview;
pub mod progress_tracker;
pub mod share;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    condition::second,
    crd::{
        indexes::Indexes,
        launches::{Adopted, LaunchIntent, Termination, TerminationReason},
    },
    ids::{ClientToken, InstanceId, Role, SubnetId, Uid, Zone},
    inventory::ownership::Owner,
    workers::{
        launch_spec::{DesiredRole, LaunchSpec},
        ledger::{Ledger, MAX_ADOPTED, MAX_OPEN_CALLS, MAX_OPEN_LAUNCHED, MAX_OPEN_VICTIMS, settle::settle},
        observe::{
            counts::workers,
            instances::ObservedInstance,
            observed::{Observed, Zones},
        },
        parameters::Synced,
        plan::pools::{MAX_PER_CALL, Pool},
    },
};

/// The input of a plan that differs each time.
pub struct PlanContext<'a> {
    pub now: Timestamp,
    /// Identifies this run of the process.
    pub holder: &'a str,
    pub nonce: &'a mut dyn FnMut() -> u64,
}

impl std::fmt::Debug for PlanContext<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlanContext").field("now", &self.now).field("holder", &self.holder).finish_non_exhaustive()
    }
}

/// The next record, and the calls that may be made once it is acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub ledger: Ledger,
    pub actions: Vec<Action>,
    /// Why a role launches or terminates fewer instances than desired.
    pub blockers: BTreeMap<Role, Blocker>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "most actions are launches, and there are at most a hundred")]
pub enum Action {
    Launch(LaunchIntent),
    Terminate(Vec<InstanceId>),
}

/// What keeps a plan from the desired state, the most serious first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blocker {
    Suspended,
    Orphans,
    /// Tags of an instance were changed, and its role is not known.
    TagsChanged,
    /// The parameters that workers read are not written.
    Parameters,
    /// The template cannot be resolved.
    Unresolved,
    NoZones,
    Refused,
    NoCapacity,
    /// The limit of open launches is reached.
    Busy,
    /// The limit of replacements per hour is reached.
    ReplacementLimit,
    /// More workers are unhealthy than allowed, so none of them is replaced.
    Unhealthy,
}

/// What to launch for one role.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// How many of these launches replace workers that were lost.
    pub replaces: u32,
    pub owner: &'a Owner,
    pub role: &'a Role,
    pub launch_spec: &'a LaunchSpec,
    /// The indexes of the workers, one each, in order. Empty if the workers have none.
    pub indexes: &'a [u32],
}

/// A plan in the making.
#[derive(Debug)]
pub struct PlanBuilder<'a, 'p> {
    pub observed: &'a Observed,
    pub context: &'a mut PlanContext<'p>,
    pub ledger: Ledger,
    launches: Vec<LaunchIntent>,
    may_send: bool,
}

impl<'a, 'p> PlanBuilder<'a, 'p> {
    /// Removes what is settled, and claims the launches that are not.
    pub fn begin(observed: &'a Observed, ledger: &Ledger, context: &'a mut PlanContext<'p>, may_send: bool) -> Self {
        let mut ledger = ledger.clone();
        let instances = &observed.instances;
        let launches = settle(&mut ledger, instances, &observed.feedback.standing, context.holder, may_send);
        ledger.strike_victims(|id| instances.is_over(id));
        ledger.adopted.retain(|adopted| !instances.is_over(&adopted.id));
        ledger.forget_replacements(context.now);
        Self { observed, context, ledger, launches, may_send }
    }

    pub fn workers(&self) -> impl Iterator<Item = &'a ObservedInstance> + use<'a> {
        workers(&self.observed.instances, &self.ledger)
    }

    /// The workers that may be terminated while the object exists: those whose tags match their launch.
    pub fn expendable(&self) -> impl Iterator<Item = &'a ObservedInstance> + use<'a> {
        self.workers().filter(|worker| worker.tampered.is_none())
    }

    /// Adopts the orphans of these earlier objects.
    pub fn adopt(&mut self, uids: &BTreeSet<Uid>) {
        let orphans = self.observed.instances.orphans.iter().filter(|(_, orphan)| uids.contains(&orphan.uid));
        self.record_adopted(orphans.map(|(id, orphan)| (id, &orphan.role)));
    }

    pub fn adopt_ids(&mut self, ids: &BTreeSet<InstanceId>) {
        let main = Role::main();
        self.record_adopted(ids.iter().map(|id| (id, &main)));
    }

    fn record_adopted<'i>(&mut self, instances: impl Iterator<Item = (&'i InstanceId, &'i Role)>) {
        let room = MAX_ADOPTED.saturating_sub(self.ledger.adopted.len());
        let known = self.ledger.adopted();
        let new = instances.filter(|(id, _)| !known.contains(*id)).take(room);
        let new = new.map(|(id, role)| Adopted { id: id.clone(), role: role.clone(), revision: None });
        self.ledger.adopted.extend(new);
    }

    /// Adopted instances count as the current revision of their role at the adoption.
    pub fn date_adopted(&mut self, current: impl Fn(&Role) -> Option<String>) {
        for adopted in self.ledger.adopted.iter_mut().filter(|adopted| adopted.revision.is_none()) {
            adopted.revision = current(&adopted.role);
        }
    }

    /// Chooses victims. From here on they do not count.
    pub fn end(&mut self, mut ids: Vec<InstanceId>, reason: TerminationReason) {
        if reason != TerminationReason::Deleted {
            let shown = &self.observed.instances.shown;
            ids.retain(|id| shown.get(id).is_none_or(|worker| worker.tampered.is_none()));
        }
        ids.truncate(MAX_OPEN_VICTIMS.saturating_sub(self.ledger.victims().len()));
        if ids.is_empty() {
            return;
        }
        // One entry per reason, even if EC2 terminates none for a long time: the schema limits their number.
        match self.ledger.terminations.iter_mut().find(|open| open.reason == reason) {
            Some(open) => {
                open.holder = self.context.holder.into();
                open.instance_ids.extend(ids);
            }
            None => self.ledger.terminations.push(Termination {
                holder: self.context.holder.into(),
                reason,
                started_at: Time(second(self.context.now)),
                instance_ids: ids,
            }),
        }
    }

    /// What to launch workers of `role` from, or why none may be launched. Orphans of the owners in `ignored` are no
    /// reason.
    pub fn launch_spec<'r>(
        &self,
        role: &'r DesiredRole,
        parameters: &Synced,
        ignored: &BTreeSet<Uid>,
    ) -> Result<&'r LaunchSpec, Blocker> {
        let adopted = self.ledger.adopted();
        let orphans = &self.observed.instances.orphans;
        if orphans.iter().any(|(id, orphan)| !ignored.contains(&orphan.uid) && !adopted.contains(id)) {
            return Err(Blocker::Orphans);
        }
        if parameters.problem.is_some() {
            return Err(Blocker::Parameters);
        }
        role.resolved.usable().ok_or(Blocker::Unresolved)
    }

    /// Launches up to `wanted` workers, and returns what blocks the others.
    pub fn launch(&mut self, order: &Order<'_>, wanted: u32) -> Result<(), Blocker> {
        if wanted == 0 {
            return Ok(());
        }
        let (feedback, LaunchSpec { revision, places, image, .. }) = (&self.observed.feedback, order.launch_spec);
        if feedback.refusals.get(&revision.name).is_some_and(|refusal| !refusal.retry) {
            return Err(Blocker::Refused);
        }
        let Zones::Known(zones) = &self.observed.zones else { return Err(Blocker::NoZones) };
        let open: u32 = self.ledger.launches.iter().map(|i| (i.instance_ids.len() as u32).max(i.count)).sum();
        let room = MAX_OPEN_LAUNCHED.saturating_sub(open);
        let unavailable = feedback.unavailable.keys().cloned().collect();
        let present = self.by_zone(order.role, zones);
        let calls = places.calls(wanted.min(room), zones, &present, &unavailable);
        let calls: Vec<_> = calls.into_iter().take(MAX_OPEN_CALLS.saturating_sub(self.ledger.launches.len())).collect();
        let launched: u32 = calls.iter().map(|(_, count)| count).sum();
        let mut replaces = order.replaces;
        for (pool, count, indexes) in split(calls, order.indexes) {
            let replaced = replaces.min(count);
            replaces -= replaced;
            let intent = LaunchIntent {
                token: ClientToken::new(&order.owner.uid, (self.context.nonce)()),
                holder: self.context.holder.into(),
                attempts: 1,
                role: order.role.clone(),
                revision: revision.name.clone(),
                subnet: pool.subnet,
                instance_type: pool.instance_type,
                image_id: image.id.clone(),
                launch_template_version: order.launch_spec.launch_template_version,
                indexes,
                count,
                replaces: replaced,
                instance_ids: Vec::new(),
                started_at: Time(second(self.context.now)),
            }
            .sealed(&order.owner.name_tag());
            self.ledger.launches.push(intent.clone());
            self.launches.push(intent);
        }
        match launched {
            n if n == wanted => Ok(()),
            0 if room > 0 && places.pools().all(|pool| unavailable.contains(&pool)) => Err(Blocker::NoCapacity),
            _ => Err(Blocker::Busy),
        }
    }

    /// How many workers each zone has, including those that are being launched.
    fn by_zone(&self, role: &Role, zones: &BTreeMap<SubnetId, Zone>) -> BTreeMap<Zone, u32> {
        let mut present: BTreeMap<Zone, u32> = BTreeMap::new();
        for worker in self.workers().filter(|worker| worker.known.role == *role) {
            if let Ok(zone) = Zone::try_from(worker.instance.zone.as_str()) {
                *present.entry(zone).or_default() += 1;
            }
        }
        for intent in self.ledger.launches.iter().filter(|intent| &intent.role == role) {
            let expected = if intent.instance_ids.is_empty() { intent.count } else { intent.instance_ids.len() as u32 };
            let seen = self.observed.instances.launched_with(&intent.token).count() as u32;
            if let Some(zone) = zones.get(&intent.subnet) {
                *present.entry(zone.clone()).or_default() += expected.saturating_sub(seen);
            }
        }
        present
    }

    pub fn finish(self, blockers: BTreeMap<Role, Blocker>) -> Plan {
        let mut actions: Vec<_> = self.launches.into_iter().map(Action::Launch).collect();
        let asked = &self.observed.feedback.asked;
        // Whoever may write the status can name any instance as a victim. Only an instance that was observed is proven
        // to be the owner's.
        let shown = &self.observed.instances.shown;
        let mut victims: Vec<_> = self.ledger.victims().into_iter().filter(|id| !asked.contains(id)).collect();
        victims.retain(|id| shown.contains_key(id));
        if self.may_send && !victims.is_empty() {
            actions.push(Action::Terminate(victims));
        }
        Plan { ledger: self.ledger, actions, blockers }
    }
}

/// Assigns the indexes to the calls, in order. A call is split if its indexes exceed the length of a tag.
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
