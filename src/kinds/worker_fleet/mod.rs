//! WorkerFleet: keep N of these EC2 workers running, with these parameters.
//!
//! ```text
//!              intent recorded        call answered         all of it swept
//!   wanted ──────────────────► launch ─────────────► launch ───────────────► worker
//!                                │  no answer, restart:     with ids            │ surplus, stopped, fleet deleted:
//!                                └──► repeated, same token                      ▼ victim recorded, then terminated
//!                                     (or searched for)                       victim ──► seen to be over: removed
//! ```
//!
//! The record of open launches and victims is in the status; everything else follows from what EC2 shows.

mod absent;
mod assessment;
mod cpu;
mod desired;
mod events;
mod inputs;
mod metrics;
mod plan;
#[cfg(test)]
mod sample;
mod status;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use crate::{
    access::Claim,
    aws::Session,
    condition::ConditionType,
    crd::worker_fleet::{WorkerFleet, WorkerFleetStatus, WorkerSummary},
    ids::{InstanceId, MAIN_ROLE, Role, Uid, uids},
    inventory::ownership::Owner,
    k8s::{
        live::Live,
        object::{COMMON_LISTS, Object, StatusList},
    },
    kinds::worker_fleet::{
        assessment::{Assessment, assess},
        cpu::Subscription,
        desired::{ADOPT, Desired},
        inputs::Inputs,
        metrics::CpuSeries,
        plan::{ends_workers, has_ended, plan_end},
    },
    reconcile::{Failure, Finalized, Kind, Outcome, context::Context},
    tags::FLEET_TAG,
    workers::{
        adoption,
        finalize::finalize,
        kind::{Pass, PassResult, Round, WorkerKind, WorkersSpec},
        ledger::Ledger,
        memory::Memory,
        observe::{
            health::ReadinessTracker,
            instances::{KnownInstance, ObservedInstances},
            owner,
        },
        parameters::Synced,
        plan::{Plan, PlanContext, progress_tracker::ProgressTracker},
        reconcile::reconcile,
        status::{LISTS, whole},
    },
};

impl Object for WorkerFleet {
    type Status = WorkerFleetStatus;

    const NAME: &'static str = "WorkerFleet";
    const FINALIZER: &'static str = "muster.dev/workerfleet";
    const AWS_REFS: &'static [&'static str] = &["/aws"];
    const OWNER_TAG: Option<&'static str> = Some(FLEET_TAG);
    const STATUS_LISTS: &'static [&'static [StatusList]] = &[
        COMMON_LISTS,
        LISTS,
        &[
            StatusList::keyed("adopted", "id"),
            StatusList::keyed("provisioned", "role"),
            StatusList::keyed("replacements", "since"),
            StatusList::keyed("roles", "name"),
            StatusList::keyed("instances", "id"),
        ],
    ];

    fn status(&self) -> Option<&WorkerFleetStatus> {
        self.status.as_ref()
    }

    fn suspended(&self) -> bool {
        self.spec.suspend
    }
}

impl Kind for WorkerFleet {
    type Memory = FleetMemory;
    type Shared = CpuSeries;

    const UNKNOWN_WHILE_STALLED: &'static [ConditionType] = &[
        ConditionType::Available,
        ConditionType::Progressing,
        ConditionType::AmiResolved,
        ConditionType::CapacityAvailable,
        ConditionType::Healthy,
        ConditionType::OrphansFound,
    ];

    fn shared(ctx: &Context) -> CpuSeries {
        CpuSeries::registered(&ctx.metrics)
    }

    fn check(live: &Live<Self>) -> Result<(), Failure> {
        Self::desired(live, owner(String::new(), live), Synced::default()).map(drop)
    }

    async fn reconcile(
        ctx: &Context,
        series: &CpuSeries,
        live: &mut Live<Self>,
        memory: &mut FleetMemory,
    ) -> Result<Outcome<WorkerFleetStatus>, Failure> {
        Box::pin(reconcile(ctx, series, live, memory)).await
    }

    async fn finalize(
        ctx: &Context,
        _: &CpuSeries,
        live: &mut Live<Self>,
        memory: &mut FleetMemory,
    ) -> Result<Finalized<WorkerFleetStatus>, Failure> {
        let policy = live.object().spec.deletion_policy;
        let ended = |found: &PassResult<Self>| has_ended(policy, &found.observed, &found.ledger);
        let plan =
            |observed: &_, ledger: &_, context: &mut PlanContext<'_>| plan_end(policy, observed, ledger, context);
        finalize(ctx, live, memory, !ends_workers(policy), plan, ended).await
    }
}

/// What this process remembers about a fleet between reconciles.
#[derive(Debug, Default)]
pub struct FleetMemory {
    workers: Memory,
    readiness: ReadinessTracker,
    progress: ProgressTracker,
    /// The instances whose startup deadline this process has reported.
    reported: BTreeSet<InstanceId>,
    /// Since when the FleetReport that readiness depends on does not exist.
    report_absent_since: Option<Instant>,
    /// While the fleet requests CPU metrics.
    cpu: Option<Subscription>,
}

impl AsMut<Memory> for FleetMemory {
    fn as_mut(&mut self) -> &mut Memory {
        &mut self.workers
    }
}

impl WorkerKind for WorkerFleet {
    type Desired = Desired;
    type Inputs = Inputs;
    type Observation = ();
    type Assessment = Assessment;

    const FIELD_MANAGER: &'static str = "muster-workerfleet";

    fn workers_spec(&self) -> WorkersSpec<'_> {
        let spec = &self.spec;
        let claims = Claim::of_template(&spec.template);
        WorkersSpec {
            aws: &spec.aws,
            suspend: spec.suspend,
            parameters: spec.parameters.as_ref(),
            role_parameters: spec.roles.iter().map(|role| (role.name.as_str(), &role.parameters[..])).collect(),
            claims: claims.chain(spec.parameters.iter().flat_map(Claim::of_parameters)).collect(),
            revision_history: usize::try_from(spec.revision_history_limit).unwrap_or_default(),
        }
    }

    fn adopted_owners(live: &Live<Self>) -> BTreeSet<Uid> {
        // An invalid annotation is reported when the spec is parsed.
        uids(live.annotation(ADOPT).unwrap_or_default()).unwrap_or_default()
    }

    fn desired(live: &Live<Self>, owner: Owner, parameters: Synced) -> Result<Desired, Failure> {
        Desired::parse(&live.object().spec, owner, parameters, |key| live.annotation(key))
            .map_err(|error| Failure::InvalidSpec(error.to_string()))
    }

    fn ledger(status: &WorkerFleetStatus) -> Ledger {
        Ledger {
            adopted: status.adopted.clone(),
            provisioned: status.provisioned.clone(),
            replacements: status.replacements.clone(),
            ..Ledger::of(&status.workers)
        }
    }

    fn with_ledger(
        mut status: WorkerFleetStatus,
        session: &Session,
        instances: &ObservedInstances,
        ledger: Ledger,
    ) -> WorkerFleetStatus {
        // The record does not count victims and ended instances, so a reader must not take them for workers that ended
        // later.
        let victims = ledger.victims();
        status.instances.retain(|listed| !victims.contains(&listed.id) && !instances.is_over(&listed.id));
        ledger.record(session, &mut status.workers);
        let Ledger { launches: _, terminations: _, adopted, provisioned, replacements, progress: _ } = ledger;
        WorkerFleetStatus { adopted, provisioned, replacements, ..status }
    }

    fn finalizing(mut status: WorkerFleetStatus, instances: &ObservedInstances) -> WorkerFleetStatus {
        let left = instances.left();
        let left = |role: &str| whole(left.get(role).copied().unwrap_or_default());
        (status.replicas, status.updated_replicas) = (left(MAIN_ROLE), 0);
        (status.ready_replicas, status.available_replicas) = (0, 0);
        for role in &mut status.roles {
            (role.replicas, role.updated_replicas) = (left(&role.name), 0);
            (role.ready_replicas, role.available_replicas) = (0, 0);
        }
        status
    }

    fn listed(status: &WorkerFleetStatus) -> BTreeMap<InstanceId, KnownInstance> {
        let known = |summary: &WorkerSummary| {
            let role = Role::try_from(summary.role.as_str()).unwrap_or_default();
            (summary.id.clone(), KnownInstance { role, revision: summary.revision.clone() })
        };
        status.instances.iter().map(known).collect()
    }

    async fn look_up(pass: &mut Pass<'_, Self>, series: &CpuSeries, desired: &Desired) -> Result<Inputs, Failure> {
        inputs::look_up(pass, series, desired).await
    }

    fn assess(round: &Round<'_, Self>, memory: &mut FleetMemory, context: &PlanContext<'_>) -> Assessment {
        assess(round, &mut memory.readiness, &memory.workers.revisions, context)
    }

    fn plan(round: &Round<'_, Self>, assessment: &Assessment, context: &mut PlanContext<'_>) -> Plan {
        plan::plan(round.desired, &assessment.state, round.observed, round.ledger, context)
    }

    /// Reports workers that never became ready and workers that were lost, and tags adopted instances.
    async fn follow_up(
        pass: &mut Pass<'_, Self>,
        desired: &Desired,
        recorded: &Ledger,
        found: &PassResult<Self>,
    ) -> bool {
        events::never_ready(pass, desired, recorded, found).await;
        events::losses(pass).await;
        if desired.suspended {
            return false;
        }
        let Pass { ctx, session, owner, memory, .. } = pass;
        let instances = &found.observed.instances;
        adoption::tag(ctx, session, owner, &recorded.adopted, instances, &mut memory.workers.adoption).await
    }

    fn outcome(pass: &mut Pass<'_, Self>, desired: &Desired, found: &PassResult<Self>) -> Outcome<WorkerFleetStatus> {
        status::outcome(pass, desired, found)
    }
}
