//! How the parameters of an object stand: where its workers read them, and what is in the way.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{
    plan::MAIN,
    problem::{Problem, to_write},
    reference::ParametersRef,
};
use crate::{
    aws::Class,
    clock::Timings,
    condition::{ConditionType, Reason, Verdict},
};

/// How the parameters of an object stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Synced {
    pub(super) references: BTreeMap<String, ParametersRef>,
    /// Why they are not as they are to be. Nothing new may be launched then.
    pub problem: Option<Problem>,
    /// Why something that nobody reads any more is still there.
    pub leftover: Option<Problem>,
    pub(super) summary: String,
}

impl Synced {
    /// Where workers of `role` that are launched from now on read their parameters. With a problem, where those before
    /// them do, so that a revision does not change for it; but where these are only held back, where they will be, so that
    /// a plan shows what follows.
    pub fn reference(&self, role: &str) -> Option<&ParametersRef> {
        self.references.get(role).or_else(|| self.references.get(MAIN))
    }

    /// For a plan that is only told: as if what is held back were written.
    pub fn once_written(&self) -> Self {
        let problem = self.problem.clone().filter(|problem| !matches!(problem, Problem::Held { .. }));
        Self { problem, ..self.clone() }
    }

    /// The step in which what is held back would be written.
    pub(super) fn step(&self) -> Option<String> {
        match &self.problem {
            Some(Problem::Held { why: _, roles, values }) => {
                Some(format!("write parameters: {}", to_write(roles, *values)))
            }
            Some(_) | None => None,
        }
    }

    /// `None` where the object has no parameters and never had.
    pub fn verdict(&self, before: &[Condition]) -> Option<Verdict> {
        let say = |truth: bool, reason, message| Verdict::new(ConditionType::ParametersSynced, truth, reason, message);
        if let Some(problem) = self.problem.as_ref().or(self.leftover.as_ref()) {
            return Some(say(false, problem.reason(), problem.message()));
        }
        if !self.references.is_empty() {
            return Some(say(true, Reason::ParametersWritten, self.summary.clone()));
        }
        let known = before.iter().any(|c| c.type_ == ConditionType::ParametersSynced.as_str());
        known.then(|| say(true, Reason::NoParameters, "spec.parameters is not set".into()))
    }

    /// When to look again although nothing changes.
    pub fn requeue(&self, timings: &Timings) -> Option<Duration> {
        match &self.problem {
            Some(Problem::Unfinished) => Some(timings.progress / 50),
            // Things are applied together, and may be there the next moment.
            Some(Problem::Missing { what: _, waited: false }) => Some(timings.progress),
            Some(Problem::Unreadable { passing: true, .. }) => Some(timings.progress),
            // Others write first.
            Some(Problem::Aws(error)) if error.class == Class::Throttled => Some(timings.progress),
            Some(Problem::Held { .. }) | None => None,
            Some(_) => Some(timings.sweep),
        }
    }
}
