//! Whether a fleet is ready and makes progress, and what prevents it.

use crate::{
    condition::{ConditionType, Reason, Truth, Verdict},
    crd::fields::PLAN_ONLY,
    kinds::worker_fleet::status::{Counts, View},
    workers::{plan::Blocker, status::blocked::Blocked},
};

impl View<'_> {
    /// The most severe blocker of all roles.
    pub(super) fn blocker(&self) -> Option<Blocker> {
        self.blockers.values().min().copied()
    }

    fn blocked(&self) -> Blocked<'_> {
        // The roles for which workers are to be launched.
        let lacking = self.desired.roles.iter().filter(|role| {
            let counts = self.counts_of(role);
            role.resolved.launch_spec.is_none() || counts.existing < counts.desired || counts.outdated > 0
        });
        let resolved: Vec<_> = lacking.map(|role| &role.resolved).collect();
        let mut launch_specs = resolved.iter().filter_map(|resolved| resolved.launch_spec.as_ref());
        let refusals = &self.observed.feedback.refusals;
        let refusal = launch_specs.find_map(|launch_spec| refusals.get(&launch_spec.revision.name));
        Blocked {
            blocker: self.blocker(),
            zones: &self.observed.zones,
            termination_failed: self.termination_failed,
            parameters: self.desired.parameters.problem.as_ref(),
            template: resolved.iter().find(|resolved| resolved.unresolved.is_some()).copied(),
            refusal: refusal.map(|refusal| &refusal.cause),
            immutable: "",
        }
    }

    pub(super) fn ready(&self) -> Verdict {
        let ready = self.reached();
        if !self.desired.plan_only {
            return ready;
        }
        let reason = if ready.truth == Truth::True || self.is_stalled() { ready.reason } else { Reason::PlanOnly };
        Verdict { reason, message: format!("{}; {}", ready.message, plan_only()), ..ready }
    }

    /// Whether the desired state is reached, and what prevents it.
    fn reached(&self) -> Verdict {
        let say = |truth: bool, reason, message| Verdict::new(ConditionType::Ready, truth, reason, message);
        let Counts { desired, ready, outdated, .. } = self.counts();
        let mut so_far = format!("{ready} of {desired} workers are ready");
        let withheld = self.observed.instances.withheld.len();
        if withheld > 0 {
            so_far.push_str(&format!("; {withheld} more were adopted and are not covered by a grant any more"));
        }
        if let Some((reason, message)) = self.obstacle(&so_far) {
            return say(false, reason, message);
        }
        if self.is_settled() {
            // All workers are there, but a lost one could not be replaced.
            let unresolved = self.desired.roles.iter().find_map(|role| role.resolved.unresolved.as_ref());
            let blocked = unresolved.map(|unresolved| format!("; launches are blocked: {}", unresolved.message()));
            return say(true, Reason::AllReady, so_far + &blocked.unwrap_or_default());
        }
        if self.late {
            let deadline = self.desired.update.progress_deadline.as_secs();
            let message = format!("{so_far}; no progress for {deadline} s (update.progressDeadlineSeconds)");
            return say(false, Reason::ProgressDeadlineExceeded, message);
        }
        if outdated > 0 {
            return say(false, Reason::Updating, format!("{so_far}; {outdated} have an outdated revision"));
        }
        if !self.ledger.launches.is_empty() {
            say(false, Reason::Launching, so_far)
        } else if !self.ledger.terminations.is_empty() {
            say(false, Reason::Terminating, format!("{so_far}; {} are terminating", self.ledger.victims().len()))
        } else {
            say(false, Reason::WorkersNotReady, so_far)
        }
    }

    /// The first obstacle in the order of severity: reason and message.
    fn obstacle(&self, so_far: &str) -> Option<(Reason, String)> {
        let blocked = self.blocked();
        let absent = || {
            let absent = self.absent.filter(|_| !self.is_settled())?;
            Some((Reason::FleetReportNotFound, format!("{so_far}; {}", absent.message())))
        };
        let unhealthy = || {
            let guards = [Some(Blocker::Unhealthy), Some(Blocker::ReplacementLimit)];
            let healthy = self.healthy();
            (guards.contains(&blocked.blocker) || self.hidden() > 0)
                .then(|| (healthy.reason, format!("{so_far}; {}", healthy.message)))
        };
        let termination = blocked.termination(so_far).or_else(absent);
        let placement = || blocked.placement(so_far, self.orphans(), &self.capacity());
        termination.or_else(placement).or_else(unhealthy).or_else(|| blocked.launch(so_far))
    }

    pub(super) fn is_stalled(&self) -> bool {
        let is_overdue = self.late || self.absent.is_some_and(|report| report.stalls);
        self.blocked().is_stalled() || is_overdue && !self.is_settled()
    }

    pub(super) fn progressing(&self, ready: &Verdict) -> Verdict {
        let say =
            |truth: bool, reason, message: String| Verdict::new(ConditionType::Progressing, truth, reason, message);
        if self.desired.plan_only {
            return say(false, Reason::PlanOnly, plan_only());
        }
        if self.desired.suspended {
            return say(false, Reason::Suspended, "spec.suspend is true".into());
        }
        if ready.truth == Truth::True {
            return say(true, Reason::UpToDate, "there is nothing to do".into());
        }
        let guards = [Blocker::NoCapacity, Blocker::Unhealthy, Blocker::ReplacementLimit].map(Some);
        let held = guards.contains(&self.blocker()) || self.is_stalled() || self.hidden() > 0;
        say(!held, ready.reason, ready.message.clone())
    }
}

fn plan_only() -> String {
    format!("nothing in AWS is changed while the annotation {PLAN_ONLY} is true; remove it to apply status.plan")
}
