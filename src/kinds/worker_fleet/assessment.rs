//! The assessment of an observation before the plan: the health of the workers, and which of them an update replaces.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    crd::{fields::Preview, worker_fleet::WorkerFleet},
    kinds::worker_fleet::{
        cpu::Cpu,
        desired::Desired,
        inputs::Inputs,
        plan::{preview::preview, state::State},
    },
    workers::{
        kind::Round,
        launch_spec::revisions::Revisions,
        ledger::Ledger,
        observe::{counts, health, observed::Observed},
        plan::{PlanContext, preview::dry},
    },
};

#[derive(Debug)]
pub struct Assessment {
    pub(super) state: State,
    /// How long until it may change by time alone.
    pub(super) next: Option<Duration>,
    /// The plan that is shown while nothing is changed.
    pub(super) preview: Option<Preview>,
    pub(super) cpu: Option<Cpu>,
}

pub(super) fn assess(
    round: &Round<'_, WorkerFleet>,
    readiness: &mut health::ReadinessTracker,
    revisions: &Revisions,
    context: &PlanContext<'_>,
) -> Assessment {
    let Round { desired, inputs, observed, observation: (), ledger } = round;
    let (state, next) = of(inputs, desired, observed, ledger, readiness, revisions, context.now);
    let preview = desired.plan_only.then(|| {
        let free = desired.freed();
        let assess = |observed: &Observed, ledger: &Ledger| {
            of(inputs, &free, observed, ledger, &mut readiness.clone(), revisions, context.now).0
        };
        dry(context, |context| preview(&free, &inputs.newcomers, observed, ledger, context, assess))
    });
    Assessment { state, next, preview, cpu: inputs.cpu.clone() }
}

/// The state of the workers, and how long until it may change by time alone.
fn of(
    inputs: &Inputs,
    desired: &Desired,
    observed: &Observed,
    ledger: &Ledger,
    readiness: &mut health::ReadinessTracker,
    revisions: &Revisions,
    wall: Timestamp,
) -> (State, Option<Duration>) {
    let input = health::HealthInput {
        instances: &observed.instances,
        reporting: inputs.reporting.as_deref(),
        listed: &inputs.listed,
        truncated: inputs.truncated,
        now: inputs.now,
        wall,
    };
    let (health, next) = readiness.observe(&input, &desired.criteria);
    let all = counts::counted(&observed.instances, ledger);
    let adopted = ledger.adopted();
    // An adopted instance is up to date until it has the tag of the revision at its adoption.
    let is_untagged = |group: &counts::Counted<'_>| {
        let is_adopted = group.seen.is_some_and(|worker| adopted.contains(&worker.instance.id));
        is_adopted && !revisions.knows(group.revision)
    };
    let outdated = desired.roles.iter().map(|role| {
        let counted = all.iter().filter(|group| group.role == role.role.as_str() && !is_untagged(group));
        let names = counted.map(|group| group.revision);
        let launch_spec = role.resolved.launch_spec.as_ref();
        let outdated = launch_spec.map(|launch_spec| revisions.superseded(&launch_spec.revision, names));
        (role.role.clone(), outdated.unwrap_or_default())
    });
    let cpu = inputs.cpu.as_ref().map(|cpu| cpu.samples.clone()).unwrap_or_default();
    (State { cpu, health, outdated: outdated.collect(), adoptable: inputs.adoptable.clone() }, next)
}
