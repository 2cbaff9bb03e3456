//! WorkerJob: run each index of this work to completion on workers that terminate themselves.
//!
//! ```text
//!                launched, tag and launch index        a result of this job's own
//!   free index ────────────────────────────► held ───────────────────────────────► completed
//!        ▲                                    │
//!        │ reclaimed, terminated by a user    │ the instance has ended without one
//!        └────────────────────────────────────┤
//!        ▲ failure within backoffLimitPerIndex│
//!        └────────────────────────────────────┴──► failed: more often than that
//! ```
//!
//! Completed and failed indexes and the counts of failures are in the status, written before their instances are
//! terminated. Which instance holds which index follows from EC2, and is in the status until its end is accounted for: a
//! result counts only of an instance that was launched for its index.

mod account;
mod desired;
mod launched;
mod observation;
mod plan;
mod reader;
mod record;
mod results;
#[cfg(test)]
mod sample;
mod status;

use std::{collections::BTreeMap, time::Duration};

use kube::api::{DeleteParams, Preconditions};

use crate::{
    access::Claim,
    aws::{Session, ec2::Ec2},
    condition::ConditionType,
    crd::{
        aws_account::BucketUse,
        fields::{PLAN_ONLY, Preview, is_plan_only},
        worker_job::{WorkerJob, WorkerJobStatus},
    },
    ids::InstanceId,
    inventory::ownership::Owner,
    k8s::{
        live::Live,
        object::{COMMON_LISTS, Object, StatusList},
    },
    kinds::worker_job::{
        desired::{Desired, ResultsFrom, results_from},
        launched::Launched,
        observation::JobObservation,
        plan::{has_ended, plan, plan_end},
        record::{progress_of, with_progress},
        results::folder,
        status::View,
    },
    reconcile::{Failure, Finalized, Kind, Outcome, context::Context},
    tags::JOB_TAG,
    workers::{
        finalize::finalize,
        kind::{Pass, PassResult, Round, WorkerKind, WorkersSpec},
        ledger::{Ledger, progress::Progress},
        memory::Memory,
        observe::{
            instances::{KnownInstance, ObservedInstances},
            live_owner, owner,
        },
        parameters::Synced,
        plan::{Plan, PlanContext, preview},
        reconcile::reconcile,
        status::{LISTS, whole},
    },
};

/// The number of unused revisions that are kept.
const REVISION_HISTORY: usize = 2;

impl Object for WorkerJob {
    type Status = WorkerJobStatus;

    const NAME: &'static str = "WorkerJob";
    const FINALIZER: &'static str = "muster.dev/workerjob";
    const AWS_REFS: &'static [&'static str] = &["/aws"];
    const OWNER_TAG: Option<&'static str> = Some(JOB_TAG);
    const STATUS_LISTS: &'static [&'static [StatusList]] =
        &[COMMON_LISTS, LISTS, &[StatusList::keyed("indexFailures", "count"), StatusList::keyed("instances", "id")]];

    fn status(&self) -> Option<&WorkerJobStatus> {
        self.status.as_ref()
    }

    fn suspended(&self) -> bool {
        self.spec.suspend
    }
}

impl Kind for WorkerJob {
    type Memory = JobMemory;
    type Shared = ();

    const UNKNOWN_WHILE_STALLED: &'static [ConditionType] = &[
        ConditionType::AmiResolved,
        ConditionType::CapacityAvailable,
        ConditionType::OrphansFound,
        ConditionType::Degraded,
    ];

    fn shared(_: &Context) {}

    fn check(live: &Live<Self>) -> Result<(), Failure> {
        Self::desired(live, owner(String::new(), live), Synced::default()).map(drop)
    }

    async fn reconcile(
        ctx: &Context,
        (): &(),
        live: &mut Live<Self>,
        memory: &mut JobMemory,
    ) -> Result<Outcome<WorkerJobStatus>, Failure> {
        let mut outcome = Box::pin(reconcile(ctx, &(), live, memory)).await?;
        if delete_when_due(ctx, live, &progress_of(&outcome.status)).await? {
            // The watch reports the deletion.
            outcome.requeue = ctx.config.timings.sweep;
        }
        Ok(outcome)
    }

    async fn finalize(
        ctx: &Context,
        (): &(),
        live: &mut Live<Self>,
        memory: &mut JobMemory,
    ) -> Result<Finalized<WorkerJobStatus>, Failure> {
        let ended = |found: &PassResult<Self>| has_ended(&found.observed, &found.observation, &found.ledger);
        finalize(ctx, live, memory, false, plan_end, ended).await
    }
}

/// What this process remembers of a job.
#[derive(Debug, Default)]
pub struct JobMemory {
    workers: Memory,
    observations: observation::Memory,
}

impl AsMut<Memory> for JobMemory {
    fn as_mut(&mut self) -> &mut Memory {
        &mut self.workers
    }
}

impl WorkerKind for WorkerJob {
    type Desired = Desired;
    type Inputs = ();
    type Observation = JobObservation;
    /// The plan that is shown while nothing is changed.
    type Assessment = Option<Preview>;

    const FIELD_MANAGER: &'static str = "muster-workerjob";

    fn workers_spec(&self) -> WorkersSpec<'_> {
        let spec = &self.spec;
        let results = spec.result.s3.iter();
        let results = results.map(|s3| Claim::folder(&s3.bucket, s3.prefix.as_deref(), BucketUse::Results));
        let parameters = spec.parameters.iter().flat_map(Claim::of_parameters);
        WorkersSpec {
            aws: &spec.aws,
            suspend: spec.suspend,
            parameters: spec.parameters.as_ref(),
            role_parameters: vec![],
            claims: Claim::of_template(&spec.template).chain(results).chain(parameters).collect(),
            revision_history: REVISION_HISTORY,
        }
    }

    fn desired(live: &Live<Self>, owner: Owner, parameters: Synced) -> Result<Desired, Failure> {
        Desired::parse(&live.object().spec, owner, parameters, |key| live.annotation(key))
            .map_err(|error| Failure::InvalidSpec(error.to_string()))
    }

    fn ledger(status: &WorkerJobStatus) -> Ledger {
        Ledger { progress: progress_of(status), ..Ledger::of(&status.workers) }
    }

    fn with_ledger(
        mut status: WorkerJobStatus,
        session: &Session,
        _: &ObservedInstances,
        ledger: Ledger,
    ) -> WorkerJobStatus {
        ledger.record(session, &mut status.workers);
        with_progress(status, &ledger.progress)
    }

    fn listed(status: &WorkerJobStatus) -> BTreeMap<InstanceId, KnownInstance> {
        status.instances.iter().map(|holder| (holder.id.clone(), KnownInstance::default())).collect()
    }

    fn finalizing(status: WorkerJobStatus, instances: &ObservedInstances) -> WorkerJobStatus {
        WorkerJobStatus { active: whole(instances.left().into_values().sum::<u32>()), ..status }
    }

    async fn look_up(_: &mut Pass<'_, Self>, (): &(), _: &Desired) -> Result<(), Failure> {
        Ok(())
    }

    /// Results are listed after EC2 is queried: an instance that has ended wrote its result before that.
    async fn observe(
        ctx: &Context,
        session: &Session,
        live: &Live<Self>,
        ledger: &Ledger,
        instances: &ObservedInstances,
        memory: &mut JobMemory,
    ) -> Result<JobObservation, Failure> {
        let memory = &mut memory.observations;
        let before = progress_of(&live.status());
        let asked = memory.follow(instances, ledger, &before);
        let described = Ec2::new(session).describe_by_id(&asked).await?;
        let timings = &ctx.config.timings;
        let grace = (ctx.clock.monotonic(), timings.describe_grace);
        let mut observation = memory.see((&asked, &described), &instances.gone, ledger, before, grace);
        let needed = observation.before.finished.is_none() && !live.is_being_deleted();
        let spec = &live.object().spec;
        if let (Ok(ResultsFrom::S3(at)), true) = (results_from(spec), needed) {
            let folder = folder(at.prefix.as_deref(), live.uid());
            let job = (folder.as_str(), u32::try_from(spec.completions).unwrap_or_default());
            let claim = Claim::folder(&at.bucket, at.prefix.as_deref(), BucketUse::Results);
            let owner = ctx.bucket_owner(live, &spec.aws, session, &claim)?;
            let read = async |memory: &mut observation::Memory| {
                let launched = Launched::new(&observation, instances, ledger, &memory.proven);
                reader::read(ctx, (session, owner.clone()), &at, job, &launched, &mut memory.read).await
            };
            let mut results = read(memory).await;
            let unproven = results.as_ref().map(|results| memory.unproven(&results.unknown)).unwrap_or_default();
            if !unproven.is_empty() {
                let found = Ec2::new(session).find_by_id(&unproven).await?;
                if memory.prove(unproven, &found, &live_owner(ctx, live), ledger) {
                    results = read(memory).await;
                }
            }
            match results {
                Ok(results) => observation.take(results),
                Err(error) => memory.cannot_read(&mut observation, error),
            }
        }
        let now = ctx.clock.monotonic();
        memory.miss(&mut observation, (instances, ledger), (now, timings));
        memory.wait(&mut observation, now, timings.exit_grace);
        Ok(observation)
    }

    fn hidden(observation: &JobObservation) -> u32 {
        observation.hidden
    }

    fn assess(round: &Round<'_, Self>, _: &mut JobMemory, context: &PlanContext<'_>) -> Option<Preview> {
        let Round { desired, inputs: (), observed, observation, ledger } = round;
        desired.plan_only.then(|| {
            let free = desired.freed();
            let free = preview::dry(context, |context| plan(&free, observed, observation, ledger, context));
            preview::preview(&[], ledger, &free)
        })
    }

    fn plan(round: &Round<'_, Self>, _: &Option<Preview>, context: &mut PlanContext<'_>) -> Plan {
        plan(round.desired, round.observed, round.observation, round.ledger, context)
    }

    fn outcome(pass: &mut Pass<'_, Self>, desired: &Desired, found: &PassResult<Self>) -> Outcome<WorkerJobStatus> {
        let (now, timings) = (pass.ctx.clock.monotonic(), &pass.ctx.config.timings);
        let PassResult { observed, observation, ledger, .. } = found;
        pass.memory.observations.told(observation, &ledger.progress, now, timings);
        let view = View {
            desired,
            observed,
            observation,
            ledger,
            blocker: found.blockers.get(&desired.role.role).copied(),
            termination_failed: &pass.memory.workers.termination_failed,
        };
        let instances = &observed.instances;
        let mut status = view.status(Self::with_ledger(pass.live.status(), pass.session, instances, ledger.clone()));
        status.workers.plan = found.assessment.clone().flatten();
        let (verdicts, settled) = (view.verdicts(), view.is_settled());
        pass.rest(settled || desired.suspended, found.moved);
        let deadline = until_deadline(pass.ctx, desired, &ledger.progress);
        let deletion = until_deletion(pass.ctx, pass.live, &ledger.progress);
        let due = deadline.into_iter().chain(deletion).map(|due| due.max(timings.progress / 50));
        let requeue = due.fold(pass.requeue(found), Duration::min);
        Outcome { status, verdicts, requeue }
    }
}

fn until_deadline(ctx: &Context, desired: &Desired, progress: &Progress) -> Option<Duration> {
    let started = progress.started.filter(|_| progress.finished.is_none() && !desired.suspended)?;
    // If the clock was set back, the start is in the future.
    let running = Duration::try_from(ctx.clock.now().duration_since(started)).unwrap_or_default();
    Some(desired.deadline?.saturating_sub(running))
}

/// How long until the job is to be deleted; zero if it is due.
fn until_deletion(ctx: &Context, live: &Live<WorkerJob>, progress: &Progress) -> Option<Duration> {
    let spec = &live.object().spec;
    let held = spec.suspend || is_plan_only(live.annotation(PLAN_ONLY));
    let ttl = spec.ttl_seconds_after_finished.filter(|_| !held)?;
    let ttl = Duration::from_secs(u64::try_from(ttl).unwrap_or_default());
    let since = Duration::try_from(ctx.clock.now().duration_since(progress.finished?.at)).unwrap_or_default();
    Some(ttl.saturating_sub(since))
}

/// Deletes a job whose TTL has expired, and returns whether it did. The preconditions limit the deletion to this object
/// in the state that was read; the finalizer removes the rest.
async fn delete_when_due(ctx: &Context, live: &Live<WorkerJob>, progress: &Progress) -> Result<bool, Failure> {
    // The finish must be on record, so that another process comes to the same result.
    let on_record = progress_of(&live.status()).finished.is_some();
    if !on_record || until_deletion(ctx, live, progress) != Some(Duration::ZERO) {
        return Ok(false);
    }
    let preconditions = Preconditions {
        uid: Some(live.uid().to_string()),
        resource_version: live.raw().metadata.resource_version.clone(),
    };
    let params = DeleteParams::background().preconditions(preconditions);
    let api = live.api::<WorkerJob>(&ctx.cluster);
    let operation = format!("delete the WorkerJob {}, whose ttlSecondsAfterFinished has expired", live.name());
    match ctx.cluster.call(&operation, api.delete(live.name(), &params)).await {
        Err(error) if !error.is_not_found() => Err(error.into()),
        Ok(_) | Err(_) => Ok(true),
    }
}
