//! What to tell: counts and conditions. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    aws::{self, Class},
    condition::{ConditionType, Reason, Truth, Verdict},
    ids::{InstanceId, Uid, list},
    worker_job::{
        crd::WorkerJobStatus,
        desired::{Desired, IGNORE},
        sight::Sight,
    },
    workers::{
        draft::{Hold, Observed, Zones},
        headcount::existing,
        ledger::Ledger,
        parameters::Problem,
        progress::{Finish, JobOutcome, Progress},
        resolve::Unresolved,
    },
};

/// So many ids or keys are named in a message.
const NAMED: usize = 5;

/// All that a status tells of.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub desired: &'a Desired,
    pub observed: &'a Observed,
    pub sight: &'a Sight,
    pub ledger: &'a Ledger,
    pub hold: Option<Hold>,
    /// Instances that EC2 refused to end, and why.
    pub undying: &'a BTreeMap<InstanceId, aws::Error>,
}

impl View<'_> {
    fn progress(&self) -> &Progress {
        &self.ledger.progress
    }

    fn active(&self) -> u32 {
        existing(&self.observed.roster, self.ledger)
    }

    /// Nothing is awaited but what workers do.
    pub(super) fn is_settled(&self) -> bool {
        let roster = &self.observed.roster;
        let shown_only = roster.unseen.is_empty() && self.sight.ends.is_empty();
        let synced = self.desired.parameters.problem.is_none();
        let still = synced && !self.ledger.is_open() && shown_only && self.undying.is_empty();
        let full = self.active() >= self.desired.parallelism || self.open_indexes() <= self.active();
        still && (self.progress().finished.is_some() && self.active() == 0 || full && self.sight.resting.is_empty())
    }

    /// How many indexes are neither done nor given up.
    fn open_indexes(&self) -> u32 {
        let Progress { completed, failed, .. } = self.progress();
        self.desired.completions.saturating_sub(completed.len() + failed.len())
    }

    /// `before` with everything that this view tells of, but for the record and the conditions.
    pub(super) fn status(&self, before: WorkerJobStatus) -> WorkerJobStatus {
        WorkerJobStatus { active: i32::try_from(self.active()).unwrap_or(i32::MAX), ..before }
    }

    pub(super) fn verdicts(&self) -> Vec<Verdict> {
        let ready = self.ready();
        let mut verdicts = vec![self.complete(), self.failed(), self.capacity(), self.orphans(), self.results()];
        if ready.truth != Truth::True && !self.desired.suspended {
            let condition = if self.is_stalled() { ConditionType::Stalled } else { ConditionType::Reconciling };
            verdicts.push(Verdict::new(condition, true, ready.reason, ready.message.clone()));
        }
        verdicts.insert(0, ready);
        verdicts
    }

    fn so_far(&self) -> String {
        let Progress { completed, failed, .. } = self.progress();
        let failed = match failed.len() {
            0 => String::new(),
            n => format!(", {n} failed"),
        };
        format!(
            "{} of {} indexes succeeded{failed}; {} workers are active{}",
            completed.len(),
            self.desired.completions,
            self.active(),
            self.unseen()
        )
    }

    /// Those that were there and that EC2 does not show any more. Those of a launch are expected not to be shown at first.
    fn unseen(&self) -> String {
        let launched: BTreeSet<_> = self.ledger.launches.iter().flat_map(|intent| &intent.instance_ids).collect();
        let unseen: Vec<_> = self.observed.roster.unseen.keys().filter(|id| !launched.contains(id)).collect();
        if unseen.is_empty() {
            return String::new();
        }
        format!(
            "; EC2 does not show {}, which hold their indexes until it is sure that they are gone",
            list(unseen.into_iter(), NAMED)
        )
    }

    fn ready(&self) -> Verdict {
        let say = |truth: bool, reason, message| Verdict::new(ConditionType::Ready, truth, reason, message);
        let so_far = self.so_far();
        if let Some((id, error)) = self.undying.iter().next() {
            let (more, named) = (self.undying.len() - 1, format!("{id} is not ended: {error}"));
            let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
            return say(false, Reason::TerminationRefused, format!("{named}{more}; {so_far}"));
        }
        if let Some(finish) = self.progress().finished {
            let (reason, message) = self.ending(finish);
            return say(finish.outcome == JobOutcome::Complete, reason, message);
        }
        match self.hold {
            Some(Hold::Orphans) => return say(false, Reason::OrphansFound, self.orphans().message),
            Some(Hold::NoCapacity) => {
                return say(false, Reason::NoCapacity, format!("{so_far}; {}", self.capacity().message));
            }
            Some(Hold::NoZones) => {
                if let Zones::Unknown(error) = &self.observed.zones {
                    return say(false, refused(error), format!("{so_far}; {error}{}", advice(error)));
                }
            }
            Some(
                Hold::Parameters
                | Hold::Unresolved
                | Hold::Refused
                | Hold::Suspended
                | Hold::Busy
                | Hold::ReplacementLimit
                | Hold::Unhealthy,
            )
            | None => {}
        }
        if let Some(problem) = &self.desired.parameters.problem {
            return say(false, problem.reason(), format!("{so_far}; {}", problem.message()));
        }
        if let Some(unresolved) = self.unresolved() {
            return say(false, unresolved.reason(), format!("{so_far}; {}", unresolved.message()));
        }
        if let Some(refusal) = self.refusal().filter(|_| self.wants_more()) {
            return say(false, refused(refusal), format!("{so_far}; {refusal}{}", advice(refusal)));
        }
        let reason = if self.desired.suspended { Reason::Suspended } else { Reason::Running };
        say(false, reason, so_far)
    }

    fn refusal(&self) -> Option<&aws::Error> {
        let supply = self.desired.supplied.supply.as_ref()?;
        self.observed.lessons.refusals.get(&supply.revision.name).map(|refusal| &refusal.cause)
    }

    /// Why nothing can be launched although something is to be.
    fn unresolved(&self) -> Option<&Unresolved> {
        self.desired.supplied.unresolved.as_ref().filter(|_| self.wants_more())
    }

    fn wants_more(&self) -> bool {
        self.active() < self.desired.parallelism.min(self.open_indexes())
    }

    /// A job that failed stays as it is, which kstatus calls failed too.
    fn is_stalled(&self) -> bool {
        let stalls = |error: &aws::Error| match error.class {
            Class::Denied | Class::InvalidInput | Class::NotFound => true,
            Class::Throttled | Class::NoCapacity | Class::Conflict | Class::Transient => false,
        };
        if let Some(Finish { outcome, .. }) = self.progress().finished {
            return outcome != JobOutcome::Complete || !self.undying.is_empty();
        }
        let zones = match (&self.observed.zones, self.hold) {
            (Zones::Unknown(error), Some(Hold::NoZones)) => stalls(error),
            (Zones::Unknown(_) | Zones::Known(_), _) => false,
        };
        let refusal = self.refusal().is_some_and(stalls) && self.wants_more();
        let parameters = self.desired.parameters.problem.as_ref().is_some_and(Problem::is_stalled);
        let unresolved = self.unresolved().is_some() && self.desired.supplied.stalls();
        self.hold == Some(Hold::Orphans) || unresolved || zones || refusal || parameters || !self.undying.is_empty()
    }

    /// The reason and the words for how the job finished.
    fn ending(&self, finish: Finish) -> (Reason, String) {
        let so_far = self.so_far();
        match finish.outcome {
            JobOutcome::Complete => (Reason::CompletionsReached, so_far),
            JobOutcome::FailedIndexes => {
                let failed = clip(&self.progress().failed.to_string());
                (Reason::FailedIndexes, format!("failed for good: {failed}; {so_far}"))
            }
            JobOutcome::MaxFailedIndexesExceeded => {
                let failed = clip(&self.progress().failed.to_string());
                let most = self.desired.max_failed.unwrap_or_default();
                (
                    Reason::MaxFailedIndexesExceeded,
                    format!("more than maxFailedIndexes={most} indexes failed for good: {failed}; {so_far}"),
                )
            }
            JobOutcome::DeadlineExceeded => {
                let seconds = self.desired.deadline.unwrap_or_default().as_secs();
                (Reason::DeadlineExceeded, format!("it took longer than activeDeadlineSeconds={seconds}; {so_far}"))
            }
        }
    }

    fn complete(&self) -> Verdict {
        let say = |truth: bool, reason, message| Verdict::new(ConditionType::Complete, truth, reason, message);
        match self.progress().finished {
            Some(finish) => {
                let (reason, message) = self.ending(finish);
                say(finish.outcome == JobOutcome::Complete, reason, message)
            }
            None => say(false, Reason::Running, self.so_far()),
        }
    }

    fn failed(&self) -> Verdict {
        let say = |truth: bool, reason, message| Verdict::new(ConditionType::Failed, truth, reason, message);
        match self.progress().finished {
            Some(finish) => {
                let (reason, message) = self.ending(finish);
                say(finish.outcome != JobOutcome::Complete, reason, message)
            }
            None => say(false, Reason::Running, self.so_far()),
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
        if self.hold == Some(Hold::NoCapacity) {
            let advice = "make the job again with more instance types or subnets, or wait: they are tried again";
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
        let mut by_uid: BTreeMap<&Uid, Vec<&InstanceId>> = BTreeMap::new();
        for (id, uid) in roster.orphans.iter().filter(|(_, uid)| !self.desired.ignore.contains(*uid)) {
            by_uid.entry(uid).or_default().push(id);
        }
        if let Some((uid, ids)) = by_uid.into_iter().next() {
            let message = format!(
                "{} run for an earlier WorkerJob of this name with uid {uid}, so none is launched beside them; they end \
                 with their work, or end them; or annotate this one with {IGNORE}={uid} to start beside them",
                list(ids.into_iter(), NAMED)
            );
            return say(true, Reason::OrphansFound, message);
        }
        if !roster.strangers.is_empty() {
            let message = format!(
                "{} carry the tags of this job and were not launched by it: they are not counted and not touched",
                list(roster.strangers.iter(), NAMED)
            );
            return say(true, Reason::StrangersFound, message);
        }
        say(false, Reason::NoOrphans, "every machine with this job's name is its own".into())
    }

    fn results(&self) -> Verdict {
        let say = |truth: bool, reason, message: String| Verdict::new(ConditionType::Degraded, truth, reason, message);
        let results = &self.sight.results;
        match results.rejected_total {
            0 => say(false, Reason::ResultsReadable, "every result that was found is one".into()),
            total => {
                let named: Vec<_> = results.rejected().take(NAMED).collect();
                let more = total.saturating_sub(named.len());
                let more = if more == 0 { String::new() } else { format!(" and {more} more") };
                say(
                    true,
                    Reason::SomeObjectsUnreadable,
                    format!("these objects do not count: {}{more}", named.join("; ")),
                )
            }
        }
    }
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
        Class::InvalidInput | Class::NotFound => "; make the job again with a template that EC2 takes".into(),
        Class::Throttled | Class::NoCapacity | Class::Conflict | Class::Transient => String::new(),
    }
}

/// The beginning of a list of indexes.
fn clip(indexes: &str) -> String {
    const MOST: usize = 200;
    match indexes.get(..MOST) {
        Some(start) => format!("{}, ...", start.rsplit_once(',').map_or(start, |(whole, _)| whole)),
        None => indexes.to_owned(),
    }
}

#[cfg(test)]
mod tests;
