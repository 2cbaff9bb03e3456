//! What a fleet makes of what is observed before it plans: how its workers are, and which of them an update replaces.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::{
    context::Context,
    ids::InstanceId,
    live::Live,
    worker_fleet::{
        cpu::Cpu,
        crd::WorkerFleet,
        desired::Desired,
        plan::{State, plan, preview},
    },
    workers::{
        adoption::Candidates,
        draft::{Observed, Pass, Plan},
        headcount::{Head, heads},
        health::{Pulse, Reporting, Sight},
        ledger::Ledger,
        memory::Memory,
        preview::{Preview, dry},
        revisions::Revisions,
        roster::Sighting,
    },
};

#[derive(Debug)]
pub(super) struct Insight {
    pub state: State,
    /// How long until something may change by time alone.
    pub next: Option<Duration>,
    /// What would be done, while nothing is.
    pub preview: Option<Preview>,
    pub cpu: Option<Cpu>,
    /// The machines that may be taken over, as EC2 shows them.
    newcomers: BTreeMap<InstanceId, Sighting>,
    adoptable: BTreeSet<InstanceId>,
    reporting: Option<Arc<dyn Reporting>>,
    listed: BTreeMap<InstanceId, Option<Timestamp>>,
    truncated: bool,
    now: Instant,
}

impl Insight {
    pub(super) fn new(
        ctx: &Context,
        live: &Live<WorkerFleet>,
        candidates: &Candidates,
        newcomers: BTreeMap<InstanceId, Sighting>,
        cpu: Option<Cpu>,
    ) -> Self {
        let report = live.object().spec.readiness.report_ref.as_ref();
        let reporting = report.and_then(|report| ctx.reporting.of(live.namespace(), &report.name));
        let status = live.status();
        let truncated = status.workers.instances_truncated;
        let listed =
            status.instances.into_iter().map(|worker| (worker.id, worker.ready_at.map(|time| time.0))).collect();
        let (state, now) = (State::default(), ctx.clock.monotonic());
        let adoptable = candidates.adoptable.keys().cloned().collect();
        Self { state, next: None, preview: None, cpu, newcomers, adoptable, reporting, listed, truncated, now }
    }

    pub(super) fn plan(
        &mut self,
        desired: &Desired,
        observed: &Observed,
        ledger: &Ledger,
        memory: &mut Memory,
        pass: &mut Pass<'_>,
    ) -> Plan {
        let Memory { pulse, revisions, .. } = memory;
        (self.state, self.next) = self.assess(desired, observed, ledger, pulse, revisions, pass.now);
        if desired.plan_only {
            let (now, free) = (pass.now, desired.freed());
            let assess = |observed: &Observed, ledger: &Ledger| {
                self.assess(&free, observed, ledger, &mut pulse.clone(), revisions, now).0
            };
            let steps = dry(pass, |pass| preview(&free, &self.newcomers, observed, ledger, pass, assess));
            self.preview = Some(steps);
        }
        plan(desired, &self.state, observed, ledger, pass)
    }

    /// How the workers are, and how long until that may change by time alone.
    fn assess(
        &self,
        desired: &Desired,
        observed: &Observed,
        ledger: &Ledger,
        pulse: &mut Pulse,
        revisions: &Revisions,
        wall: Timestamp,
    ) -> (State, Option<Duration>) {
        let sight = Sight {
            roster: &observed.roster,
            reporting: self.reporting.as_deref(),
            listed: &self.listed,
            truncated: self.truncated,
            now: self.now,
            wall,
        };
        let (health, next) = pulse.feel(&sight, &desired.readiness.criteria);
        let all = heads(&observed.roster, ledger);
        let adopted = ledger.adopted();
        // Who was taken over is as it is, until the tag of the revision of that moment tells from when on it is not.
        let untold = |head: &Head<'_>| {
            let taken = head.seen.is_some_and(|worker| adopted.contains(&worker.instance.id));
            taken && !revisions.knows(head.revision)
        };
        let outdated = desired.groups.iter().map(|group| {
            let heads = all.iter().filter(|head| head.role == group.role.as_str() && !untold(head));
            let names = heads.map(|head| head.revision);
            let supply = group.supplied.supply.as_ref();
            let outdated = supply.map(|supply| revisions.superseded(&supply.revision, names));
            (group.role.clone(), outdated.unwrap_or_default())
        });
        let cpu = self.cpu.as_ref().map(|cpu| cpu.samples.clone()).unwrap_or_default();
        (State { cpu, health, outdated: outdated.collect(), adoptable: self.adoptable.clone() }, next)
    }
}
