//! WorkerJob: run each index of this work to completion on workers that end themselves.
//!
//! ```text
//!                launched, tag and launch index        a result of this job's own
//!   free index ────────────────────────────► held ───────────────────────────────► completed
//!        ▲                                    │
//!        │ reclaimed, ended by somebody       │ machine is seen to have ended without one
//!        └────────────────────────────────────┤
//!        ▲ failure within backoffLimitPerIndex│
//!        └────────────────────────────────────┴──► failed: more often than that
//! ```
//!
//! Completed and failed indexes and the counts of failures stand in the status, written before the machine that they are
//! about is ended. Who holds what, EC2 tells.

mod account;
mod crd;
mod desired;
mod plan;
mod reader;
mod record;
mod results;
mod sight;
mod status;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use kube::api::{DeleteParams, Preconditions};

pub use self::crd::{
    Holder, IndexFailures, ResultSource, S3Result, ShutdownReason, WorkerJob, WorkerJobSpec, WorkerJobStatus,
};
pub use self::sight::Memory;
use self::{
    desired::{Desired, ResultsFrom, results_from},
    plan::{has_ended, plan, plan_end},
    record::{progress_of, with_progress},
    results::folder,
    sight::Sight,
    status::View,
};
use crate::{
    aws::{Session, ec2::Ec2},
    aws_account::{Claim, authorize},
    condition::ConditionType,
    context::Context,
    ids::{InstanceId, Uid},
    live::Live,
    reconcile::{Failure, Finalized, Kind, Outcome},
    workers::{
        ledger::Ledger,
        look::{Found, Look, MAY_VANISH, Scope, WorkerKind},
        observe::{live_owner, owner},
        ownership::{JOB_TAG, Owner},
        parameters::{self, Ask, Held, MAIN, Parameters, Synced},
        parting::part,
        preview::{PLAN_ONLY, dry, is_plan_only, preview},
        roster::{Known, Roster},
        supply::{Wish, supply},
    },
};

/// Who writes what the jobs own.
const FIELD_MANAGER: &str = "muster-workerjob";
/// How many revisions that nothing names are kept.
const REVISION_HISTORY: usize = 2;

impl Kind for WorkerJob {
    type Status = WorkerJobStatus;

    const NAME: &'static str = "WorkerJob";
    const FINALIZER: &'static str = "muster.dev/workerjob";
    const AWS_REFS: &'static [&'static str] = &["/aws"];
    const UNKNOWN_WHILE_STALLED: &'static [ConditionType] = &[
        ConditionType::AmiResolved,
        ConditionType::CapacityAvailable,
        ConditionType::OrphansFound,
        ConditionType::Degraded,
    ];

    fn status(&self) -> Option<&WorkerJobStatus> {
        self.status.as_ref()
    }

    fn suspended(&self) -> bool {
        self.spec.suspend
    }

    fn check(live: &Live<Self>) -> Result<(), Failure> {
        desired(live, owner(String::new(), live), Synced::default()).map(drop)
    }

    async fn reconcile(ctx: &Context, live: &mut Live<Self>) -> Result<Outcome<WorkerJobStatus>, Failure> {
        let owner = live_owner(ctx, live);
        let not_before = live.is_look_requested().then(|| ctx.clock.monotonic());
        let spec = live.object().spec.clone();
        let session = session(ctx, live, &claims(&spec)).await?;
        let memory = ctx.workers.of(live.uid());
        let mut memory = memory.lock().await;
        memory.revisions.check_cluster(ctx, live).await?;
        let none = BTreeSet::new();
        let held = Held::of(spec.suspend, is_plan_only(live.annotation(PLAN_ONLY)));
        let ask = Ask { owner: &owner, parameters: spec.parameters.as_ref(), roles: vec![], earlier: &none, held };
        let synced = parameters::sync(ctx, &session, live, &ask).await?;
        let mut desired = desired(live, owner.clone(), synced)?;
        let parameters = desired.parameters.reference(MAIN);
        let wish = Wish { owner: &owner, role: &desired.role, template: &spec.template, parameters };
        let mut supplied = supply(ctx, &session, wish, not_before, &mut memory).await;
        if let Some(supply) = &mut supplied.supply {
            desired.dress(&mut supply.revision);
            memory.revisions.ensure(ctx, live, &supply.revision, FIELD_MANAGER).await?;
        }
        desired.supplied = supplied;
        let supply = desired.supplied.supply.as_ref();
        let places: Vec<_> = supply.iter().map(|supply| &supply.places).collect();
        let revisions: BTreeSet<_> = supply.iter().map(|supply| supply.revision.name.clone()).collect();
        let (places, revisions) = (&places[..], &revisions);
        let scope = Scope { status_checks: false, places, revisions, may_vanish: MAY_VANISH };
        let mut look = Look { ctx, session: &session, live, memory: &mut memory };
        let mut told = None;
        let found = look.rounds(scope, |observed, sight, ledger, _, pass| {
            if desired.plan_only {
                let free = desired.freed();
                let free = dry(pass, |pass| plan(&free, observed, sight, ledger, pass));
                told = Some(preview(&[], ledger, &free));
            }
            plan(&desired, observed, sight, ledger, pass)
        });
        let found = found.await?;
        let named = look.named(&found, revisions);
        look.prune(named.as_ref(), REVISION_HISTORY).await?;
        desired.supplied.doubt(ctx, &session, &found.answer.observed.lessons);
        let in_use = named.and_then(|named| look.memory.revisions.parameters(&named));
        let mut outcome = outcome(&mut look, &desired, &found).await;
        outcome.status.workers.plan = told;
        parameters::conclude(ctx, &session, live, &ask, in_use.as_ref(), desired.parameters, &mut outcome).await?;
        if delete_when_due(ctx, live, &found.ledger).await? {
            // The watch brings what follows.
            outcome.requeue = ctx.config.timings.sweep;
        }
        Ok(outcome)
    }

    async fn finalize(ctx: &Context, live: &mut Live<Self>) -> Result<Finalized<WorkerJobStatus>, Failure> {
        let session = session(ctx, live, &[]).await;
        let ended = |found: &Found<Sight>| has_ended(&found.answer.observed, &found.sight, &found.ledger);
        part(ctx, live, session, false, plan_end, ended).await
    }

    fn forget(ctx: &Context, uid: &Uid) {
        ctx.workers.forget(uid);
        ctx.worker_jobs.forget(uid);
        ctx.parameters.forget(uid);
    }
}

impl WorkerKind for WorkerJob {
    type Sight = Sight;

    const OWNER_TAG: &'static str = JOB_TAG;

    fn ledger(status: &WorkerJobStatus) -> Ledger {
        Ledger { progress: progress_of(status), ..status.workers.ledger() }
    }

    fn with_ledger(mut status: WorkerJobStatus, session: &Session, _: &Roster, ledger: Ledger) -> WorkerJobStatus {
        status.workers.record(session, &ledger);
        with_progress(status, &ledger.progress)
    }

    fn listed(status: &WorkerJobStatus) -> BTreeMap<InstanceId, Known> {
        status.instances.iter().map(|holder| (holder.id.clone(), Known::default())).collect()
    }

    fn parting(status: WorkerJobStatus, roster: &Roster) -> WorkerJobStatus {
        let left = roster.left().into_values().sum::<u32>();
        WorkerJobStatus { active: i32::try_from(left).unwrap_or(i32::MAX), ..status }
    }

    fn hidden(sight: &Sight) -> u32 {
        sight.hidden
    }

    /// Results are listed after EC2 was asked: a machine that is seen to have ended wrote its result before that.
    async fn see(
        ctx: &Context,
        session: &Session,
        live: &Live<Self>,
        ledger: &Ledger,
        roster: &Roster,
    ) -> Result<Sight, Failure> {
        let memory = ctx.worker_jobs.of(live.uid());
        let mut memory = memory.lock().await;
        let before = progress_of(&live.status());
        let asked = memory.follow(roster, ledger, &before);
        let described = Ec2::new(session).describe_by_id(&asked).await?;
        let (now, timings) = (ctx.clock.monotonic(), &ctx.config.timings);
        let grace = (now, timings.describe_grace);
        let mut sight = memory.see((&asked, &described), &roster.gone, ledger, before, grace);
        let needed = sight.before.finished.is_none() && !live.is_being_deleted();
        let spec = &live.object().spec;
        if let (Ok(ResultsFrom::S3(at)), true) = (results_from(spec), needed) {
            let job = (live.uid(), u32::try_from(spec.completions).unwrap_or_default());
            match reader::read(ctx, session, &at, job, &sight.before, &mut memory.read).await {
                Ok(results) => {
                    let folder = folder(at.prefix.as_deref(), live.uid());
                    Memory::judge(&mut sight, (roster, ledger), &folder, results);
                }
                Err(error) => memory.cannot_read(&mut sight, error),
            }
        }
        let now = ctx.clock.monotonic();
        memory.miss(&mut sight, (roster, ledger), (now, timings));
        memory.linger(&mut sight, now, timings.exit_grace);
        memory.rest(&mut sight, now);
        Ok(sight)
    }
}

fn claims(spec: &WorkerJobSpec) -> Vec<Claim> {
    let bucket = spec.result.s3.iter().map(|s3| Claim::Bucket(s3.bucket.clone()));
    spec.template
        .claims()
        .into_iter()
        .chain(bucket)
        .chain(spec.parameters.as_ref().and_then(Parameters::claim))
        .collect()
}

fn desired(live: &Live<WorkerJob>, owner: Owner, synced: Synced) -> Result<Desired, Failure> {
    let annotation = |key: &str| live.annotation(key).map(str::to_owned);
    Desired::parse(&live.object().spec, owner, synced, annotation).map_err(|e| Failure::InvalidSpec(e.to_string()))
}

async fn session(ctx: &Context, live: &Live<WorkerJob>, claims: &[Claim]) -> Result<Session, Failure> {
    let status = live.status();
    let aws = &live.object().spec.aws;
    authorize(ctx, WorkerJob::NAME, live.namespace(), aws, status.workers.aws.as_ref(), claims).await
}

async fn outcome(look: &mut Look<'_, WorkerJob>, desired: &Desired, found: &Found<Sight>) -> Outcome<WorkerJobStatus> {
    let (now, timings) = (look.ctx.clock.monotonic(), &look.ctx.config.timings);
    let memory = look.ctx.worker_jobs.of(look.live.uid());
    memory.lock().await.told(&found.sight, &found.ledger.progress, now, timings);
    let view = View {
        desired,
        observed: &found.answer.observed,
        sight: &found.sight,
        ledger: &found.ledger,
        hold: found.holds.get(&desired.role).copied(),
        undying: &look.memory.undying,
    };
    let status =
        WorkerJob::with_ledger(look.live.status(), look.session, &found.answer.observed.roster, found.ledger.clone());
    let status = view.status(status);
    let (verdicts, settled) = (view.verdicts(), view.is_settled());
    look.rest(settled || desired.suspended, found.moved);
    let requeue = look.requeue(found);
    let due = [until_deadline(look.ctx, desired, &found.ledger), until_deletion(look.ctx, look.live, &found.ledger)];
    let requeue = due.into_iter().flatten().fold(requeue, |sooner, due| sooner.min(due.max(timings.progress / 50)));
    Outcome { status, verdicts, requeue }
}

fn until_deadline(ctx: &Context, desired: &Desired, ledger: &Ledger) -> Option<Duration> {
    let started = ledger.progress.started.filter(|_| ledger.progress.finished.is_none() && !desired.suspended)?;
    // A clock that is behind shows a start that is still to come.
    let running = Duration::try_from(ctx.clock.now().duration_since(started)).unwrap_or_default();
    Some(desired.deadline?.saturating_sub(running))
}

/// How long until the job is to be deleted; zero when it is time.
fn until_deletion(ctx: &Context, live: &Live<WorkerJob>, ledger: &Ledger) -> Option<Duration> {
    let spec = &live.object().spec;
    let held = spec.suspend || is_plan_only(live.annotation(PLAN_ONLY));
    let ttl = spec.ttl_seconds_after_finished.filter(|_| !held)?;
    let ttl = Duration::from_secs(u64::try_from(ttl).unwrap_or_default());
    let since = ctx.clock.now().duration_since(ledger.progress.finished?.at);
    Some(if since.is_negative() { ttl } else { ttl.saturating_sub(since.unsigned_abs()) })
}

/// Deletes a job that finished long enough ago, and tells whether it has. What is deleted is this very object, in the state that was looked at; the
/// finalizer ends what is left of it.
async fn delete_when_due(ctx: &Context, live: &Live<WorkerJob>, ledger: &Ledger) -> Result<bool, Failure> {
    // That it finished must be on record, so that another look comes to the same.
    let on_record = progress_of(&live.status()).finished.is_some();
    if !on_record || until_deletion(ctx, live, ledger) != Some(Duration::ZERO) {
        return Ok(false);
    }
    let preconditions = Preconditions {
        uid: Some(live.uid().to_string()),
        resource_version: live.raw().metadata.resource_version.clone(),
    };
    let params = DeleteParams::background().preconditions(preconditions);
    let api = live.api::<WorkerJob>(ctx);
    let operation = format!("delete the WorkerJob {}, whose ttlSecondsAfterFinished is over", live.name());
    match ctx.kube_call(&operation, api.delete(live.name(), &params)).await {
        Ok(_) => Ok(true),
        Err(Failure::Kube { source, .. }) if matches!(&*source, kube::Error::Api(s) if s.code == 404) => Ok(true),
        Err(error) => Err(error),
    }
}
