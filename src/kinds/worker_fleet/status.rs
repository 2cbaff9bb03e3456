//! The status of a fleet: counts, the list of workers, and conditions. Pure.

mod ready;
mod workers;

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    slice::from_ref,
};

use crate::{
    aws,
    condition::{ConditionType, Reason, Truth, Verdict},
    crd::{
        worker_fleet::{RoleStatus, WorkerFleet, WorkerFleetStatus},
        workers_status::{AmiStatus, WorkersStatus},
    },
    ids::{InstanceId, Role},
    kinds::worker_fleet::{
        absent::AbsentReport,
        cpu::{Cpu, with_cpu},
        desired::{ADOPT, Desired, IGNORE},
        events,
        plan::state::State,
    },
    reconcile::Outcome,
    workers::{
        kind::{Pass, PassResult, WorkerKind},
        launch_spec::{DesiredRole, stored::LABEL},
        ledger::{Ledger, MAX_ADOPTED},
        observe::{counts, observed::Observed},
        plan::{Blocker, progress_tracker::ProgressMark},
        status::{ami, blocked, conditions, whole},
    },
};

const NOUNS: conditions::Nouns = conditions::Nouns { kind: "WorkerFleet", object: "fleet" };

/// The status after a pass.
pub(super) fn outcome(
    pass: &mut Pass<'_, WorkerFleet>,
    desired: &Desired,
    found: &PassResult<WorkerFleet>,
) -> Outcome<WorkerFleetStatus> {
    let absent = AbsentReport::of(pass, desired);
    let now = pass.ctx.clock.monotonic();
    let no_state = State::default();
    let PassResult { observed, assessment, ledger, blockers, .. } = found;
    let assessment = assessment.as_ref();
    let losses = &pass.memory.workers.losses;
    let (lost, untagged) = (losses.lately(now), losses.untagged().cloned().collect::<Vec<_>>());
    let mut view = View {
        desired,
        observed,
        ledger,
        blockers,
        state: assessment.map_or(&no_state, |assessment| &assessment.state),
        late: false,
        termination_failed: &pass.memory.workers.termination_failed,
        absent: absent.as_ref(),
        lost: &lost,
        untagged: &untagged,
    };
    let at_rest = view.is_settled() || desired.suspended;
    if at_rest {
        pass.memory.progress.rest();
    } else {
        view.late = pass.memory.progress.is_late(view.mark(), now, desired.update.progress_deadline);
    }
    let cpu = assessment.and_then(|assessment| assessment.cpu.as_ref());
    let before = pass.live.status();
    let status = with_cpu(cpu, &before, view.status(before.clone()));
    let mut status = WorkerFleet::with_ledger(status, pass.session, &observed.instances, ledger.clone());
    let mut verdicts = view.verdicts();
    verdicts.extend(cpu.and_then(Cpu::verdict));
    let account = &pass.live.object().spec.aws.account_ref.name;
    verdicts.extend(pass.memory.workers.adoption.verdict(&found.observed.instances.withheld, account));
    pass.rest(at_rest, found.moved);
    status.workers.plan = assessment.and_then(|assessment| assessment.preview.clone());
    let next = assessment.and_then(|assessment| assessment.next);
    let requeue = pass.requeue(found);
    Outcome { status, verdicts, requeue: next.map_or(requeue, |next| requeue.min(next)) }
}

/// What a status is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub desired: &'a Desired,
    pub observed: &'a Observed,
    pub ledger: &'a Ledger,
    pub blockers: &'a BTreeMap<Role, Blocker>,
    pub state: &'a State,
    /// No progress was made for longer than the deadline.
    pub late: bool,
    /// Instances that EC2 refused to terminate, and why.
    pub termination_failed: &'a BTreeMap<InstanceId, aws::Error>,
    /// The FleetReport that readiness depends on, if it does not exist.
    pub absent: Option<&'a AbsentReport>,
    /// The workers that were lost in the last hour, and why.
    pub lost: &'a str,
    /// Running instances that lost the fleet's tags.
    pub untagged: &'a [InstanceId],
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
    fn main(&self) -> &DesiredRole {
        &self.desired.roles[0]
    }

    /// All roles together, and workers of removed roles in `existing`.
    pub(super) fn counts(&self) -> Counts {
        let existing = counts::existing(&self.observed.instances, self.ledger);
        Counts { existing, ..self.counts_in(&self.desired.roles) }
    }

    fn counts_of(&self, role: &DesiredRole) -> Counts {
        self.counts_in(from_ref(role))
    }

    fn counts_in(&self, roles: &[DesiredRole]) -> Counts {
        let mut counts = Counts { desired: roles.iter().map(|role| role.replicas).sum(), ..Counts::default() };
        for group in counts::counted(&self.observed.instances, self.ledger) {
            let Some(role) = roles.iter().find(|role| role.role.as_str() == group.role) else { continue };
            let health = group.seen.map(|worker| self.state.of(worker)).unwrap_or_default();
            let outdated = self.state.is_outdated(&role.role, group.revision);
            counts.existing += group.count;
            counts.outdated += if outdated { group.count } else { 0 };
            counts.ready += u32::from(health.ready);
            counts.available += u32::from(health.available);
            counts.updated += u32::from(group.seen.is_some() && !outdated && role.resolved.launch_spec.is_some());
        }
        counts
    }

    /// The progress of all roles together.
    pub(super) fn mark(&self) -> ProgressMark {
        let mut hasher = DefaultHasher::new();
        self.desired.revisions().hash(&mut hasher);
        self.desired.roles.iter().for_each(|role| (role.role.as_str(), role.replicas).hash(&mut hasher));
        let Counts { desired, existing, ready: _, available, updated, outdated } = self.counts();
        ProgressMark {
            desired: hasher.finish(),
            updated,
            available,
            leaving: outdated.max(existing.saturating_sub(desired)),
        }
    }

    /// Whether nothing is in progress and nothing is awaited.
    pub(super) fn is_settled(&self) -> bool {
        let is_complete = |role: &DesiredRole| {
            let Counts { desired, existing, available, outdated, .. } = self.counts_of(role);
            role.resolved.launch_spec.is_some() && existing == desired && available == desired && outdated == 0
        };
        self.desired.parameters.problem.is_none()
            && !self.ledger.is_open()
            && self.desired.roles.iter().all(is_complete)
            && self.counts().existing == self.desired.total()
    }

    /// `before` with everything that this view knows, except the record and the conditions.
    pub(super) fn status(&self, before: WorkerFleetStatus) -> WorkerFleetStatus {
        let main = self.role(self.main());
        let (instances, total) = self.summaries(&before.instances);
        let workers = WorkersStatus {
            ami: self.main().resolved.image().map(AmiStatus::from).or(before.workers.ami),
            instances_truncated: total > instances.len(),
            instances_total: whole(total),
            ..before.workers
        };
        WorkerFleetStatus {
            workers,
            replicas: main.replicas,
            ready_replicas: main.ready_replicas,
            updated_replicas: main.updated_replicas,
            available_replicas: main.available_replicas,
            desired_replicas: main.desired_replicas,
            roles: self.desired.roles[1..].iter().map(|role| self.role(role)).collect(),
            selector: format!("{LABEL}={}", self.desired.owner.uid),
            current_revision: self.current_revision().or(before.current_revision),
            update_revision: self.update_revision().map(str::to_owned).or(before.update_revision),
            instances,
            ..before
        }
    }

    fn role(&self, role: &DesiredRole) -> RoleStatus {
        let counts = self.counts_of(role);
        RoleStatus {
            name: role.role.to_string(),
            replicas: whole(counts.existing),
            ready_replicas: whole(counts.ready),
            updated_replicas: whole(counts.updated),
            available_replicas: whole(counts.available),
            desired_replicas: whole(counts.desired),
        }
    }

    /// The revision of most workers.
    fn current_revision(&self) -> Option<String> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for worker in counts::workers(&self.observed.instances, self.ledger) {
            *counts.entry(worker.known.revision.as_str()).or_default() += 1;
        }
        let newest = self.update_revision();
        let named = counts.into_iter().filter(|(name, _)| !name.is_empty());
        let most = named.max_by_key(|(name, count)| (*count, Some(*name) == newest)).map(|(name, _)| name);
        most.or(newest).map(str::to_owned)
    }

    fn update_revision(&self) -> Option<&str> {
        self.main().resolved.launch_spec.as_ref().map(|launch_spec| launch_spec.revision.name.as_str())
    }

    pub(super) fn verdicts(&self) -> Vec<Verdict> {
        let ready = self.ready();
        let others = [
            self.available(),
            self.progressing(&ready),
            ami::resolved(self.desired.roles.iter().map(|role| &role.resolved)),
            self.capacity(),
            self.healthy(),
            self.orphans(),
        ];
        blocked::summarize(ready, others, self.is_stalled(), self.desired.suspended)
    }

    fn available(&self) -> Verdict {
        let Counts { desired, available, .. } = self.counts();
        // Workers that an update may make unavailable are not missed.
        let misses = |role: &&DesiredRole| {
            self.counts_of(role).available + self.desired.update.bounds(role.replicas).1 < role.replicas
        };
        let missing: Vec<_> = self.desired.roles.iter().filter(misses).collect();
        let reason = if missing.is_empty() { Reason::MinimumAvailable } else { Reason::MinimumUnavailable };
        let mut message = format!("{available} of {desired} workers are available");
        for role in missing.iter().filter(|_| self.desired.roles.len() > 1).take(conditions::NAMED) {
            let available = self.counts_of(role).available;
            message.push_str(&format!("; role {}: {available} of {}", role.role, role.replicas));
        }
        Verdict::new(ConditionType::Available, missing.is_empty(), reason, message)
    }

    fn capacity(&self) -> Verdict {
        let advice = "add instance types or subnets, or wait for the next attempt";
        conditions::capacity(&self.observed.feedback.unavailable, self.blocker() == Some(Blocker::NoCapacity), advice)
    }

    fn orphans(&self) -> Verdict {
        let settled = (&self.ledger.adopted(), &self.desired.ignore);
        let verdict = conditions::orphans(&self.observed.instances, settled, NOUNS, |uid| {
            let ignore = format!("with {IGNORE}={uid} to ignore them");
            match (self.desired.adopt.contains(uid), self.ledger.adopted.len() < MAX_ADOPTED) {
                (false, _) => format!("annotate this fleet with {ADOPT}={uid} to adopt them, or {ignore}"),
                (true, true) => format!("they are adopted when AWS may be changed; or annotate this fleet {ignore}"),
                (true, false) => {
                    format!("the maximum of {MAX_ADOPTED} is adopted: terminate them, or annotate this fleet {ignore}")
                }
            }
        });
        if verdict.truth == Truth::True || self.untagged.is_empty() {
            return verdict;
        }
        let message = events::untagged(self.untagged.iter());
        Verdict { truth: Truth::True, reason: Reason::TagsLost, message, ..verdict }
    }
}

#[cfg(test)]
mod tests;
