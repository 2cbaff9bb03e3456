//! WorkerFleet: keep N of these EC2 workers running, with these parameters.
//!
//! ```text
//!              intent recorded        call answered         all of it swept
//!   wanted ──────────────────► launch ─────────────► launch ───────────────► worker
//!                                │  no answer, restart:     with ids            │ surplus, stopped, fleet deleted:
//!                                └──► repeated, same token                      ▼ victim recorded, then asked to end
//!                                     (or searched for)                       victim ──► seen to be over: struck
//! ```
//!
//! The record of open launches and victims is in the status; everything else follows from what EC2 shows.

mod absent;
mod cpu;
mod crd;
mod desired;
mod insight;
mod last_words;
mod losses;
mod plan;
mod status;

use std::collections::{BTreeMap, BTreeSet};

pub use self::crd::{
    DeletionPolicy, OnStopped, Readiness, ReadinessCheck, RoleStatus, ScaleDownPolicy, WorkerFleet, WorkerFleetSpec,
    WorkerFleetStatus, WorkerSummary,
};
use self::{
    absent::AbsentReport,
    cpu::Cpu,
    desired::Desired,
    insight::Insight,
    plan::{has_ended, plan_end},
    status::View,
};
use crate::{
    aws::Session,
    aws_account::{Claim, authorize},
    condition::ConditionType,
    context::Context,
    ids::{InstanceId, MAIN_ROLE, Role, Uid},
    live::Live,
    reconcile::{Failure, Finalized, Kind, Outcome},
    workers::{
        adoption::{self, Candidates},
        draft::{Observed, Pass},
        instance::Instance,
        ledger::Ledger,
        look::{Found, Look, Scope, WorkerKind},
        observe::{live_owner, owner},
        ownership::{self, OWNER_TAG, Owner},
        parameters::{self, Ask, Held, Parameters, Synced},
        parting::part,
        preview::{PLAN_ONLY, is_plan_only},
        roster::{Known, Roster, Sighting},
        supply::{Wish, supply},
    },
};

/// Who writes what the fleets own.
const FIELD_MANAGER: &str = "muster-workerfleet";
impl Kind for WorkerFleet {
    type Status = WorkerFleetStatus;

    const NAME: &'static str = "WorkerFleet";
    const FINALIZER: &'static str = "muster.dev/workerfleet";
    const AWS_REFS: &'static [&'static str] = &["/aws"];
    const UNKNOWN_WHILE_STALLED: &'static [ConditionType] = &[
        ConditionType::Available,
        ConditionType::Progressing,
        ConditionType::AmiResolved,
        ConditionType::CapacityAvailable,
        ConditionType::Healthy,
        ConditionType::OrphansFound,
    ];

    fn status(&self) -> Option<&WorkerFleetStatus> {
        self.status.as_ref()
    }

    fn suspended(&self) -> bool {
        self.spec.suspend
    }

    fn check(live: &Live<Self>) -> Result<(), Failure> {
        desired(live, owner(String::new(), live), Synced::default()).map(drop)
    }

    async fn reconcile(ctx: &Context, live: &mut Live<Self>) -> Result<Outcome<WorkerFleetStatus>, Failure> {
        let owner = live_owner(ctx, live);
        let not_before = live.is_look_requested().then(|| ctx.clock.monotonic());
        let spec = live.object().spec.clone();
        let mut claims = spec.template.claims();
        claims.extend(spec.parameters.as_ref().and_then(Parameters::claim));
        let session = session(ctx, live, &claims).await?;
        let memory = ctx.workers.of(live.uid());
        let mut memory = memory.lock().await;
        memory.revisions.check_cluster(ctx, live).await?;
        let held = Held::of(spec.suspend, is_plan_only(live.annotation(PLAN_ONLY)));
        let roles = spec.roles.iter().map(|role| (role.name.as_str(), role.parameters.as_slice())).collect();
        let earlier = desired::earlier(|key| live.annotation(key).map(str::to_owned));
        let ask = Ask { owner: &owner, parameters: spec.parameters.as_ref(), roles, earlier: &earlier, held };
        let synced = parameters::sync(ctx, &session, live, &ask).await?;
        let mut desired = desired(live, owner.clone(), synced)?;
        for group in &mut desired.groups {
            let parameters = desired.parameters.reference(group.role.as_str());
            let wish = Wish { owner: &owner, role: &group.role, template: &group.template, parameters };
            group.supplied = supply(ctx, &session, wish, not_before, &mut memory).await;
            if let Some(supply) = &group.supplied.supply {
                memory.revisions.ensure(ctx, live, &supply.revision, FIELD_MANAGER).await?;
            }
        }
        let history = usize::try_from(spec.revision_history_limit).unwrap_or_default();
        let supplies = desired.groups.iter().filter_map(|group| group.supplied.supply.as_ref());
        let places: Vec<_> = supplies.map(|supply| &supply.places).collect();
        let revisions = desired.revisions();
        let status_checks = desired.readiness.criteria.check == ReadinessCheck::StatusChecks;
        let may_vanish = desired.max_unhealthy;
        let scope = Scope { status_checks, places: &places, revisions: &revisions, may_vanish };
        let adopted: BTreeSet<_> = live.status().adopted.into_iter().collect();
        let wanted = &desired.adopt_ids;
        let candidates = adoption::candidates(ctx, &session, live, &owner, wanted, &mut memory.adoption).await?;
        let newcomers = newcomers(ctx, &session, &desired, &candidates).await?;
        let cpu = cpu::observe(ctx, &session, &owner, &adopted, desired.cpu).await;
        let recorded = Self::ledger(&live.status());
        let mut look = Look { ctx, session: &session, live, memory: &mut memory };
        let mut insight = Insight::new(ctx, look.live, &candidates, newcomers, cpu);
        let found = look
            .rounds(scope, |observed, _, ledger, memory, pass| insight.plan(&desired, observed, ledger, memory, pass));
        let found = found.await?;
        let late = last_words::late(&mut look.memory.told, [&recorded, &found.ledger]);
        let knowledge = (&found.answer.observed.roster, &look.memory.revisions);
        last_words::tell(ctx, &session, look.live, &late, knowledge, desired.readiness.criteria.startup_deadline).await;
        losses::tell(ctx, look.live, &mut look.memory.losses).await;
        let tagged = held.is_none() && {
            let roster = &found.answer.observed.roster;
            adoption::tag(ctx, &session, &owner, &adopted, roster, look.memory, |role| desired.revision(role)).await
        };
        let named = look.named(&found, &revisions);
        look.prune(named.as_ref(), history).await?;
        for group in &desired.groups {
            group.supplied.doubt(ctx, &session, &found.answer.observed.lessons);
        }
        let in_use = named.and_then(|named| look.memory.revisions.parameters(&named));
        let mut outcome = outcome(&mut look, &desired, &found, insight);
        outcome.verdicts.extend(look.memory.adoption.verdict());
        if tagged {
            outcome.requeue = outcome.requeue.min(ctx.config.timings.progress);
        }
        parameters::conclude(ctx, &session, live, &ask, in_use.as_ref(), desired.parameters, &mut outcome).await?;
        Ok(outcome)
    }

    async fn finalize(ctx: &Context, live: &mut Live<Self>) -> Result<Finalized<WorkerFleetStatus>, Failure> {
        let session = session(ctx, live, &[]).await;
        let policy = live.object().spec.deletion_policy;
        let retained = match policy {
            DeletionPolicy::Terminate => false,
            DeletionPolicy::Retain => true,
        };
        let end = |observed: &Observed, ledger: &Ledger, pass: &mut Pass<'_>| plan_end(policy, observed, ledger, pass);
        part(ctx, live, session, retained, end, |found| has_ended(policy, &found.answer.observed, &found.ledger)).await
    }

    fn forget(ctx: &Context, uid: &Uid) {
        cpu::forget(ctx, uid);
        ctx.workers.forget(uid);
        ctx.parameters.forget(uid);
    }
}

impl WorkerKind for WorkerFleet {
    type Sight = ();

    const OWNER_TAG: &'static str = OWNER_TAG;

    fn ledger(status: &WorkerFleetStatus) -> Ledger {
        Ledger {
            adopted: status.adopted.clone(),
            provisioned: status.provisioned.clone(),
            replacements: status.replacements.clone(),
            ..status.workers.ledger()
        }
    }

    fn with_ledger(
        mut status: WorkerFleetStatus,
        session: &Session,
        roster: &Roster,
        ledger: Ledger,
    ) -> WorkerFleetStatus {
        // The record counts neither victims nor who is over, so whoever reads it must not take them for workers that ended
        // since.
        let victims = ledger.victims();
        status.instances.retain(|listed| !victims.contains(&listed.id) && !roster.is_over(&listed.id));
        status.workers.record(session, &ledger);
        let Ledger { launches: _, terminations: _, adopted, provisioned, replacements, progress: _ } = ledger;
        WorkerFleetStatus { adopted, provisioned, replacements, ..status }
    }

    fn parting(mut status: WorkerFleetStatus, roster: &Roster) -> WorkerFleetStatus {
        let left = roster.left();
        let left = |role: &str| i32::try_from(left.get(role).copied().unwrap_or_default()).unwrap_or(i32::MAX);
        (status.replicas, status.updated_replicas) = (left(MAIN_ROLE), 0);
        (status.ready_replicas, status.available_replicas) = (0, 0);
        for role in &mut status.roles {
            (role.replicas, role.updated_replicas) = (left(&role.name), 0);
            (role.ready_replicas, role.available_replicas) = (0, 0);
        }
        status
    }

    fn listed(status: &WorkerFleetStatus) -> BTreeMap<InstanceId, Known> {
        let known = |summary: &WorkerSummary| {
            let role = Role::try_from(summary.role.as_str()).unwrap_or_default();
            (summary.id.clone(), Known { role, revision: summary.revision.clone() })
        };
        status.instances.iter().map(known).collect()
    }

    async fn see(_: &Context, _: &Session, _: &Live<Self>, _: &Ledger, _: &Roster) -> Result<(), Failure> {
        Ok(())
    }
}

fn desired(live: &Live<WorkerFleet>, owner: Owner, synced: Synced) -> Result<Desired, Failure> {
    let annotation = |key: &str| live.annotation(key).map(str::to_owned);
    Desired::parse(&live.object().spec, owner, synced, annotation).map_err(|e| Failure::InvalidSpec(e.to_string()))
}

async fn session(ctx: &Context, live: &Live<WorkerFleet>, claims: &[Claim]) -> Result<Session, Failure> {
    let status = live.status();
    let aws = &live.object().spec.aws;
    authorize(ctx, WorkerFleet::NAME, live.namespace(), aws, status.workers.aws.as_ref(), claims).await
}

/// The machines that would be taken over, where a plan is to show what follows from that.
async fn newcomers(
    ctx: &Context,
    session: &Session,
    desired: &Desired,
    candidates: &Candidates,
) -> Result<BTreeMap<InstanceId, Sighting>, Failure> {
    let Desired { owner, adopt, .. } = desired;
    if !desired.plan_only || candidates.adoptable.is_empty() && adopt.is_empty() {
        return Ok(BTreeMap::new());
    }
    let now = ctx.clock.monotonic();
    let not_before = now.checked_sub(ctx.config.timings.sweep).unwrap_or(now);
    let mut found = candidates.adoptable.clone();
    if !adopt.is_empty() {
        let snapshot = ctx.sweeps.instances(session, &owner.cluster, not_before).await?;
        let left = snapshot.naming(owner).into_iter().filter(|(_, instance)| {
            matches!(owner.claim(instance, &BTreeSet::new()), ownership::Claim::Orphan(uid) if adopt.contains(&uid))
        });
        found.extend(left.map(|(id, instance)| (id, Instance::clone(&instance))));
    }
    let checks = match desired.readiness.criteria.check {
        ReadinessCheck::StatusChecks => Some(ctx.sweeps.status_checks(session, not_before).await?),
        ReadinessCheck::Running | ReadinessCheck::Report => None,
    };
    let sighting = |instance: Instance| {
        let checks_passed = checks.as_ref().is_some_and(|checks| checks.passed(&instance.id));
        (instance.id.clone(), Sighting { instance, swept: true, checks_passed })
    };
    Ok(found.into_values().map(sighting).collect())
}

type FleetLook<'a> = Look<'a, WorkerFleet>;

fn outcome(
    look: &mut FleetLook<'_>,
    desired: &Desired,
    found: &Found<()>,
    insight: Insight,
) -> Outcome<WorkerFleetStatus> {
    let undying = look.memory.undying.clone();
    let absent = AbsentReport::of(look.ctx, look.live.namespace(), desired, look.memory);
    let lost = look.memory.losses.lately(look.ctx.clock.monotonic());
    let estranged: Vec<_> = look.memory.losses.estranged().cloned().collect();
    let mut view = View {
        desired,
        observed: &found.answer.observed,
        ledger: &found.ledger,
        holds: &found.holds,
        state: &insight.state,
        late: false,
        undying: &undying,
        absent: absent.as_ref(),
        lost: &lost,
        estranged: &estranged,
    };
    if view.is_settled() || desired.suspended {
        look.memory.advance.rest();
    } else {
        let now = look.ctx.clock.monotonic();
        view.late = look.memory.advance.is_late(view.mark(), now, desired.update.progress_deadline);
    }
    let before = look.live.status();
    let status = cpu::tell(insight.cpu.as_ref(), &before, view.status(before.clone()));
    let mut status =
        WorkerFleet::with_ledger(status, look.session, &found.answer.observed.roster, found.ledger.clone());
    let (mut verdicts, settled) = (view.verdicts(), view.is_settled());
    verdicts.extend(insight.cpu.as_ref().and_then(Cpu::verdict));
    look.rest(settled || desired.suspended, found.moved);
    let requeue = look.requeue(found);
    status.workers.plan = insight.preview;
    Outcome { status, verdicts, requeue: insight.next.map_or(requeue, |next| requeue.min(next)) }
}
