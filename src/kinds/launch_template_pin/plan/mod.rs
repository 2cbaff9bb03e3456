//! What to do next: pure functions of the spec, of what AWS shows, and of the record.

mod call;
pub(super) mod forecast;
pub(super) mod groups;
pub(super) mod retention;
pub(super) mod settle;
pub(super) mod target;

use std::collections::{BTreeMap, BTreeSet};

pub(super) use crate::kinds::launch_template_pin::plan::call::{Call, PlanContext, Subject, subject};
use crate::{
    crd::launch_template_pin::{LaunchTemplatePinStatus, PinIntent, PinOperation},
    kinds::launch_template_pin::{
        desired::Desired,
        observed::Observed,
        plan::{
            groups::{Finding, GroupState, finding},
            retention::{Retention, retention},
            target::{Target, target},
        },
    },
};

/// How many calls are open at the same time.
const AT_ONCE: usize = 20;

/// What was found, for the plan and for the status.
#[derive(Clone, Debug)]
pub(super) struct Assessment {
    pub(super) target: Target,
    pub(super) findings: BTreeMap<String, Finding>,
    pub(super) retention: Retention,
    /// The uid of another object that the launch template is tagged with.
    pub(super) taken_by: Option<String>,
}

impl Assessment {
    pub(super) fn of(
        desired: &Desired,
        observed: &Observed,
        record: &LaunchTemplatePinStatus,
        context: &PlanContext<'_>,
    ) -> Self {
        let target = target(desired, observed, record, context.uid, context.now);
        let found = |group| finding(desired, observed, record, &target, group, context.retries);
        let findings = observed.groups.iter().map(|(name, group)| (name.clone(), found(group))).collect();
        let retention = retention(desired, observed, record, &target, context.uid, context.now);
        let taken_by = observed.claimed_by().filter(|uid| *uid != context.uid.as_str()).map(str::to_owned);
        Self { target, findings, retention, taken_by }
    }

    /// The version that is in place: not yet the wanted one while that waits for the window.
    pub(super) fn in_place(&self, desired: &Desired, observed: &Observed) -> i64 {
        let waits = self.target.is_closed && self.new_default(desired, observed).is_some();
        if waits { observed.template.default } else { self.target.version }
    }

    /// The default version that is wanted, if it is not the default yet.
    pub(super) fn new_default(&self, desired: &Desired, observed: &Observed) -> Option<i64> {
        let wanted = desired.set_default || desired.rollback_to.is_some();
        Some(self.target.version).filter(|version| wanted && *version != observed.template.default)
    }
}

/// The calls to make now, without those whose subject has an open intent.
pub(super) fn calls(
    desired: &Desired,
    observed: &Observed,
    record: &LaunchTemplatePinStatus,
    found: &Assessment,
    context: &PlanContext<'_>,
) -> Vec<Call> {
    if found.taken_by.is_some() || found.target.missing.is_some() {
        return vec![];
    }
    if observed.claimed_by().is_none() {
        return free(vec![Call::Claim], record, context);
    }
    let Target { create, hold, foreign, .. } = &found.target;
    if let (Some((source, image)), None) = (create, hold) {
        let foreign = *foreign == Some(*source);
        let make = free(vec![Call::CreateVersion { source: *source, image: image.clone(), foreign }], record, context);
        if !make.is_empty() {
            return make;
        }
    }
    let is_making = |intent: &PinIntent| intent.operation == PinOperation::CreateVersion;
    // To go back does not wait for a version that is perhaps being made.
    if record.intents.iter().any(is_making) && desired.rollback_to.is_none() {
        return vec![];
    }
    let default = found.new_default(desired, observed).filter(|_| !found.target.is_closed).map(Call::SetDefault);
    // What follows the default is refreshed once it has moved.
    let is_early = |call: &Call| default.is_some() && matches!(call, Call::StartRefresh { .. });
    let groups = found.findings.values().filter_map(|finding| finding.call.clone());
    let groups: Vec<_> = groups.filter(|call| !is_early(call)).collect();
    let moves = default.is_some() || !groups.is_empty();
    let busy = found.findings.values().any(|finding| finding.state == GroupState::Refreshing);
    let mut calls: Vec<_> = default.into_iter().collect();
    let room = AT_ONCE.saturating_sub(record.intents.len());
    calls.extend(free(groups, record, context).into_iter().take(room));
    // Last: what is about to run must not lose its way back.
    let known = observed.running.is_some() && observed.of_fleets.is_some() && observed.unread_refreshes.is_none();
    if !moves && !busy && known && record.intents.is_empty() {
        let surplus: Vec<_> =
            found.retention.surplus.iter().filter(|version| !context.refused.contains(version)).copied().collect();
        calls.extend(Some(Call::DeleteVersions(surplus)).filter(|call| *call != Call::DeleteVersions(vec![])));
    }
    free(calls, record, context)
}

/// Those of `calls` whose subject has no open intent and was not just refused.
fn free(calls: Vec<Call>, record: &LaunchTemplatePinStatus, context: &PlanContext<'_>) -> Vec<Call> {
    let open: BTreeSet<_> = record.intents.iter().map(subject).collect();
    let is_free = |call: &Call| !open.contains(&call.subject()) && !context.waits.contains(&call.subject());
    calls.into_iter().filter(is_free).collect()
}
