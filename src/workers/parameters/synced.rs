//! The state of an object's parameters: where its workers read them, and what problems there are.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::{
    aws::Class,
    clock::Timings,
    condition::{ConditionType, Reason, Verdict},
    workers::parameters::{MAIN, ParametersRef, Problem, problem::to_write},
};

/// The state of an object's parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Synced {
    pub(super) references: BTreeMap<String, ParametersRef>,
    /// Why they are not as specified. Then nothing may be launched.
    pub problem: Option<Problem>,
    /// Why unused ones are not removed.
    pub leftover: Option<Problem>,
    pub(super) summary: String,
}

impl Synced {
    /// Where new workers of `role` read their parameters. With a problem, it is where existing workers read them, so
    /// that the revision does not change; if the write is only held, it is the later place, for the plan to show.
    pub fn reference(&self, role: &str) -> Option<&ParametersRef> {
        self.references.get(role).or_else(|| self.references.get(MAIN))
    }

    /// For a plan that is not applied: as if held parameters were written.
    pub fn once_written(&self) -> Self {
        let problem = self.problem.clone().filter(|problem| !matches!(problem, Problem::Held { .. }));
        Self { problem, ..self.clone() }
    }

    /// The step that would write held parameters.
    pub(super) fn step(&self) -> Option<String> {
        let Some(Problem::Held { why: _, roles, values }) = &self.problem else { return None };
        Some(format!("write parameters: {}", to_write(roles, *values)))
    }

    /// `None` where the object has no parameters and never had.
    pub fn verdict(&self, before: &[Condition]) -> Option<Verdict> {
        let verdict =
            |truth: bool, reason, message| Verdict::new(ConditionType::ParametersSynced, truth, reason, message);
        if let Some(problem) = self.problem.as_ref().or(self.leftover.as_ref()) {
            return Some(verdict(false, problem.reason(), problem.message()));
        }
        if !self.references.is_empty() {
            return Some(verdict(true, Reason::ParametersWritten, self.summary.clone()));
        }
        let known = before.iter().any(|c| c.type_ == ConditionType::ParametersSynced.as_str());
        known.then(|| verdict(true, Reason::NoParameters, "spec.parameters is not set".into()))
    }

    /// When to reconcile again even if nothing changes.
    pub fn requeue(&self, timings: &Timings) -> Option<Duration> {
        match &self.problem {
            Some(Problem::Unfinished) => Some(timings.progress / 50),
            // Objects that are applied together may exist in a moment.
            Some(Problem::Missing { what: _, waited: false }) => Some(timings.progress),
            Some(Problem::Unreadable { passing: true, .. }) => Some(timings.progress),
            // Another object writes first.
            Some(Problem::Aws(error)) if error.class == Class::Throttled => Some(timings.progress),
            Some(Problem::Held { .. }) | None => None,
            Some(_) => Some(timings.sweep),
        }
    }
}
