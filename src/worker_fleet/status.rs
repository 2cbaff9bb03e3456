//! What to tell: counts, the list of workers, and conditions. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    aws::{self, Class},
    condition::{ConditionType, Reason, Truth, Verdict, second},
    ids::{InstanceId, Uid},
    worker_fleet::{
        crd::{ReadinessCheck, WorkerFleetStatus, WorkerSummary},
        desired::{ADOPT, Desired, IGNORE},
        plan::{Hold, Observed, Zones, existing, is_ready, workers},
    },
    workers::{
        ledger::Ledger,
        ownership::REVISION_TAG,
        parameters::Problem,
        revisions::LABEL,
        roster::{Roster, Sighting},
    },
};

/// So many workers are listed one by one.
const LISTED: usize = 50;
/// So many ids are named in a message.
const NAMED: usize = 5;

/// All that a status tells of.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub desired: &'a Desired,
    pub observed: &'a Observed,
    pub ledger: &'a Ledger,
    pub hold: Option<&'a Hold>,
    /// Instances that EC2 refused to end, and why.
    pub undying: &'a BTreeMap<InstanceId, aws::Error>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub desired: u32,
    pub existing: u32,
    pub ready: u32,
    pub updated: u32,
}

impl View<'_> {
    pub(super) fn counts(&self) -> Counts {
        let workers = || workers(&self.observed.roster, self.ledger);
        let updated = |worker: &&Sighting| revision(worker) == self.desired.revision.name;
        Counts {
            desired: self.desired.replicas,
            existing: existing(&self.observed.roster, self.ledger),
            ready: workers().filter(|worker| is_ready(worker, self.desired.readiness)).count() as u32,
            updated: workers().filter(updated).count() as u32,
        }
    }

    /// Nothing is on its way and nothing is awaited.
    pub(super) fn is_settled(&self) -> bool {
        let counts = self.counts();
        let synced = self.desired.parameters.problem.is_none();
        synced && !self.ledger.is_open() && counts.existing == counts.desired && counts.ready == counts.desired
    }

    /// `before` with everything that this view tells of, but for the record and the conditions.
    pub(super) fn status(&self, before: WorkerFleetStatus) -> WorkerFleetStatus {
        let counts = self.counts();
        let whole = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        let (instances, total) = summaries(&self.observed.roster, self.ledger, self.desired.readiness);
        WorkerFleetStatus {
            replicas: whole(counts.existing),
            ready_replicas: whole(counts.ready),
            updated_replicas: whole(counts.updated),
            available_replicas: whole(counts.ready),
            desired_replicas: whole(counts.desired),
            selector: format!("{LABEL}={}", self.desired.owner.uid),
            current_revision: Some(self.current_revision()),
            update_revision: Some(self.desired.revision.name.clone()),
            instances_truncated: total > instances.len(),
            instances_total: i32::try_from(total).unwrap_or(i32::MAX),
            instances,
            ..before
        }
    }

    /// The one that most workers run.
    fn current_revision(&self) -> String {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for worker in workers(&self.observed.roster, self.ledger) {
            *counts.entry(revision(worker)).or_default() += 1;
        }
        let wanted = self.desired.revision.name.as_str();
        let most = counts.into_iter().filter(|(name, _)| !name.is_empty());
        most.max_by_key(|(name, count)| (*count, *name == wanted)).map_or(wanted, |(name, _)| name).to_owned()
    }

    pub(super) fn verdicts(&self) -> Vec<Verdict> {
        let ready = self.ready();
        let mut verdicts = vec![self.available(), self.progressing(&ready), self.capacity(), self.orphans()];
        if ready.truth != Truth::True && !self.desired.suspended {
            let condition = if self.is_stalled() { ConditionType::Stalled } else { ConditionType::Reconciling };
            verdicts.push(Verdict::new(condition, true, ready.reason, ready.message.clone()));
        }
        verdicts.insert(0, ready);
        verdicts
    }

    fn ready(&self) -> Verdict {
        let say = |truth: bool, reason, message| Verdict::new(ConditionType::Ready, truth, reason, message);
        let Counts { desired, existing, ready, updated: _ } = self.counts();
        let so_far = format!("{ready} of {desired} workers are ready");
        if let Some((id, error)) = self.undying.iter().next() {
            let (more, named) = (self.undying.len() - 1, format!("{id} is not ended: {error}"));
            let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
            return say(false, Reason::TerminationRefused, format!("{named}{more}; {so_far}"));
        }
        match self.hold {
            Some(Hold::Orphans) => return say(false, Reason::OrphansFound, self.orphans().message),
            Some(Hold::NoCapacity) => {
                return say(false, Reason::NoCapacity, format!("{so_far}; {}", self.capacity().message));
            }
            Some(Hold::NoZones) => {
                if let Zones::Unknown(error) = &self.observed.zones {
                    return say(false, refused(error), format!("{so_far}; {error}"));
                }
            }
            Some(Hold::Parameters | Hold::Refused | Hold::Suspended | Hold::Busy) | None => {}
        }
        if let Some(problem) = &self.desired.parameters.problem {
            return say(false, problem.reason(), format!("{so_far}; {}", problem.message()));
        }
        if let (Some(refusal), true) = (&self.observed.lessons.refusal, existing < desired) {
            let message = format!("{so_far}; {}{}", refusal.cause, advice(&refusal.cause));
            return say(false, refused(&refusal.cause), message);
        }
        if self.is_settled() {
            return say(true, Reason::AllReady, so_far);
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
        let stalls = |error: &aws::Error| match error.class {
            Class::Denied | Class::InvalidInput | Class::NotFound => true,
            Class::Throttled | Class::NoCapacity | Class::Conflict | Class::Transient => false,
        };
        let zones = match (&self.observed.zones, self.hold) {
            (Zones::Unknown(error), Some(Hold::NoZones)) => stalls(error),
            (Zones::Unknown(_) | Zones::Known(_), _) => false,
        };
        let refusal = self.observed.lessons.refusal.as_ref().is_some_and(|refusal| stalls(&refusal.cause));
        let counts = self.counts();
        self.hold == Some(&Hold::Orphans)
            || zones
            || (refusal && counts.existing < counts.desired)
            || !self.undying.is_empty()
            || self.desired.parameters.problem.as_ref().is_some_and(Problem::is_stalled)
    }

    fn available(&self) -> Verdict {
        let Counts { desired, ready, .. } = self.counts();
        let (truth, reason) =
            if ready >= desired { (true, Reason::MinimumAvailable) } else { (false, Reason::MinimumUnavailable) };
        Verdict::new(ConditionType::Available, truth, reason, format!("{ready} of {desired} workers are available"))
    }

    fn progressing(&self, ready: &Verdict) -> Verdict {
        let say =
            |truth: bool, reason, message: String| Verdict::new(ConditionType::Progressing, truth, reason, message);
        if self.desired.suspended {
            return say(false, Reason::Suspended, "spec.suspend is true".into());
        }
        let held = self.is_stalled() || self.hold == Some(&Hold::NoCapacity);
        let Counts { desired, updated, .. } = self.counts();
        if ready.truth == Truth::True && updated < desired {
            let earlier = desired - updated;
            let message =
                format!("{earlier} of {desired} workers run an earlier revision: a change holds for new launches");
            say(true, Reason::AllReady, message)
        } else if ready.truth == Truth::True {
            say(true, Reason::UpToDate, "there is nothing to do".into())
        } else {
            say(!held, ready.reason, ready.message.clone())
        }
    }

    fn capacity(&self) -> Verdict {
        let say = |truth: bool, reason, message| Verdict::new(ConditionType::CapacityAvailable, truth, reason, message);
        let cooling = &self.observed.lessons.cooling;
        let named: Vec<_> = cooling
            .iter()
            .take(NAMED)
            .map(|(pool, error)| format!("{} in {}: {}", pool.instance_type, pool.subnet, error.code))
            .collect();
        let more = cooling.len().saturating_sub(NAMED);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        let named = format!("{}{more}", named.join(", "));
        if self.hold == Some(&Hold::NoCapacity) {
            let advice = "add instance types or subnets, or wait: they are tried again";
            say(false, Reason::NoCapacity, format!("EC2 has no capacity for {named}; {advice}"))
        } else if cooling.is_empty() {
            say(true, Reason::CapacityFound, "EC2 refused no launch for want of capacity".into())
        } else {
            say(true, Reason::CapacityFound, format!("other pools are used, since EC2 has no capacity for {named}"))
        }
    }

    fn orphans(&self) -> Verdict {
        let say = |truth: bool, reason, message| Verdict::new(ConditionType::OrphansFound, truth, reason, message);
        let roster = &self.observed.roster;
        let adopted = self.ledger.adopted();
        let mut by_uid: BTreeMap<&Uid, Vec<&InstanceId>> = BTreeMap::new();
        let open = roster.orphans.iter();
        for (id, uid) in open.filter(|(id, uid)| !adopted.contains(*id) && !self.desired.ignore.contains(*uid)) {
            by_uid.entry(uid).or_default().push(id);
        }
        if let Some((uid, ids)) = by_uid.into_iter().next() {
            let message = format!(
                "{} run for an earlier WorkerFleet of this name with uid {uid}, so none is launched beside them; annotate \
                 this one with {ADOPT}={uid} to take them over, or with {IGNORE}={uid} to start beside them",
                list(ids.into_iter())
            );
            return say(true, Reason::OrphansFound, message);
        }
        if !roster.strangers.is_empty() {
            let message = format!(
                "{} carry the tags of this fleet and were not launched by it: they are not counted and not touched",
                list(roster.strangers.iter())
            );
            return say(true, Reason::StrangersFound, message);
        }
        say(false, Reason::NoOrphans, "every machine with this fleet's name is its own".into())
    }
}

fn revision(worker: &Sighting) -> &str {
    worker.instance.tags.get(REVISION_TAG).map(String::as_str).unwrap_or_default()
}

fn refused(error: &aws::Error) -> Reason {
    match error.class {
        Class::Denied => Reason::AwsDenied,
        Class::InvalidInput => Reason::AwsInvalid,
        Class::NotFound => Reason::AwsNotFound,
        Class::Throttled => Reason::AwsThrottled,
        Class::NoCapacity => Reason::NoCapacity,
        Class::Conflict | Class::Transient => Reason::AwsUnavailable,
    }
}

fn advice(error: &aws::Error) -> String {
    match error.class {
        Class::Denied => format!("; allow {} to the role that muster uses here", error.operation),
        Class::InvalidInput | Class::NotFound => "; change spec.template accordingly".into(),
        Class::Throttled | Class::NoCapacity | Class::Conflict | Class::Transient => String::new(),
    }
}

fn list<'a>(ids: impl ExactSizeIterator<Item = &'a InstanceId>) -> String {
    let more = ids.len().saturating_sub(NAMED);
    let named: Vec<_> = ids.take(NAMED).map(InstanceId::as_str).collect();
    if more == 0 { named.join(", ") } else { format!("{} and {more} more", named.join(", ")) }
}

/// Those that are not ready first, and how many there are.
fn summaries(roster: &Roster, ledger: &Ledger, check: ReadinessCheck) -> (Vec<WorkerSummary>, usize) {
    let mut all: Vec<_> = workers(roster, ledger).collect();
    all.sort_by_key(|worker| (is_ready(worker, check), &worker.instance.id));
    let summary = |worker: &&Sighting| {
        let instance = &worker.instance;
        WorkerSummary {
            id: instance.id.clone(),
            state: instance.state.as_str().into(),
            ready: is_ready(worker, check),
            zone: instance.zone.clone(),
            instance_type: instance.instance_type.clone(),
            revision: revision(worker).into(),
            launched_at: instance.launched_at.map(|time| Time(second(time))),
            cpu_percent: None,
        }
    };
    (all.iter().take(LISTED).map(summary).collect(), all.len())
}

#[cfg(test)]
mod tests;
