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

mod apply;
mod cpu;
mod crd;
mod desired;
mod memory;
mod observe;
mod plan;
mod status;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use self::{
    apply::{Hands, ledger_of, with_ledger},
    cpu::Cpu,
    desired::Desired,
    memory::Memory,
    observe::{Answer, Question, live_owner, observe},
    plan::{Hold, Pass, Plan, has_ended, plan, plan_end},
    status::View,
};
pub use self::{
    crd::{
        DeletionPolicy, OnStopped, Readiness, ReadinessCheck, ScaleDownPolicy, WorkerFleet, WorkerFleetSpec,
        WorkerFleetStatus, WorkerSummary,
    },
    memory::Memories,
};
use crate::{
    aws::Session,
    aws_account::{Claim, authorize},
    condition::{ConditionType, Reason, Verdict},
    context::Context,
    ids::Uid,
    live::Live,
    reconcile::{Chain, Failure, Finalized, Kind, Outcome, escape},
    workers::{
        ledger::Ledger,
        ownership::REVISION_TAG,
        parameters::{self, Ask, Parameters},
        pools::Places,
    },
};

/// Who writes what the fleets own.
const FIELD_MANAGER: &str = "muster-workerfleet";
/// A look makes at most so many rounds of plan and calls, so that the next pool can be tried at once and no look is
/// endless.
const MAX_ROUNDS: usize = 10;

impl Kind for WorkerFleet {
    type Status = WorkerFleetStatus;

    const NAME: &'static str = "WorkerFleet";
    const FINALIZER: &'static str = "muster.dev/workerfleet";
    const AWS_REFS: &'static [&'static str] = &["/aws"];
    const UNKNOWN_WHILE_STALLED: &'static [ConditionType] = &[
        ConditionType::Available,
        ConditionType::Progressing,
        ConditionType::CapacityAvailable,
        ConditionType::OrphansFound,
    ];

    fn status(&self) -> Option<&WorkerFleetStatus> {
        self.status.as_ref()
    }

    fn suspended(&self) -> bool {
        self.spec.suspend
    }

    async fn reconcile(ctx: &Context, live: &mut Live<Self>) -> Result<Outcome<WorkerFleetStatus>, Failure> {
        let owner = live_owner(ctx, live);
        let spec = live.object().spec.clone();
        let profile = spec.template.instance_profile.iter().cloned().map(Claim::InstanceProfile);
        let claims: Vec<_> = profile.chain(spec.parameters.as_ref().and_then(Parameters::claim)).collect();
        let session = session(ctx, live, &claims).await?;
        let memory = ctx.worker_fleets.of(live.uid());
        let mut memory = memory.lock().await;
        memory.revisions.check_cluster(ctx, live).await?;
        let ask = Ask { owner: &owner, parameters: spec.parameters.as_ref(), roles: vec![], act: !spec.suspend };
        let synced = parameters::sync(ctx, &session, live, &ask).await?;
        let desired = Desired::parse(&spec, owner.clone(), synced, |key| live.annotation(key).map(str::to_owned))
            .map_err(|invalid| Failure::InvalidSpec(invalid.to_string()))?;
        memory.revisions.ensure(ctx, live, &desired.revision, FIELD_MANAGER).await?;
        let adopted = live.status().adopted.into_iter().collect();
        let cpu = cpu::observe(ctx, &session, &owner, &adopted, desired.cpu).await;
        let mut look = Look { ctx, session: &session, live, memory: &mut memory, goal: Goal::Run(&desired), cpu };
        let found = look.rounds().await?;
        let named = look.named(&desired, &found);
        look.prune(named.as_ref()).await?;
        let in_use = named.and_then(|named| look.memory.revisions.parameters(&named));
        let mut outcome = look.outcome(&desired, &found);
        let leftover = parameters::tidy(ctx, &session, live, &ask, in_use.as_ref()).await?;
        // What it changed of the status is what stays of it.
        outcome.status.parameters = live.status().parameters;
        let mut synced = desired.parameters;
        synced.leftover = leftover;
        outcome.verdicts.extend(synced.verdict(&live.status().common.conditions));
        outcome.requeue = synced.requeue(&ctx.config.timings).map_or(outcome.requeue, |next| next.min(outcome.requeue));
        Ok(outcome)
    }

    async fn finalize(ctx: &Context, live: &mut Live<Self>) -> Result<Finalized<WorkerFleetStatus>, Failure> {
        let session = match session(ctx, live, &[]).await {
            Ok(session) => session,
            // The account is recorded with the first intent. So nothing was launched, unless the status was lost since
            // (etcd restored from a backup): then a look tells, and where there can be none, there never was one.
            Err(error) if live.status().aws.is_none() && !matches!(error, Failure::NotYet(_)) => {
                tracing::info!(error = %Chain(&error), "let go without a look: nothing was ever launched");
                return Ok(Finalized::Done);
            }
            Err(error) => return Err(error),
        };
        let memory = ctx.worker_fleets.of(live.uid());
        let mut memory = memory.lock().await;
        memory.revisions.check_cluster(ctx, live).await?;
        let policy = live.object().spec.deletion_policy;
        let mut look = Look { ctx, session: &session, live, memory: &mut memory, goal: Goal::End(policy), cpu: None };
        let found = look.rounds().await?;
        if has_ended(policy, &found.answer.observed, &found.ledger) {
            match policy {
                DeletionPolicy::Terminate => parameters::remove(ctx, &session, live, &live_owner(ctx, live)).await?,
                DeletionPolicy::Retain => {}
            }
            return Ok(Finalized::Done);
        }
        Ok(Finalized::Waiting(look.parting(&found)))
    }

    fn forget(ctx: &Context, uid: &Uid) {
        cpu::forget(ctx, uid);
        ctx.worker_fleets.forget(uid);
        ctx.parameters.forget(uid);
    }
}

async fn session(ctx: &Context, live: &Live<WorkerFleet>, claims: &[Claim]) -> Result<Session, Failure> {
    let status = live.status();
    let aws = &live.object().spec.aws;
    authorize(ctx, WorkerFleet::NAME, live.namespace(), aws, status.aws.as_ref(), claims).await
}

#[derive(Clone, Copy)]
enum Goal<'a> {
    Run(&'a Desired),
    End(DeletionPolicy),
}

impl<'a> Goal<'a> {
    fn places(self) -> Option<&'a Places> {
        match self {
            Goal::Run(desired) => Some(&desired.places),
            Goal::End(_) => None,
        }
    }

    fn revision(self) -> Option<&'a str> {
        match self {
            Goal::Run(desired) => Some(&desired.revision.name),
            Goal::End(_) => None,
        }
    }
}

/// One look at one fleet.
struct Look<'a> {
    ctx: &'a Context,
    session: &'a Session,
    live: &'a mut Live<WorkerFleet>,
    memory: &'a mut Memory,
    goal: Goal<'a>,
    cpu: Option<Cpu>,
}

/// What a look came to.
struct Found {
    answer: Answer,
    ledger: Ledger,
    hold: Option<Hold>,
    /// EC2's rate was used up: how long until there is more.
    wait: Option<Duration>,
    /// Whether the record changed.
    moved: bool,
}

impl Look<'_> {
    /// Plan, record and call, until there is nothing left to do now.
    async fn rounds(&mut self) -> Result<Found, Failure> {
        let started = self.ctx.clock.monotonic();
        let stored = ledger_of(&self.live.status());
        let mut ledger = stored.clone();
        let mut answer = self.observe(&ledger, self.not_before(started, &ledger)).await?;
        let mut plan = self.plan(&answer, &ledger);
        // What is shared may be older than the record that was read; whoever acts looks for himself.
        if !plan.actions.is_empty() && answer.begun < started {
            answer = self.observe(&ledger, started).await?;
            plan = self.plan(&answer, &ledger);
        }
        let mut wait = None;
        for _ in 0..MAX_ROUNDS {
            if plan.actions.is_empty() || wait.is_some() {
                break;
            }
            let hands = Hands { ctx: self.ctx, session: self.session, places: self.goal.places() };
            let applied = hands.apply(self.live, self.memory, &ledger, plan).await?;
            (ledger, wait) = (applied.ledger, applied.wait);
            let now = self.ctx.clock.monotonic();
            answer.observed.lessons = self.memory.lessons(self.goal.revision(), now, &self.ctx.config.timings);
            plan = self.plan(&answer, &ledger);
        }
        // A plan that was not carried out is not recorded either.
        let ledger = if plan.actions.is_empty() { plan.ledger } else { ledger };
        let moved = ledger != stored;
        Ok(Found { answer, moved, ledger, hold: plan.hold, wait })
    }

    /// While something is on its way a look must be recent, and when somebody asked for one it must be new. At rest, all
    /// fleets share one sweep a period.
    fn not_before(&self, started: Instant, ledger: &Ledger) -> Instant {
        let timings = &self.ctx.config.timings;
        let status = self.live.status();
        let asked = status.common.observed_generation != Some(self.live.generation())
            || self.live.is_look_requested()
            || self.live.is_being_deleted();
        let busy = ledger.is_open() || self.memory.idle_looks > 0;
        let age = match (asked, busy) {
            (true, _) => Duration::ZERO,
            (false, true) => timings.progress / 2,
            (false, false) => timings.sweep,
        };
        started.checked_sub(age).unwrap_or(started)
    }

    async fn observe(&mut self, ledger: &Ledger, not_before: Instant) -> Result<Answer, Failure> {
        let owner = live_owner(self.ctx, self.live);
        let (readiness, launch) = match self.goal {
            Goal::Run(desired) => (desired.readiness, Some((&desired.places, desired.replicas))),
            Goal::End(_) => (ReadinessCheck::Running, None),
        };
        let question = Question { owner: &owner, readiness, launch, revision: self.goal.revision(), not_before };
        let mut answer = observe(self.ctx, self.session, self.live, ledger, self.memory, question).await?;
        answer.observed.cpu = self.cpu.as_ref().map(|cpu| cpu.samples.clone()).unwrap_or_default();
        Ok(answer)
    }

    fn plan(&self, answer: &Answer, ledger: &Ledger) -> Plan {
        let mut nonce = rand::random::<u64>;
        let mut pass = Pass { now: self.ctx.clock.now(), holder: &self.ctx.holder, nonce: &mut nonce };
        match self.goal {
            Goal::Run(desired) => plan(desired, &answer.observed, ledger, &mut pass),
            Goal::End(policy) => plan_end(policy, &answer.observed, ledger, &mut pass),
        }
    }

    /// A revision stays while a launch or a live machine names it.
    async fn prune(&mut self, named: Option<&BTreeSet<String>>) -> Result<(), Failure> {
        let Some(named) = named else { return Ok(()) };
        let limit = usize::try_from(self.live.object().spec.revision_history_limit).unwrap_or_default();
        self.memory.revisions.prune(self.ctx, self.live, named, limit).await
    }

    /// The revisions in use. `None` when nobody can say.
    fn named(&self, desired: &Desired, found: &Found) -> Option<BTreeSet<String>> {
        let machines = found.answer.observed.roster.machines.values();
        let mut named: BTreeSet<String> = machines.filter_map(|m| m.instance.tags.get(REVISION_TAG).cloned()).collect();
        named.extend(found.ledger.revisions());
        named.insert(desired.revision.name.clone());
        // Nobody can say which revision the unseen name.
        found.answer.observed.roster.unseen.is_empty().then_some(named)
    }

    fn outcome(&mut self, desired: &Desired, found: &Found) -> Outcome<WorkerFleetStatus> {
        let view = View {
            desired,
            observed: &found.answer.observed,
            ledger: &found.ledger,
            hold: found.hold.as_ref(),
            undying: &self.memory.undying,
        };
        let before = self.live.status();
        let status = cpu::tell(self.cpu.as_ref(), &before, view.status(before.clone()));
        let status = with_ledger(status, self.session, found.ledger.clone());
        let (mut verdicts, settled) = (view.verdicts(), view.is_settled());
        verdicts.extend(self.cpu.as_ref().and_then(Cpu::verdict));
        self.memory.idle_looks = match (settled || desired.suspended, found.moved) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => self.memory.idle_looks.saturating_add(1),
        };
        Outcome { status, verdicts, requeue: self.requeue(found) }
    }

    fn requeue(&self, found: &Found) -> Duration {
        let timings = &self.ctx.config.timings;
        let now = self.ctx.clock.monotonic();
        let next = match self.memory.idle_looks {
            0 => {
                let expires = (found.answer.begun + timings.sweep).saturating_duration_since(now);
                // A little after the shared look is too old, and not all at once.
                expires + (self.live.spread(timings.sweep).saturating_sub(timings.sweep.mul_f64(0.9))) / 2
            }
            looks => timings.progress.saturating_mul(1 << (looks - 1).saturating_sub(4).min(8)).min(timings.sweep),
        };
        let held = self.memory.next_change(now).map(|time| time + timings.progress / 50);
        [Some(next), held, found.wait].into_iter().flatten().min().unwrap_or(timings.sweep).max(timings.progress / 50)
    }

    /// What a fleet that is being deleted tells.
    fn parting(&self, found: &Found) -> Outcome<WorkerFleetStatus> {
        let victims = found.ledger.victims().len();
        let launches = found.ledger.launches.len();
        let (condition, reason, message) = match self.memory.undying.iter().next() {
            Some((id, error)) => {
                let message = format!("{id} is not ended: {error}{}", escape());
                (ConditionType::Stalled, Reason::DeletionBlocked, message)
            }
            None => {
                let message = format!("{victims} workers are ending, {launches} launches are being settled");
                (ConditionType::Reconciling, Reason::Deleting, message)
            }
        };
        let verdicts = vec![
            Verdict::new(ConditionType::Ready, false, reason, message.clone()),
            Verdict::new(condition, true, reason, message),
        ];
        let status = with_ledger(self.live.status(), self.session, found.ledger.clone());
        let wait = found.wait.unwrap_or_default();
        Outcome { status, verdicts, requeue: self.ctx.config.timings.progress.max(wait) }
    }
}
