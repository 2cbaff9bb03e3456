//! What keeps an object from being ready, with reason and message, and whether the user must act. The same for every
//! kind that runs workers.

use std::collections::BTreeMap;

use crate::{
    aws::{self, advice},
    condition::{ConditionType, Reason, Truth, Verdict},
    ids::InstanceId,
    workers::{
        launch_spec::{
            Resolved,
            resolve::unresolved::{Unresolved, Why},
        },
        observe::observed::Zones,
        parameters::Problem,
        plan::Blocker,
        status::conditions,
    },
};

/// What may keep an object from being ready.
#[derive(Clone, Copy, Debug)]
pub struct Blocked<'a> {
    pub blocker: Option<Blocker>,
    pub zones: &'a Zones,
    /// Instances that EC2 refused to terminate, and why.
    pub termination_failed: &'a BTreeMap<InstanceId, aws::Error>,
    pub parameters: Option<&'a Problem>,
    /// The template that does not resolve, if workers are to be launched from it.
    pub template: Option<&'a Resolved>,
    /// Why EC2 refused a launch that is still needed.
    pub refusal: Option<&'a aws::Error>,
    /// Follows the advice to change a template that is immutable. Empty if it can change.
    pub immutable: &'static str,
}

impl Blocked<'_> {
    pub fn termination(&self, so_far: &str) -> Option<(Reason, String)> {
        let failed = conditions::termination_failed(self.termination_failed)?;
        Some((Reason::TerminationRefused, format!("{failed}; {so_far}")))
    }

    /// Orphans, pools or zones prevent launches. `orphans` and `capacity` are the object's conditions about them.
    pub fn placement(&self, so_far: &str, orphans: Verdict, capacity: &Verdict) -> Option<(Reason, String)> {
        match self.blocker? {
            Blocker::Orphans => Some((Reason::OrphansFound, orphans.message)),
            Blocker::TagsChanged => Some((Reason::TagsChanged, orphans.message)),
            Blocker::NoCapacity => Some((Reason::NoCapacity, format!("{so_far}; {}", capacity.message))),
            Blocker::NoZones => {
                self.zones_error().map(|error| (advice::reason(error), format!("{so_far}; {}", self.advised(error))))
            }
            Blocker::Parameters
            | Blocker::Unresolved
            | Blocker::Refused
            | Blocker::Suspended
            | Blocker::Busy
            | Blocker::ReplacementLimit
            | Blocker::Unhealthy => None,
        }
    }

    /// The parameters, the template or EC2 prevent launches.
    pub fn launch(&self, so_far: &str) -> Option<(Reason, String)> {
        let parameters = self.parameters.map(|problem| (problem.reason(), problem.message()));
        let unresolved = || {
            let unresolved = self.template?.unresolved.as_ref()?;
            Some((unresolved.reason(), self.unresolved(unresolved)))
        };
        let refused = || self.refusal.map(|error| (advice::reason(error), self.advised(error)));
        let (reason, message) = parameters.or_else(unresolved).or_else(refused)?;
        Some((reason, format!("{so_far}; {message}")))
    }

    /// Whether the user must change something.
    pub fn is_stalled(&self) -> bool {
        matches!(self.blocker, Some(Blocker::Orphans | Blocker::TagsChanged))
            || !self.termination_failed.is_empty()
            || self.zones_error().is_some_and(advice::stalls)
            || self.template.is_some_and(Resolved::stalls)
            || self.refusal.is_some_and(advice::stalls)
            || self.parameters.is_some_and(Problem::is_stalled)
    }

    fn zones_error(&self) -> Option<&aws::Error> {
        match (self.zones, self.blocker) {
            (Zones::Unknown(error), Some(Blocker::NoZones)) => Some(error),
            (Zones::Unknown(_) | Zones::Known(_), _) => None,
        }
    }

    /// The error, and what to do about it.
    fn advised(&self, error: &aws::Error) -> String {
        let advice::Remedy { denied, not_found, invalid } = advice::Remedy::of_launch(error);
        let change = |what: String| what + self.immutable;
        let remedy = advice::Remedy { denied, not_found: not_found.map(change), invalid: invalid.map(change) };
        format!("{error}{}", advice::advice(error, &remedy))
    }

    fn unresolved(&self, unresolved: &Unresolved) -> String {
        let must_change = match &unresolved.why {
            Why::Aws(error) => advice::asks_for_a_change(error),
            Why::Pending(_) | Why::Nothing(_) | Why::NotGranted(_) | Why::Unrenderable(_) | Why::Kubernetes(_) => false,
        };
        unresolved.message() + if must_change { self.immutable } else { "" }
    }
}

/// `ready`, `others`, and, if the object is neither ready nor suspended, `Stalled` or `Reconciling` with the same
/// message.
pub fn summarize(
    ready: Verdict,
    others: impl IntoIterator<Item = Verdict>,
    is_stalled: bool,
    suspended: bool,
) -> Vec<Verdict> {
    let condition = if is_stalled { ConditionType::Stalled } else { ConditionType::Reconciling };
    let summary = Verdict { condition, truth: Truth::True, ..ready.clone() };
    let summary = Some(summary).filter(|_| ready.truth != Truth::True && !suspended);
    [ready].into_iter().chain(others).chain(summary).collect()
}
