//! What a failure means: the conditions for the user, and the time of the next reconcile.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    aws::advice::{self, Remedy},
    clock::Timings,
    condition::{ConditionType, Reason, Truth, Verdict},
    error_chain::Chain,
    ids::Uid,
    k8s::{cluster::Error, finalizer::ORPHAN},
    reconcile::failure::Failure,
};

/// What the status shows of a failure.
#[derive(Debug)]
pub(super) enum FailureStatus {
    /// The object or its data changed meanwhile; nothing is shown.
    Nothing,
    /// It may be temporary.
    Reconciling { reason: Reason, message: String },
    /// It stays until a user changes something.
    Stalled { reason: Reason, message: String },
}

impl FailureStatus {
    /// `unknown` are the conditions that need data from AWS, which cannot be read while the object is stalled.
    pub(super) fn verdicts(&self, unknown: &[ConditionType]) -> Vec<Verdict> {
        let of = |condition, reason, message: &String| {
            vec![
                Verdict::new(ConditionType::Ready, false, reason, message.clone()),
                Verdict::new(condition, true, reason, message.clone()),
            ]
        };
        match self {
            Self::Nothing => vec![],
            Self::Reconciling { reason, message } => of(ConditionType::Reconciling, *reason, message),
            Self::Stalled { reason, message } => {
                let mut verdicts = of(ConditionType::Stalled, *reason, message);
                let not_known = |condition: &ConditionType| {
                    Verdict::new(*condition, Truth::Unknown, *reason, format!("unknown: {message}"))
                };
                verdicts.extend(unknown.iter().map(not_known));
                verdicts
            }
        }
    }

    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Nothing => "Requeued",
            Self::Reconciling { reason, .. } | Self::Stalled { reason, .. } => reason.as_str(),
        }
    }
}

/// The recent failures of each object. Not stored, because a restart reconciles all objects anyway.
#[derive(Debug, Default)]
pub struct Backoff {
    objects: Mutex<HashMap<Uid, History>>,
}

#[derive(Clone, Copy, Debug)]
struct History {
    failures: u32,
    missing_since: Option<Instant>,
}

impl Backoff {
    /// Called after a success, and when the object is gone.
    pub(super) fn forget(&self, uid: &Uid) {
        self.lock().remove(uid);
    }

    /// What the status shows of `failure`, and when to reconcile again.
    pub(super) fn failed(
        &self,
        uid: &Uid,
        failure: &Failure,
        now: Instant,
        timings: &Timings,
    ) -> (FailureStatus, Duration) {
        let mut objects = self.lock();
        let history = objects.entry(uid.clone()).or_insert(History { failures: 0, missing_since: None });
        history.failures = history.failures.saturating_add(1);
        let is_missing = matches!(failure, Failure::Missing { .. });
        history.missing_since = is_missing.then(|| history.missing_since.unwrap_or(now));
        let waited = history.missing_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let doubled = |first: Duration| first.saturating_mul(1 << (history.failures - 1).min(10)).min(timings.sweep);
        (status_of(failure, waited, timings), doubled(first_delay(failure, timings)))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uid, History>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn status_of(failure: &Failure, waited: Duration, timings: &Timings) -> FailureStatus {
    let message = Chain(failure).to_string();
    match failure {
        Failure::InvalidSpec(_) => FailureStatus::Stalled { reason: Reason::InvalidSpec, message },
        Failure::Missing { reason, .. } if waited >= timings.reference_grace => {
            FailureStatus::Stalled { reason: *reason, message }
        }
        Failure::Missing { reason, .. } => FailureStatus::Reconciling { reason: *reason, message },
        Failure::Refused { reason, .. } => FailureStatus::Stalled { reason: *reason, message },
        Failure::Aws(error) => {
            let (reason, message) =
                (advice::reason(error), format!("{message}{}", advice::advice(error, &Remedy::default())));
            if advice::stalls(error) {
                FailureStatus::Stalled { reason, message }
            } else {
                FailureStatus::Reconciling { reason, message }
            }
        }
        Failure::Kubernetes(Error::Shape { .. }) => FailureStatus::Stalled {
            reason: Reason::InvalidSpec,
            message: format!("{message}; apply the CRDs of this version of muster"),
        },
        Failure::Kubernetes(Error::Call { .. } | Error::Deadline { .. }) => {
            FailureStatus::Reconciling { reason: Reason::KubernetesError, message }
        }
        Failure::Deadline => FailureStatus::Reconciling { reason: Reason::Reconciling, message },
        Failure::Kubernetes(Error::Stale) | Failure::NotYet(_) | Failure::NotSent(_) => FailureStatus::Nothing,
    }
}

fn first_delay(failure: &Failure, timings: &Timings) -> Duration {
    match failure {
        // The watch delivers the newer object and causes the next reconcile; this is for a watch that lags.
        Failure::Kubernetes(Error::Stale) | Failure::NotYet(_) | Failure::NotSent(_) => timings.progress / 50,
        Failure::Missing { .. }
        | Failure::Kubernetes(Error::Call { .. } | Error::Deadline { .. })
        | Failure::Deadline => timings.progress / 2,
        Failure::Aws(_) => timings.progress,
        // An edit causes the next reconcile.
        Failure::InvalidSpec(_) | Failure::Kubernetes(Error::Shape { .. }) | Failure::Refused { .. } => timings.sweep,
    }
}

/// To be appended to a message about a blocked deletion: how to delete the object anyway.
pub fn escape() -> String {
    format!(
        ". The finalizer stays until this is fixed. To delete the object without touching AWS, annotate it with \
         {ORPHAN}=true"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid() -> Uid {
        Uid::try_from("6b4d2a3e-9d0c-4f6e-8f0e-1f7a2b3c4d5e").unwrap()
    }

    fn missing() -> Failure {
        Failure::Missing { reason: Reason::AwsAccountNotFound, message: "AwsAccount x does not exist".into() }
    }

    #[test]
    fn a_missing_reference_stalls_only_after_the_grace_period() {
        let (backoff, timings, start) = (Backoff::default(), Timings::default(), Instant::now());
        let (early, _) = backoff.failed(&uid(), &missing(), start, &timings);
        assert!(matches!(early, FailureStatus::Reconciling { .. }));
        let (late, _) = backoff.failed(&uid(), &missing(), start + timings.reference_grace, &timings);
        assert!(matches!(late, FailureStatus::Stalled { reason: Reason::AwsAccountNotFound, .. }));
        backoff.forget(&uid());
        let (again, _) = backoff.failed(&uid(), &missing(), start + timings.reference_grace * 2, &timings);
        assert!(matches!(again, FailureStatus::Reconciling { .. }));
    }

    #[test]
    fn retry_delays_double_up_to_the_sweep_interval() {
        let (backoff, timings, start) = (Backoff::default(), Timings::default(), Instant::now());
        let delays: Vec<_> =
            (0..8).map(|_| backoff.failed(&uid(), &missing(), start, &timings).1.as_secs_f64()).collect();
        assert_eq!(delays, [2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 60.0, 60.0]);
    }
}
