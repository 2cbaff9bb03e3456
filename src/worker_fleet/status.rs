//! What to tell: counts, the list of workers, and conditions. Pure.

mod workers;

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use crate::{
    aws,
    condition::{ConditionType, Reason, Truth, Verdict},
    ids::{InstanceId, Role},
    worker_fleet::{
        absent::AbsentReport,
        crd::{RoleStatus, WorkerFleetStatus},
        desired::{ADOPT, Desired, Group, IGNORE},
        losses,
        plan::State,
    },
    workers::{
        advance::Mark,
        ami::{self, AmiStatus},
        conditions::{self, NAMED, Nouns},
        draft::{Hold, Observed, Refusal, Zones},
        headcount::{existing, heads, workers},
        ledger::{Ledger, MAX_ADOPTED},
        parameters::Problem,
        preview::PLAN_ONLY,
        refusal,
        revisions::LABEL,
        status::WorkersStatus,
        supply::Supplied,
    },
};

const NOUNS: Nouns = Nouns { kind: "WorkerFleet", object: "fleet" };

/// All that a status tells of.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub desired: &'a Desired,
    pub observed: &'a Observed,
    pub ledger: &'a Ledger,
    pub holds: &'a BTreeMap<Role, Hold>,
    pub state: &'a State,
    /// No progress was made for longer than the deadline.
    pub late: bool,
    /// Instances that EC2 refused to end, and why.
    pub undying: &'a BTreeMap<InstanceId, aws::Error>,
    /// What tells who is ready, where it does not exist.
    pub absent: Option<&'a AbsentReport>,
    /// Who was lost within the hour and why.
    pub lost: &'a str,
    /// Machines that run on without the fleet's tags.
    pub estranged: &'a [InstanceId],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub desired: u32,
    pub existing: u32,
    pub ready: u32,
    pub available: u32,
    pub updated: u32,
    /// To be replaced by an update.
    pub outdated: u32,
}

impl View<'_> {
    fn main(&self) -> &Group {
        &self.desired.groups[0]
    }

    /// What holds any group back, the gravest first.
    fn hold(&self) -> Option<Hold> {
        self.holds.values().min().copied()
    }

    /// The groups for which something is to be launched.
    fn lacking(&self) -> impl Iterator<Item = &Group> {
        self.desired.groups.iter().filter(|group| {
            let counts = self.counts_of(group);
            group.supplied.supply.is_none() || counts.existing < counts.desired || counts.outdated > 0
        })
    }

    fn refusal(&self) -> Option<&Refusal> {
        let mut supplies = self.lacking().filter_map(|group| group.supplied.supply.as_ref());
        supplies.find_map(|supply| self.observed.lessons.refusals.get(&supply.revision.name))
    }

    /// Of all groups together.
    pub(super) fn counts(&self) -> Counts {
        let mut total = Counts { existing: existing(&self.observed.roster, self.ledger), ..Counts::default() };
        for group in &self.desired.groups {
            let Counts { desired, existing: _, ready, available, updated, outdated } = self.counts_of(group);
            total.desired += desired;
            total.ready += ready;
            total.available += available;
            total.updated += updated;
            total.outdated += outdated;
        }
        total
    }

    fn counts_of(&self, group: &Group) -> Counts {
        let mut counts = Counts { desired: group.replicas, ..Counts::default() };
        for head in heads(&self.observed.roster, self.ledger).iter().filter(|head| head.role == group.role.as_str()) {
            let health = head.seen.map(|worker| self.state.of(worker)).unwrap_or_default();
            let outdated = self.state.is_outdated(&group.role, head.revision);
            counts.existing += head.count;
            counts.outdated += if outdated { head.count } else { 0 };
            counts.ready += u32::from(health.ready);
            counts.available += u32::from(health.available);
            counts.updated += u32::from(head.seen.is_some() && !outdated && group.supplied.supply.is_some());
        }
        counts
    }

    /// How far all groups together are.
    pub(super) fn mark(&self) -> Mark {
        let mut hasher = DefaultHasher::new();
        self.desired.revisions().hash(&mut hasher);
        self.desired.groups.iter().for_each(|group| (group.role.as_str(), group.replicas).hash(&mut hasher));
        let Counts { desired, existing, ready: _, available, updated, outdated } = self.counts();
        Mark { wish: hasher.finish(), updated, available, leaving: outdated.max(existing.saturating_sub(desired)) }
    }

    /// Nothing is on its way and nothing is awaited.
    pub(super) fn is_settled(&self) -> bool {
        let is_complete = |group: &Group| {
            let Counts { desired, existing, available, outdated, .. } = self.counts_of(group);
            group.supplied.supply.is_some() && existing == desired && available == desired && outdated == 0
        };
        self.desired.parameters.problem.is_none()
            && !self.ledger.is_open()
            && self.desired.groups.iter().all(is_complete)
            && self.counts().existing == self.desired.total()
    }

    /// `before` with everything that this view tells of, but for the record and the conditions.
    pub(super) fn status(&self, before: WorkerFleetStatus) -> WorkerFleetStatus {
        let counts = self.counts_of(self.main());
        let whole = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        let (instances, total) = self.summaries(&before.instances);
        let workers = WorkersStatus {
            ami: self.main().supplied.image().map(AmiStatus::from).or(before.workers.ami),
            instances_truncated: total > instances.len(),
            instances_total: i32::try_from(total).unwrap_or(i32::MAX),
            ..before.workers
        };
        WorkerFleetStatus {
            workers,
            replicas: whole(counts.existing),
            ready_replicas: whole(counts.ready),
            updated_replicas: whole(counts.updated),
            available_replicas: whole(counts.available),
            desired_replicas: whole(counts.desired),
            roles: self.desired.groups[1..].iter().map(|group| self.role(group)).collect(),
            selector: format!("{LABEL}={}", self.desired.owner.uid),
            current_revision: self.current_revision().or(before.current_revision),
            update_revision: self.update_revision().map(str::to_owned).or(before.update_revision),
            instances,
            ..before
        }
    }

    fn role(&self, group: &Group) -> RoleStatus {
        let counts = self.counts_of(group);
        let whole = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        RoleStatus {
            name: group.role.to_string(),
            replicas: whole(counts.existing),
            ready_replicas: whole(counts.ready),
            updated_replicas: whole(counts.updated),
            available_replicas: whole(counts.available),
            desired_replicas: whole(counts.desired),
        }
    }

    /// The one that most workers run.
    fn current_revision(&self) -> Option<String> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for worker in workers(&self.observed.roster, self.ledger) {
            *counts.entry(worker.instance.revision()).or_default() += 1;
        }
        let wanted = self.update_revision();
        let most = counts.into_iter().filter(|(name, _)| !name.is_empty());
        let most = most.max_by_key(|(name, count)| (*count, Some(*name) == wanted)).map(|(name, _)| name);
        most.or(wanted).map(str::to_owned)
    }

    fn update_revision(&self) -> Option<&str> {
        self.main().supplied.supply.as_ref().map(|supply| supply.revision.name.as_str())
    }

    /// What keeps a group that lacks something from launching.
    fn unresolved(&self) -> Option<&Supplied> {
        self.lacking().map(|group| &group.supplied).find(|supplied| supplied.unresolved.is_some())
    }

    pub(super) fn verdicts(&self) -> Vec<Verdict> {
        let ready = self.ready();
        let mut verdicts = vec![
            self.available(),
            self.progressing(&ready),
            self.ami(),
            self.capacity(),
            self.healthy(),
            self.orphans(),
        ];
        if ready.truth != Truth::True && !self.desired.suspended {
            let condition = if self.is_stalled() { ConditionType::Stalled } else { ConditionType::Reconciling };
            verdicts.push(Verdict::new(condition, true, ready.reason, ready.message.clone()));
        }
        verdicts.insert(0, ready);
        verdicts
    }

    fn ready(&self) -> Verdict {
        let told = self.wanted();
        if !self.desired.plan_only {
            return told;
        }
        let reason = if told.truth == Truth::True || self.is_stalled() { told.reason } else { Reason::PlanOnly };
        Verdict { reason, message: format!("{}; {}", told.message, plan_only()), ..told }
    }

    /// Whether all is as it is wanted, and what is in the way.
    fn wanted(&self) -> Verdict {
        let say = |truth: bool, reason, message| Verdict::new(ConditionType::Ready, truth, reason, message);
        let counts = self.counts();
        let Counts { desired, ready, .. } = counts;
        let so_far = format!("{ready} of {desired} workers are ready");
        if let Some(undying) = conditions::undying(self.undying) {
            return say(false, Reason::TerminationRefused, format!("{undying}; {so_far}"));
        }
        if let (Some(absent), false) = (self.absent, self.is_settled()) {
            return say(false, Reason::FleetReportNotFound, format!("{so_far}; {}", absent.message()));
        }
        match self.hold() {
            Some(Hold::Orphans) => return say(false, Reason::OrphansFound, self.orphans().message),
            Some(Hold::NoCapacity) => {
                return say(false, Reason::NoCapacity, format!("{so_far}; {}", self.capacity().message));
            }
            Some(Hold::NoZones) => {
                if let Zones::Unknown(error) = &self.observed.zones {
                    return say(false, refusal::reason(error), format!("{so_far}; {error}{}", refusal::advice(error)));
                }
            }
            Some(Hold::Unhealthy | Hold::ReplacementLimit) => {
                let healthy = self.healthy();
                return say(false, healthy.reason, format!("{so_far}; {}", healthy.message));
            }
            Some(Hold::Parameters | Hold::Unresolved | Hold::Refused | Hold::Suspended | Hold::Busy) | None => {}
        }
        if self.hidden() > 0 {
            let healthy = self.healthy();
            return say(false, healthy.reason, format!("{so_far}; {}", healthy.message));
        }
        if let Some(problem) = &self.desired.parameters.problem {
            return say(false, problem.reason(), format!("{so_far}; {}", problem.message()));
        }
        if let Some(unresolved) = self.unresolved().and_then(|supplied| supplied.unresolved.as_ref()) {
            return say(false, unresolved.reason(), format!("{so_far}; {}", unresolved.message()));
        }
        if let Some(refusal) = self.refusal() {
            let message = format!("{so_far}; {}{}", refusal.cause, refusal::advice(&refusal.cause));
            return say(false, refusal::reason(&refusal.cause), message);
        }
        if self.is_settled() {
            // All that is wanted is there; but nothing that is lost could be replaced.
            let unresolved = self.desired.groups.iter().find_map(|group| group.supplied.unresolved.as_ref());
            let told = unresolved.map(|unresolved| format!("; none can be launched now: {}", unresolved.message()));
            return say(true, Reason::AllReady, format!("{so_far}{}", told.unwrap_or_default()));
        }
        if self.late {
            let deadline = self.desired.update.progress_deadline.as_secs();
            let message = format!("{so_far}; it has not got on for {deadline} s (update.progressDeadlineSeconds)");
            return say(false, Reason::ProgressDeadlineExceeded, message);
        }
        if counts.outdated > 0 {
            let message = format!("{so_far}; {} are to be replaced by the newest revision", counts.outdated);
            return say(false, Reason::Updating, message);
        }
        if !self.ledger.launches.is_empty() {
            say(false, Reason::Launching, so_far)
        } else if !self.ledger.terminations.is_empty() {
            say(false, Reason::Terminating, format!("{so_far}; {} are ending", self.ledger.victims().len()))
        } else {
            say(false, Reason::WorkersNotReady, so_far)
        }
    }

    fn is_stalled(&self) -> bool {
        let zones = match (&self.observed.zones, self.hold()) {
            (Zones::Unknown(error), Some(Hold::NoZones)) => refusal::stalls(error),
            (Zones::Unknown(_) | Zones::Known(_), _) => false,
        };
        let refusal = self.refusal().is_some_and(|refusal| refusal::stalls(&refusal.cause));
        self.hold() == Some(Hold::Orphans)
            || zones
            || self.unresolved().is_some_and(Supplied::stalls)
            || refusal
            || !self.undying.is_empty()
            || (self.late || self.absent.is_some_and(|report| report.stalls)) && !self.is_settled()
            || self.desired.parameters.problem.as_ref().is_some_and(Problem::is_stalled)
    }

    fn available(&self) -> Verdict {
        let Counts { desired, available, .. } = self.counts();
        // What an update may take away is not missed.
        let misses = |group: &&Group| {
            self.counts_of(group).available + self.desired.update.bounds(group.replicas).1 < group.replicas
        };
        let missing: Vec<_> = self.desired.groups.iter().filter(misses).collect();
        let (truth, reason) = match &missing[..] {
            [] => (true, Reason::MinimumAvailable),
            _ => (false, Reason::MinimumUnavailable),
        };
        let mut message = format!("{available} of {desired} workers are available");
        for group in missing.iter().filter(|_| self.desired.groups.len() > 1).take(NAMED) {
            let available = self.counts_of(group).available;
            message.push_str(&format!("; of {} {available} of {}", group.role, group.replicas));
        }
        Verdict::new(ConditionType::Available, truth, reason, message)
    }

    fn progressing(&self, ready: &Verdict) -> Verdict {
        let say =
            |truth: bool, reason, message: String| Verdict::new(ConditionType::Progressing, truth, reason, message);
        if self.desired.plan_only {
            return say(false, Reason::PlanOnly, plan_only());
        }
        if self.desired.suspended {
            return say(false, Reason::Suspended, "spec.suspend is true".into());
        }
        let held = match self.hold() {
            Some(Hold::NoCapacity | Hold::Unhealthy | Hold::ReplacementLimit) => true,
            Some(
                Hold::Orphans
                | Hold::NoZones
                | Hold::Parameters
                | Hold::Unresolved
                | Hold::Refused
                | Hold::Suspended
                | Hold::Busy,
            )
            | None => self.is_stalled() || self.hidden() > 0,
        };
        if ready.truth == Truth::True {
            say(true, Reason::UpToDate, "there is nothing to do".into())
        } else {
            say(!held, ready.reason, ready.message.clone())
        }
    }

    fn ami(&self) -> Verdict {
        ami::resolved(self.desired.groups.iter().map(|group| &group.supplied))
    }

    fn capacity(&self) -> Verdict {
        let advice = "add instance types or subnets, or wait: they are tried again";
        conditions::capacity(&self.observed.lessons.cooling, self.hold() == Some(Hold::NoCapacity), advice)
    }

    fn orphans(&self) -> Verdict {
        let settled = (&self.ledger.adopted(), &self.desired.ignore);
        let told = conditions::orphans(&self.observed.roster, settled, NOUNS, |uid| {
            let ignore = format!("with {IGNORE}={uid} to start beside them");
            match (self.desired.adopt.contains(uid), self.ledger.adopted.len() < MAX_ADOPTED) {
                (false, _) => format!("annotate this one with {ADOPT}={uid} to take them over, or {ignore}"),
                (true, true) => {
                    format!("they are taken over once AWS may be changed; or annotate this one {ignore}")
                }
                (true, false) => {
                    format!(
                        "{MAX_ADOPTED} were taken over, and more cannot be: end them, or annotate this one {ignore}"
                    )
                }
            }
        });
        if told.truth == Truth::True || self.estranged.is_empty() {
            return told;
        }
        let message = losses::estranged(self.estranged.iter());
        Verdict { truth: Truth::True, reason: Reason::TagsLost, message, ..told }
    }
}

fn plan_only() -> String {
    format!("nothing in AWS is changed while the annotation {PLAN_ONLY} is true, see status.plan; remove it to go on")
}

#[cfg(test)]
mod tests;
