//! What a fleet makes of what is observed before it plans: how its workers are, and which of them an update replaces.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::{
    context::Context,
    ids::{InstanceId, list},
    live::Live,
    worker_fleet::{
        cpu::Cpu,
        crd::{Preview, WorkerFleet},
        desired::Desired,
        plan::{State, plan},
    },
    workers::{
        draft::{Action, Observed, Pass, Plan},
        headcount::{Head, heads},
        health::{Reporting, Sight},
        ledger::Ledger,
        memory::Memory,
    },
};

/// So many steps of a plan are shown.
const SHOWN: usize = 32;
/// So many ids are named in one.
const NAMED: usize = 20;

#[derive(Debug)]
pub(super) struct Insight {
    pub state: State,
    /// How long until something may change by time alone.
    pub next: Option<Duration>,
    /// What would be done, while nothing is.
    pub preview: Option<Preview>,
    pub cpu: Option<Cpu>,
    adoptable: BTreeSet<InstanceId>,
    reporting: Option<Arc<dyn Reporting>>,
    listed: BTreeMap<InstanceId, Option<Timestamp>>,
    now: Instant,
}

impl Insight {
    pub(super) fn new(
        ctx: &Context,
        live: &Live<WorkerFleet>,
        adoptable: BTreeSet<InstanceId>,
        cpu: Option<Cpu>,
    ) -> Self {
        let report = live.object().spec.readiness.report_ref.as_ref();
        let reporting = report.and_then(|report| ctx.reporting.of(live.namespace(), &report.name));
        let listed = live.status().instances;
        let listed = listed.into_iter().map(|worker| (worker.id, worker.ready_at.map(|time| time.0))).collect();
        let (state, now) = (State::default(), ctx.clock.monotonic());
        Self { state, next: None, preview: None, cpu, adoptable, reporting, listed, now }
    }

    pub(super) fn plan(
        &mut self,
        desired: &Desired,
        observed: &Observed,
        ledger: &Ledger,
        memory: &mut Memory,
        pass: &mut Pass<'_>,
    ) -> Plan {
        self.assess(desired, observed, ledger, memory, pass.now);
        if desired.plan_only {
            let mut nonce = || 0;
            let mut pass = Pass { now: pass.now, holder: pass.holder, nonce: &mut nonce };
            let free = Desired { suspended: false, ..desired.clone() };
            self.preview = Some(preview(ledger, &plan(&free, &self.state, observed, ledger, &mut pass)));
        }
        plan(desired, &self.state, observed, ledger, pass)
    }

    fn assess(
        &mut self,
        desired: &Desired,
        observed: &Observed,
        ledger: &Ledger,
        memory: &mut Memory,
        wall: Timestamp,
    ) {
        let sight = Sight {
            roster: &observed.roster,
            reporting: self.reporting.as_deref(),
            listed: &self.listed,
            now: self.now,
            wall,
        };
        let (health, next) = memory.pulse.feel(&sight, &desired.readiness.criteria);
        let all = heads(&observed.roster, ledger);
        let adopted = ledger.adopted();
        // Who was taken over is as it is, until the tag of the revision of that moment tells from when on it is not.
        let untold = |head: &Head<'_>| {
            let taken = head.seen.is_some_and(|worker| adopted.contains(&worker.instance.id));
            taken && !memory.revisions.knows(head.revision)
        };
        let outdated = desired.groups.iter().map(|group| {
            let heads = all.iter().filter(|head| head.role == group.role.as_str() && !untold(head));
            let names = heads.map(|head| head.revision);
            let supply = group.supplied.supply.as_ref();
            let outdated = supply.map(|supply| memory.revisions.superseded(&supply.revision, names));
            (group.role.clone(), outdated.unwrap_or_default())
        });
        let cpu = self.cpu.as_ref().map(|cpu| cpu.samples.clone()).unwrap_or_default();
        self.state = State { cpu, health, outdated: outdated.collect(), adoptable: self.adoptable.clone() };
        self.next = next;
    }
}

/// The steps of `plan` in words.
fn preview(before: &Ledger, plan: &Plan) -> Preview {
    let mut steps = Vec::new();
    let adopted: Vec<_> = plan.ledger.adopted.iter().filter(|id| !before.adopted.contains(id)).collect();
    if !adopted.is_empty() {
        steps.push(format!("take over {}", list(adopted.into_iter(), NAMED)));
    }
    for action in &plan.actions {
        match action {
            Action::Launch(intent) => steps.push(format!(
                "launch {} {} of role {} in {} from {}",
                intent.count, intent.instance_type, intent.role, intent.subnet, intent.image_id
            )),
            Action::Terminate(_) => {}
        }
    }
    let known = before.victims();
    for termination in &plan.ledger.terminations {
        let new: Vec<_> = termination.instance_ids.iter().filter(|id| !known.contains(id)).collect();
        if !new.is_empty() {
            steps.push(format!("end {} ({:?})", list(new.into_iter(), NAMED), termination.reason));
        }
    }
    let truncated = steps.len() > SHOWN;
    steps.truncate(SHOWN);
    Preview { steps, truncated }
}
