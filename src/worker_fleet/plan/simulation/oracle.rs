//! What must hold after every step, told from the world itself wherever that is possible.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{Hold, OnStopped, State, failure, sick},
    process::Task,
    wish::{SIDE, Wish},
    world::World,
};
use crate::{
    ids::{InstanceId, MAIN_ROLE, Role},
    workers::{draft::Plan, headcount::workers, launch::TerminationReason, ledger::Ledger},
};

/// What the wishes so far allow.
pub(super) struct Tally {
    /// The most that there may be of each group.
    most: BTreeMap<&'static str, u32>,
    /// How many machines were asked for, beyond those that replace others.
    asked: u32,
    /// Machines that ended and were shown no more before their launch had an answer: nobody can know of them.
    pub untold: BTreeSet<InstanceId>,
    now: (u32, u32),
    template: usize,
    /// Whether the template was edited.
    pub edited: bool,
    /// Whether fewer were wanted at some time.
    pub shrunk: bool,
    /// Whether a machine was lost or fell ill.
    pub harmed: bool,
    /// How often a zone was dark: then a few machines may have been given up that are there.
    pub darkened: u32,
}

impl Tally {
    pub(super) fn new(wish: &Wish) -> Self {
        Self {
            most: BTreeMap::new(),
            asked: 0,
            untold: BTreeSet::new(),
            now: (0, 0),
            template: wish.template,
            edited: false,
            shrunk: false,
            harmed: false,
            darkened: 0,
        }
    }

    pub(super) fn wished(&mut self, wish: &Wish) {
        self.edited |= wish.template != self.template;
        self.template = wish.template;
        let groups = (wish.replicas, wish.side.unwrap_or_default());
        self.shrunk |= groups.0 < self.now.0 || groups.1 < self.now.1;
        self.asked += groups.0.saturating_sub(self.now.0) + groups.1.saturating_sub(self.now.1);
        self.now = groups;
        let surge = match Wish::BOUNDS[wish.bounds] {
            (surge, _) if self.edited => surge,
            _ => 0,
        };
        for (role, replicas) in [(MAIN_ROLE, groups.0), (SIDE, groups.1)] {
            let most = self.most.entry(role).or_default();
            *most = (*most).max(replicas + surge);
        }
    }
}

impl World {
    /// What must hold of the world after every step.
    pub(super) fn check(&mut self) {
        let violation = self.ec2.violation.take().or_else(|| self.too_many()).or_else(|| self.too_many_replaced());
        if self.violation.is_none() {
            self.violation = violation;
        }
    }

    fn too_many(&self) -> Option<String> {
        let live = self.live_by_role();
        let given_up = self.given_up();
        if self.gone && live.values().sum::<u32>() > given_up {
            return Some(format!("{live:?} live after the fleet is gone"));
        }
        live.into_iter()
            .find(|(role, live)| *live > self.tally.most.get(role).copied().unwrap_or_default() + given_up)
            .map(|(role, live)| format!("{live} of {role} live, at most {:?} may", self.tally.most.get(role)))
    }

    /// A few that vanish are given up after the grace. Should they come back, they are surplus, or without an owner.
    pub(super) fn given_up(&self) -> u32 {
        self.tally.darkened * self.wish.max_unhealthy
    }

    fn too_many_replaced(&self) -> Option<String> {
        let recent = self.ec2.launched.iter().filter(|time| **time + 3600 > self.now).count() as u32;
        let most = self.tally.asked + self.wish.replacements + self.tally.untold.len() as u32;
        (!self.tally.edited && recent > most)
            .then(|| format!("{recent} launched within an hour, at most {most} may be"))
    }

    /// What must hold of every plan, as far as the process can know.
    pub(super) fn judge(&mut self, task: &Task, state: &State, next: &Plan) {
        let violation = (self.too_few(task, state, next))
            .or_else(|| self.replaced_although_many_are_unhealthy(task, state, next))
            .or_else(|| self.held_without_loss(next));
        if self.violation.is_none() {
            self.violation = violation;
        }
    }

    fn too_few(&self, task: &Task, state: &State, next: &Plan) -> Option<String> {
        let available = |role: &Role, ledger: &Ledger| {
            let of_role = workers(&task.observed.roster, ledger).filter(|w| w.instance.role() == role.as_str());
            of_role.filter(|worker| state.of(worker).available).count() as u32
        };
        let desired = &task.read.desired;
        desired.groups.iter().find_map(|group| {
            let (before, after) = (available(&group.role, &task.ledger), available(&group.role, &next.ledger));
            let (_, may_lack) = desired.update.bounds(group.replicas);
            let least = group.replicas.saturating_sub(may_lack).min(before);
            (after < least).then(|| format!("{after} of {} are left available of {before}, not {least}", group.role))
        })
    }

    fn replaced_although_many_are_unhealthy(&self, task: &Task, state: &State, next: &Plan) -> Option<String> {
        let desired = &task.read.desired;
        let roster = &task.observed.roster;
        let unhealthy = sick(workers(roster, &task.ledger), desired, state);
        let ended = |ledger: &Ledger| {
            let reasons =
                [TerminationReason::Stopped, TerminationReason::StartupDeadline, TerminationReason::ChecksFailed];
            let open = ledger.terminations.iter().filter(|open| reasons.contains(&open.reason));
            open.map(|open| open.instance_ids.iter().filter(|id| !roster.is_over(id)).count()).sum::<usize>()
        };
        let failed = workers(roster, &task.ledger).any(|w| failure(w, state.of(w), OnStopped::Replace).is_some());
        let many = unhealthy > desired.max_unhealthy.rounded_up(desired.total());
        (many && failed && ended(&next.ledger) > ended(&task.ledger))
            .then(|| format!("{unhealthy} are unhealthy, and some are replaced all the same"))
    }

    /// The first fill and scaling up are no replacements. Where machines are ended on purpose, one whose end nobody sees
    /// before EC2 forgets it is missed like one that was lost, which holds launches at most.
    fn held_without_loss(&self, next: &Plan) -> Option<String> {
        let held = next.holds.values().any(|hold| *hold == Hold::ReplacementLimit);
        (held && !self.tally.harmed && self.tally.darkened == 0 && !self.tally.edited && !self.tally.shrunk)
            .then(|| "held by the limit of replacements, although no machine was lost".into())
    }
}
