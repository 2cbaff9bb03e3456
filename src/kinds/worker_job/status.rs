//! The status of a job: counts and conditions. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    aws::{self, advice},
    condition::{ConditionType, Reason, Verdict},
    crd::{
        fields::PLAN_ONLY,
        indexes::clip,
        worker_job::{JobOutcome, WorkerJobStatus},
        workers_status::{AmiStatus, WorkersStatus},
    },
    ids::{InstanceId, list},
    kinds::worker_job::{
        desired::{Desired, IGNORE},
        observation::JobObservation,
    },
    workers::{
        ledger::{
            Ledger,
            progress::{Finish, Progress},
        },
        observe::{counts::existing, observed::Observed},
        plan::Blocker,
        status::{ami, blocked, conditions, whole},
    },
};

const NOUNS: conditions::Nouns = conditions::Nouns { kind: "WorkerJob", object: "job" };

/// What a status is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub desired: &'a Desired,
    pub observed: &'a Observed,
    pub observation: &'a JobObservation,
    pub ledger: &'a Ledger,
    pub blocker: Option<Blocker>,
    /// Instances that EC2 refused to terminate, and why.
    pub termination_failed: &'a BTreeMap<InstanceId, aws::Error>,
}

impl View<'_> {
    fn progress(&self) -> &Progress {
        &self.ledger.progress
    }

    fn active(&self) -> u32 {
        existing(&self.observed.instances, self.ledger)
    }

    /// Whether nothing is awaited except the work of the workers.
    pub(super) fn is_settled(&self) -> bool {
        let JobObservation { hidden, ends, unread, resting, .. } = self.observation;
        let all_known =
            self.observed.instances.missing.is_empty() && *hidden == 0 && ends.is_empty() && unread.is_none();
        let done = self.desired.parameters.problem.is_none()
            && !self.ledger.is_open()
            && all_known
            && self.termination_failed.is_empty();
        let active = self.active();
        let full = active >= self.desired.parallelism || self.open_indexes() <= active + self.held();
        done && (self.progress().finished.is_some() && active == 0 || full && resting.is_empty())
    }

    /// The number of indexes that neither succeeded nor failed permanently.
    fn open_indexes(&self) -> u32 {
        let Progress { completed, failed, .. } = self.progress();
        self.desired.completions.saturating_sub(completed.len() + failed.len())
    }

    /// The number of those that wait until their result can be read.
    fn held(&self) -> u32 {
        let held = self.observation.results.held().iter();
        held.filter(|index| !self.progress().is_final(**index)).count() as u32
    }

    /// `before` with everything that this view knows, except the record and the conditions.
    pub(super) fn status(&self, before: WorkerJobStatus) -> WorkerJobStatus {
        let ami = self.desired.role.resolved.image().map(AmiStatus::from).or(before.workers.ami);
        WorkerJobStatus { active: whole(self.active()), workers: WorkersStatus { ami, ..before.workers }, ..before }
    }

    pub(super) fn verdicts(&self) -> Vec<Verdict> {
        let others = [
            self.finished(ConditionType::Complete, true),
            self.finished(ConditionType::Failed, false),
            ami::resolved([&self.desired.role.resolved]),
            self.capacity(),
            self.orphans(),
            self.results(),
        ];
        blocked::summarize(self.ready(), others, self.is_stalled(), self.desired.suspended)
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
            self.missing()
        ) + &match self.held() {
            0 => String::new(),
            n => format!("; {n} wait for a result that cannot be read, see Degraded"),
        }
    }

    /// The workers that EC2 no longer shows. Workers of an open launch are expected to be missing at first.
    fn missing(&self) -> String {
        let launched: BTreeSet<_> = self.ledger.launches.iter().flat_map(|intent| &intent.instance_ids).collect();
        let missing: Vec<_> = self.observed.instances.missing.keys().filter(|id| !launched.contains(id)).collect();
        let mut message = String::new();
        if !missing.is_empty() {
            message = format!(
                "; {} are missing from DescribeInstances and hold their indexes until they are confirmed gone",
                list(missing.into_iter(), conditions::NAMED)
            );
        }
        if self.observation.hidden > 0 {
            message.push_str(&format!(
                "; {} workers on record are missing from DescribeInstances; nothing is launched until they are found \
                 or presumed gone",
                self.observation.hidden
            ));
        }
        message
    }

    fn blocked(&self) -> blocked::Blocked<'_> {
        let resolved = &self.desired.role.resolved;
        let revision = resolved.launch_spec.as_ref().map(|launch_spec| &launch_spec.revision.name);
        let refusal = revision.and_then(|revision| self.observed.feedback.refusals.get(revision));
        let wants_more = self.active() < self.desired.parallelism.min(self.open_indexes());
        blocked::Blocked {
            blocker: self.blocker,
            zones: &self.observed.zones,
            termination_failed: self.termination_failed,
            parameters: self.desired.parameters.problem.as_ref(),
            template: Some(resolved).filter(|resolved| wants_more && resolved.unresolved.is_some()),
            refusal: refusal.map(|refusal| &refusal.cause).filter(|_| wants_more),
            immutable: " in a new WorkerJob: the template of this one cannot change",
        }
    }

    fn ready(&self) -> Verdict {
        let say = |truth: bool, reason, message| Verdict::new(ConditionType::Ready, truth, reason, message);
        let so_far = self.so_far();
        let blocked = self.blocked();
        if let Some((reason, message)) = blocked.termination(&so_far) {
            return say(false, reason, message);
        }
        if self.progress().finished.is_some() {
            return self.finished(ConditionType::Ready, true);
        }
        let results = || {
            let error = self.observation.unread.as_ref()?;
            Some((advice::reason(error), format!("{so_far}. {}", unread(error))))
        };
        let obstacle = blocked.placement(&so_far, self.orphans(), &self.capacity()).or_else(results);
        if let Some((reason, message)) = obstacle.or_else(|| blocked.launch(&so_far)) {
            return say(false, reason, message);
        }
        if self.desired.plan_only {
            let message = format!("{so_far}; nothing in AWS is changed while {PLAN_ONLY} is true");
            return say(false, Reason::PlanOnly, message);
        }
        say(false, if self.desired.suspended { Reason::Suspended } else { Reason::Running }, so_far)
    }

    /// A failed job stays failed; kstatus reads `Stalled` as failed, too.
    fn is_stalled(&self) -> bool {
        match self.progress().finished {
            Some(Finish { outcome, .. }) => outcome != JobOutcome::Complete || !self.termination_failed.is_empty(),
            None => {
                let only_held = self.held() > 0 && self.active() == 0 && self.open_indexes() <= self.held();
                only_held || self.blocked().is_stalled() || self.observation.unread.as_ref().is_some_and(advice::stalls)
            }
        }
    }

    /// `condition`, which is true if the job is finished and whether it is complete equals `complete`.
    fn finished(&self, condition: ConditionType, complete: bool) -> Verdict {
        let so_far = self.so_far();
        let Some(Finish { outcome, .. }) = self.progress().finished else {
            return Verdict::new(condition, false, Reason::Running, so_far);
        };
        let failed = clip(&self.progress().failed.to_string());
        let (reason, message) = match outcome {
            JobOutcome::Complete => (Reason::CompletionsReached, so_far),
            JobOutcome::FailedIndexes => (Reason::FailedIndexes, format!("failed permanently: {failed}; {so_far}")),
            JobOutcome::MaxFailedIndexesExceeded => {
                let n = self.desired.max_failed.unwrap_or_default();
                let message = format!("more than maxFailedIndexes={n} indexes failed permanently: {failed}; {so_far}");
                (Reason::MaxFailedIndexesExceeded, message)
            }
            JobOutcome::DeadlineExceeded => {
                let seconds = self.desired.deadline.unwrap_or_default().as_secs();
                (Reason::DeadlineExceeded, format!("the job ran longer than activeDeadlineSeconds={seconds}; {so_far}"))
            }
        };
        Verdict::new(condition, (outcome == JobOutcome::Complete) == complete, reason, message)
    }

    fn capacity(&self) -> Verdict {
        let advice = "create a new job with more instance types or subnets, or wait for the next attempt";
        conditions::capacity(&self.observed.feedback.unavailable, self.blocker == Some(Blocker::NoCapacity), advice)
    }

    fn orphans(&self) -> Verdict {
        let settled = (&BTreeSet::new(), &self.desired.ignore);
        conditions::orphans(&self.observed.instances, settled, NOUNS, |uid| {
            format!("wait until they finish, terminate them, or annotate this job with {IGNORE}={uid} to ignore them")
        })
    }

    fn results(&self) -> Verdict {
        let say = |truth: bool, reason, message: String| Verdict::new(ConditionType::Degraded, truth, reason, message);
        if let Some(error) = &self.observation.unread {
            return say(true, advice::reason(error), unread(error));
        }
        let results = &self.observation.results;
        match results.rejected_total {
            0 => say(false, Reason::ResultsReadable, "All result objects are valid.".into()),
            total => {
                let named: Vec<_> = results.rejected().take(conditions::NAMED).collect();
                let others = if results.crowded { "; there are more objects than are looked at" } else { "" };
                let more = conditions::and_more(total);
                let message = format!("these objects are not counted: {}{more}{others}", named.join("; "));
                say(true, Reason::SomeObjectsUnreadable, message)
            }
        }
    }
}

/// What it means that results cannot be read, and what to do.
fn unread(error: &aws::Error) -> String {
    let recreate = Some("recreate the bucket, or create a new WorkerJob with another one".to_owned());
    let remedy = advice::Remedy { denied: None, not_found: recreate.clone(), invalid: recreate };
    format!(
        "Results cannot be read. Until they can, nothing is launched and finished workers are not counted. {error}{}",
        advice::advice(error, &remedy)
    )
}

#[cfg(test)]
mod tests;
