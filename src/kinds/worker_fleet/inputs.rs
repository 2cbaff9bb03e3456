//! What a fleet looks up before it plans: the instances that it may adopt, and the CPU of its workers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use jiff::Timestamp;

use crate::{
    aws::ec2::instance::Instance,
    crd::worker_fleet::{ReadinessCheck, WorkerFleet},
    ids::InstanceId,
    inventory::{ownership::Ownership, reporters::Fresh},
    kinds::worker_fleet::{cpu, desired::Desired, metrics::CpuSeries},
    reconcile::Failure,
    workers::{
        adoption::{Candidates, candidates},
        kind::{Pass, WorkerKind},
        observe::instances::{KnownInstance, ObservedInstance},
    },
};

#[derive(Debug)]
pub struct Inputs {
    pub(super) cpu: Option<cpu::Cpu>,
    pub(super) adoptable: BTreeSet<InstanceId>,
    /// The instances that may be adopted, as EC2 shows them, if only a plan is shown.
    pub(super) newcomers: BTreeMap<InstanceId, ObservedInstance>,
    pub(super) reporting: Option<Arc<Fresh>>,
    /// When each worker in the status became ready.
    pub(super) listed: BTreeMap<InstanceId, Option<Timestamp>>,
    /// Whether the status lists only some workers.
    pub(super) truncated: bool,
    pub(super) now: Instant,
}

pub(super) async fn look_up(
    pass: &mut Pass<'_, WorkerFleet>,
    series: &CpuSeries,
    desired: &Desired,
) -> Result<Inputs, Failure> {
    let ledger = WorkerFleet::ledger(&pass.live.status());
    let memory = &mut pass.memory.workers.adoption;
    let account = pass.live.object().spec.aws.account_ref.name.clone();
    let wanted = (&desired.adopt_ids, &ledger);
    let candidates = candidates(pass.ctx, pass.session, pass.live, (pass.owner, &account), wanted, memory).await?;
    let newcomers = newcomers(pass, desired, &candidates).await?;
    let cpu = cpu::observe(pass, series, &ledger.adopted(), desired.cpu).await;
    let status = pass.live.status();
    Ok(Inputs {
        cpu,
        adoptable: candidates.adoptable.into_keys().collect(),
        newcomers,
        reporting: desired.report.as_ref().and_then(|name| pass.ctx.reporters.of(pass.live.namespace(), name)),
        truncated: status.workers.instances_truncated,
        listed: status.instances.into_iter().map(|worker| (worker.id, worker.ready_at.map(|time| time.0))).collect(),
        now: pass.ctx.clock.monotonic(),
    })
}

async fn newcomers(
    pass: &Pass<'_, WorkerFleet>,
    desired: &Desired,
    candidates: &Candidates,
) -> Result<BTreeMap<InstanceId, ObservedInstance>, Failure> {
    let Desired { owner, adopt, .. } = desired;
    if !desired.plan_only || candidates.adoptable.is_empty() && adopt.is_empty() {
        return Ok(BTreeMap::new());
    }
    let Pass { ctx, session, .. } = pass;
    let now = ctx.clock.monotonic();
    let not_before = now.checked_sub(ctx.config.timings.sweep).unwrap_or(now);
    let mut found = candidates.adoptable.clone();
    if !adopt.is_empty() {
        let snapshot = ctx.sweeps.instances(session, &owner.cluster, not_before).await?;
        let left = snapshot.naming(owner).into_iter().filter(|(_, instance)| {
            matches!(owner.claim(instance, &BTreeSet::new()), Ownership::Orphan(uid) if adopt.contains(&uid))
        });
        found.extend(left.map(|(id, instance)| (id, Instance::clone(&instance))));
    }
    let checks = match desired.criteria.check {
        ReadinessCheck::StatusChecks => Some(ctx.sweeps.status_checks(session, not_before).await?),
        ReadinessCheck::Running | ReadinessCheck::Report => None,
    };
    let observed = |instance: Instance| {
        let checks_passed = checks.as_ref().is_some_and(|checks| checks.get(&instance.id) == Some(&true));
        // What it is adopted as is in the plan that adopts it.
        let (known, tampered) = (KnownInstance::default(), None);
        (instance.id.clone(), ObservedInstance { instance, known, tampered, swept: true, checks_passed })
    };
    Ok(found.into_values().map(observed).collect())
}
