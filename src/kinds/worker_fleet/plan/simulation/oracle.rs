//! What must hold after every step, told from the world itself wherever that is possible.

use std::collections::BTreeMap;

use crate::{
    crd::{launches::TerminationReason, worker_fleet::OnStopped},
    ids::{MAIN_ROLE, Role},
    kinds::worker_fleet::plan::{
        State, failure, sick,
        simulation::spec::{BOUNDS, SIDE, Spec},
    },
    workers::{
        ledger::Ledger,
        observe::counts::workers,
        plan::{Blocker, Plan},
        simulation::{process::Task, world::World},
    },
};

/// A fleet, and what its specs so far allow.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    /// The most that there may be of each role.
    most: BTreeMap<&'static str, u32>,
    /// How many instances were asked for, beyond those that replace others.
    asked: u32,
    now: (u32, u32),
    template: usize,
    /// Whether the template was edited.
    edited: bool,
    /// Whether fewer were wanted at some time.
    shrunk: bool,
}

impl Fleet {
    pub(super) fn change_spec(&mut self, spec: &Spec) {
        self.edited |= spec.template != self.template;
        self.template = spec.template;
        let roles = (spec.replicas, spec.side.unwrap_or_default());
        self.shrunk |= roles.0 < self.now.0 || roles.1 < self.now.1;
        self.asked += roles.0.saturating_sub(self.now.0) + roles.1.saturating_sub(self.now.1);
        self.now = roles;
        let surge = match BOUNDS[spec.bounds] {
            (surge, _) if self.edited => surge,
            _ => 0,
        };
        for (role, replicas) in [(MAIN_ROLE, roles.0), (SIDE, roles.1)] {
            let most = self.most.entry(role).or_default();
            *most = (*most).max(replicas + surge);
        }
    }
}

impl World<Fleet> {
    pub(super) fn too_many(&self) -> Option<String> {
        let live = self.live_by_role();
        let given_up = self.given_up();
        if self.gone && live.values().sum::<u32>() > given_up {
            return Some(format!("{live:?} live after the fleet is gone"));
        }
        live.into_iter()
            .find(|(role, live)| *live > self.own.most.get(role).copied().unwrap_or_default() + given_up)
            .map(|(role, live)| format!("{live} of {role} live, at most {:?} may", self.own.most.get(role)))
    }

    /// A few that vanish in a dark zone are given up after the grace. Should they come back, they are surplus, or without
    /// an owner.
    pub(super) fn given_up(&self) -> u32 {
        self.ec2.darkened * self.spec.max_unhealthy
    }

    pub(super) fn too_many_replaced(&self) -> Option<String> {
        let recent = self.ec2.launched.iter().filter(|time| **time + 3600 > self.now).count() as u32;
        let most = self.own.asked + self.spec.replacements + self.untold.len() as u32;
        (!self.own.edited && recent > most).then(|| format!("{recent} launched within an hour, at most {most} may be"))
    }

    /// What must hold of every plan, as far as the process can know.
    pub(super) fn judge(&self, task: &Task<Fleet>, state: &State, next: &Plan) -> Option<String> {
        (self.too_few(task, state, next))
            .or_else(|| self.replaced_although_many_are_unhealthy(task, state, next))
            .or_else(|| self.held_without_loss(next))
    }

    fn too_few(&self, task: &Task<Fleet>, state: &State, next: &Plan) -> Option<String> {
        let available = |role: &Role, ledger: &Ledger| {
            let of_role = workers(&task.observed.instances, ledger).filter(|w| w.known.role == *role);
            of_role.filter(|worker| state.of(worker).available).count() as u32
        };
        let desired = &task.read.desired;
        desired.roles.iter().find_map(|role| {
            let (before, after) = (available(&role.role, &task.ledger), available(&role.role, &next.ledger));
            let (_, may_lack) = desired.update.bounds(role.replicas);
            let least = role.replicas.saturating_sub(may_lack).min(before);
            (after < least).then(|| format!("{after} of {} are left available of {before}, not {least}", role.role))
        })
    }

    fn replaced_although_many_are_unhealthy(&self, task: &Task<Fleet>, state: &State, next: &Plan) -> Option<String> {
        let desired = &task.read.desired;
        let instances = &task.observed.instances;
        let unhealthy = sick(workers(instances, &task.ledger), desired, state);
        let ended = |ledger: &Ledger| {
            let reasons =
                [TerminationReason::Stopped, TerminationReason::StartupDeadline, TerminationReason::ChecksFailed];
            let open = ledger.terminations.iter().filter(|open| reasons.contains(&open.reason));
            open.map(|open| open.instance_ids.iter().filter(|id| !instances.is_over(id)).count()).sum::<usize>()
        };
        let failed = workers(instances, &task.ledger).any(|w| failure(w, state.of(w), OnStopped::Replace).is_some());
        let many = unhealthy > desired.max_unhealthy.rounded_up(desired.total());
        (many && failed && ended(&next.ledger) > ended(&task.ledger))
            .then(|| format!("{unhealthy} are unhealthy, and some are replaced all the same"))
    }

    /// Initial launches and scaling up are not replacements. An instance that was terminated on purpose and that EC2 stops
    /// returning before the termination is observed counts as lost, which only delays launches.
    fn held_without_loss(&self, next: &Plan) -> Option<String> {
        let held = next.blockers.values().any(|blocker| *blocker == Blocker::ReplacementLimit);
        (held && !self.ec2.harmed && self.ec2.darkened == 0 && !self.own.edited && !self.own.shrunk)
            .then(|| "held by the limit of replacements, although no instance was lost".into())
    }

    fn live_by_role(&self) -> BTreeMap<&str, u32> {
        let victims = self.object.ledger.victims();
        let mut live = BTreeMap::new();
        for worker in self.ec2.own().filter(|w| w.is_live() && !victims.contains(&w.instance.id)) {
            *live.entry(worker.role()).or_default() += 1;
        }
        live
    }
}
