//! What to tell: counts and conditions. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    aws::{self, Class},
    condition::{ConditionType, Reason, Truth, Verdict},
    ids::{InstanceId, list},
    worker_job::{
        crd::WorkerJobStatus,
        desired::{Desired, IGNORE},
        sight::Sight,
    },
    workers::{
        ami::{self, AmiStatus},
        conditions::{self, NAMED, Nouns, and_more},
        draft::{Hold, Observed, Zones},
        headcount::existing,
        indexes::clip,
        ledger::Ledger,
        parameters::Problem,
        preview::PLAN_ONLY,
        progress::{Finish, JobOutcome, Progress},
        refusal,
        resolve::{Unresolved, Why},
        status::WorkersStatus,
    },
};

const NOUNS: Nouns = Nouns { kind: "WorkerJob", object: "job" };

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
        let shown_only = roster.unseen.is_empty()
            && self.sight.hidden == 0
            && self.sight.ends.is_empty()
            && self.sight.unread.is_none();
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
        let ami = self.desired.supplied.image().map(AmiStatus::from).or(before.workers.ami);
        WorkerJobStatus {
            active: i32::try_from(self.active()).unwrap_or(i32::MAX),
            workers: WorkersStatus { ami, ..before.workers },
            ..before
        }
    }

    pub(super) fn verdicts(&self) -> Vec<Verdict> {
        let ready = self.ready();
        let image = ami::resolved([&self.desired.supplied]);
        let mut verdicts = vec![self.complete(), self.failed(), image, self.capacity(), self.orphans(), self.results()];
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
        let mut told = String::new();
        if !unseen.is_empty() {
            told = format!(
                "; EC2 does not show {}, which hold their indexes until it is sure that they are gone",
                list(unseen.into_iter(), NAMED)
            );
        }
        if self.sight.hidden > 0 {
            told.push_str(&format!(
                "; EC2 shows nothing of {} workers that were on record, and none is launched until it is likely enough that \
                 they are gone",
                self.sight.hidden
            ));
        }
        told
    }

    fn ready(&self) -> Verdict {
        let say = |truth: bool, reason, message| Verdict::new(ConditionType::Ready, truth, reason, message);
        let so_far = self.so_far();
        if let Some(undying) = conditions::undying(self.undying) {
            return say(false, Reason::TerminationRefused, format!("{undying}; {so_far}"));
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
                    return say(false, refusal::reason(error), format!("{so_far}; {error}{}", advice(error)));
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
        if let Some(error) = &self.sight.unread {
            return say(false, refusal::reason(error), format!("{so_far}; {}", unread(error)));
        }
        if let Some(problem) = &self.desired.parameters.problem {
            return say(false, problem.reason(), format!("{so_far}; {}", problem.message()));
        }
        if let Some(unresolved) = self.unresolved() {
            return say(false, unresolved.reason(), format!("{so_far}; {}", lacks(unresolved)));
        }
        if let Some(refusal) = self.refusal().filter(|_| self.wants_more()) {
            return say(false, refusal::reason(refusal), format!("{so_far}; {refusal}{}", advice(refusal)));
        }
        if self.desired.plan_only {
            return say(
                false,
                Reason::PlanOnly,
                format!("{so_far}; nothing is changed in AWS while {PLAN_ONLY} is true"),
            );
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
        if let Some(Finish { outcome, .. }) = self.progress().finished {
            return outcome != JobOutcome::Complete || !self.undying.is_empty();
        }
        let zones = match (&self.observed.zones, self.hold) {
            (Zones::Unknown(error), Some(Hold::NoZones)) => refusal::stalls(error),
            (Zones::Unknown(_) | Zones::Known(_), _) => false,
        };
        let refusal = self.refusal().is_some_and(refusal::stalls) && self.wants_more();
        let unread = self.sight.unread.as_ref().is_some_and(refusal::stalls);
        let parameters = self.desired.parameters.problem.as_ref().is_some_and(Problem::is_stalled);
        let unresolved = self.unresolved().is_some() && self.desired.supplied.stalls();
        let orphans = self.hold == Some(Hold::Orphans);
        orphans || unresolved || zones || refusal || unread || parameters || !self.undying.is_empty()
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
        let advice = "make the job again with more instance types or subnets, or wait: they are tried again";
        conditions::capacity(&self.observed.lessons.cooling, self.hold == Some(Hold::NoCapacity), advice)
    }

    fn orphans(&self) -> Verdict {
        let settled = (&BTreeSet::new(), &self.desired.ignore);
        conditions::orphans(&self.observed.roster, settled, NOUNS, |uid| {
            format!(
                "they end with their work, or end them; or annotate this one with {IGNORE}={uid} to start beside them"
            )
        })
    }

    fn results(&self) -> Verdict {
        let say = |truth: bool, reason, message: String| Verdict::new(ConditionType::Degraded, truth, reason, message);
        if let Some(error) = &self.sight.unread {
            return say(true, refusal::reason(error), unread(error));
        }
        let results = &self.sight.results;
        match results.rejected_total {
            0 => say(false, Reason::ResultsReadable, "every result that was found is one".into()),
            total => {
                let named: Vec<_> = results.rejected().take(NAMED).collect();
                let message = format!("these objects do not count: {}{}", named.join("; "), and_more(total));
                say(true, Reason::SomeObjectsUnreadable, message)
            }
        }
    }
}

/// What is put behind the advice to change something.
const IN_A_NEW_JOB: &str = " in a new job, since the template of this one cannot change";

fn asks_for_a_change(error: &aws::Error) -> bool {
    match error.class {
        Class::InvalidInput | Class::NotFound => true,
        Class::Denied | Class::Throttled | Class::NoCapacity | Class::Conflict | Class::Transient => false,
    }
}

fn advice(error: &aws::Error) -> String {
    format!("{}{}", refusal::advice(error), if asks_for_a_change(error) { IN_A_NEW_JOB } else { "" })
}

fn lacks(unresolved: &Unresolved) -> String {
    let immutable = match &unresolved.why {
        Why::Aws(error) => asks_for_a_change(error),
        Why::Pending(_) | Why::Nothing(_) | Why::Unrenderable(_) | Why::Kubernetes(_) => false,
    };
    format!("{}{}", unresolved.message(), if immutable { IN_A_NEW_JOB } else { "" })
}

/// What it means that results cannot be read.
fn unread(error: &aws::Error) -> String {
    let advice = match error.class {
        Class::InvalidInput | Class::NotFound => "; make the bucket again, or a new job with another".into(),
        Class::Denied | Class::Throttled | Class::NoCapacity | Class::Conflict | Class::Transient => {
            refusal::advice(error)
        }
    };
    format!("the results are not known, so none is launched, and what has ended is not judged: {error}{advice}")
}

#[cfg(test)]
mod tests;
