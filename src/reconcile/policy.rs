//! What a failure means: for the user, as conditions; for the next look, as a time.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Chain, Failure};
use crate::{
    aws::Class,
    clock::Timings,
    condition::{ConditionType, Reason, Truth, Verdict},
    ids::Uid,
};

/// What to tell the user of a failure.
#[derive(Debug)]
pub(super) enum Telling {
    /// The world moved on; there is nothing to tell.
    Nothing,
    /// It may pass by itself.
    Reconciling { reason: Reason, message: String },
    /// It will not, until somebody changes something.
    Stalled { reason: Reason, message: String },
}

impl Telling {
    /// `unknown` are conditions that rest on a look at the world, which there can be none of.
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
                    Verdict::new(*condition, Truth::Unknown, *reason, format!("not known now: {message}"))
                };
                verdicts.extend(unknown.iter().map(not_known));
                verdicts
            }
        }
    }

    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Nothing => "LookAgain",
            Self::Reconciling { reason, .. } | Self::Stalled { reason, .. } => reason.as_str(),
        }
    }
}

/// What each object has gone through lately. Kept in memory: a restart looks at everything afresh anyway.
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
    pub(super) fn succeeded(&self, uid: &Uid) {
        self.lock().remove(uid);
    }

    pub(super) fn forget(&self, uid: &Uid) {
        self.lock().remove(uid);
    }

    /// What to tell of `failure`, and when to look again.
    pub(super) fn failed(&self, uid: &Uid, failure: &Failure, now: Instant, timings: &Timings) -> (Telling, Duration) {
        let mut objects = self.lock();
        let history = objects.entry(uid.clone()).or_insert(History { failures: 0, missing_since: None });
        history.failures = history.failures.saturating_add(1);
        let missing_since = match failure {
            Failure::Missing { .. } => Some(*history.missing_since.get_or_insert(now)),
            Failure::InvalidSpec(_)
            | Failure::Refused { .. }
            | Failure::Aws(_)
            | Failure::Kube { .. }
            | Failure::KubeDeadline { .. }
            | Failure::Shape { .. }
            | Failure::Stale
            | Failure::NotSent(_)
            | Failure::NotYet(_)
            | Failure::Deadline => {
                history.missing_since = None;
                None
            }
        };
        let waited = missing_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let doubled = |first: Duration| first.saturating_mul(1 << (history.failures - 1).min(10)).min(timings.sweep);
        (telling(failure, waited, timings), doubled(first_delay(failure, timings)))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uid, History>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn telling(failure: &Failure, waited: Duration, timings: &Timings) -> Telling {
    let message = Chain(failure).to_string();
    match failure {
        Failure::InvalidSpec(_) => Telling::Stalled { reason: Reason::InvalidSpec, message },
        Failure::Shape { .. } => Telling::Stalled {
            reason: Reason::InvalidSpec,
            message: format!("{message}; apply the CRDs of this version of muster"),
        },
        Failure::Missing { reason, .. } if waited >= timings.reference_grace => {
            Telling::Stalled { reason: *reason, message }
        }
        Failure::Missing { reason, .. } => Telling::Reconciling { reason: *reason, message },
        Failure::Refused { reason, .. } => Telling::Stalled { reason: *reason, message },
        Failure::Aws(error) => match error.class {
            Class::Denied => Telling::Stalled {
                reason: Reason::AwsDenied,
                message: format!("{message}; allow {} to the role that muster uses here", error.operation),
            },
            Class::InvalidInput => Telling::Stalled { reason: Reason::AwsInvalid, message },
            Class::NotFound => Telling::Stalled { reason: Reason::AwsNotFound, message },
            Class::Throttled => Telling::Reconciling { reason: Reason::AwsThrottled, message },
            Class::NoCapacity => Telling::Reconciling { reason: Reason::NoCapacity, message },
            Class::Conflict | Class::Transient => Telling::Reconciling { reason: Reason::AwsUnavailable, message },
        },
        Failure::Kube { .. } | Failure::KubeDeadline { .. } => {
            Telling::Reconciling { reason: Reason::KubernetesError, message }
        }
        Failure::Deadline => Telling::Reconciling { reason: Reason::Reconciling, message },
        Failure::Stale | Failure::NotYet(_) | Failure::NotSent(_) => Telling::Nothing,
    }
}

fn first_delay(failure: &Failure, timings: &Timings) -> Duration {
    match failure {
        // The watch brings the newer object, and with it the next look; this is for a watch that lags.
        Failure::Stale | Failure::NotYet(_) | Failure::NotSent(_) => timings.progress / 50,
        Failure::Missing { .. } | Failure::Kube { .. } | Failure::KubeDeadline { .. } | Failure::Deadline => {
            timings.progress / 2
        }
        Failure::Aws(_) => timings.progress,
        // An edit brings the next look.
        Failure::InvalidSpec(_) | Failure::Shape { .. } | Failure::Refused { .. } => timings.sweep,
    }
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
    fn a_missing_reference_stalls_only_after_its_grace() {
        let (backoff, timings, start) = (Backoff::default(), Timings::default(), Instant::now());
        let (early, _) = backoff.failed(&uid(), &missing(), start, &timings);
        assert!(matches!(early, Telling::Reconciling { .. }));
        let (late, _) = backoff.failed(&uid(), &missing(), start + timings.reference_grace, &timings);
        assert!(matches!(late, Telling::Stalled { reason: Reason::AwsAccountNotFound, .. }));
        backoff.succeeded(&uid());
        let (again, _) = backoff.failed(&uid(), &missing(), start + timings.reference_grace * 2, &timings);
        assert!(matches!(again, Telling::Reconciling { .. }));
    }

    #[test]
    fn delays_double_up_to_the_sweep() {
        let (backoff, timings, start) = (Backoff::default(), Timings::default(), Instant::now());
        let delays: Vec<_> =
            (0..8).map(|_| backoff.failed(&uid(), &missing(), start, &timings).1.as_secs_f64()).collect();
        assert_eq!(delays, [2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 60.0, 60.0]);
    }
}
