//! Applies a plan: permits, the record, then the calls. The result of each call goes into the memory and the ledger.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};

use crate::{
    aws::{
        Bucket, Class, Error, NotNow, Permit, Session,
        ec2::{Ec2, launch_request::LaunchRequest},
    },
    clock::Timings,
    condition::Reason,
    crd::launches::LaunchIntent,
    ids::{ClientToken, InstanceId},
    reconcile::Failure,
    workers::{
        kind::{Pass, WorkerKind, not_stored},
        launch_spec::granted,
        ledger::{Ledger, Settlement},
        memory::Memory,
        observe::instances::ObservedInstances,
        plan::{
            Action, Plan,
            pools::{Places, Pool},
        },
    },
    write_ahead::Acknowledged,
};

/// How many calls of one object are made at once.
const SIDE_BY_SIDE: usize = 8;

impl<K: WorkerKind> Pass<'_, K> {
    /// Records the intents of `plan`, then sends its calls. `ledger` and `instances` are what the plan was made from, and
    /// `places` where the roles may be launched. Returns the record after the calls, whose changes are not stored yet,
    /// and how long until another call may be sent.
    pub(super) async fn apply(
        &mut self,
        places: &[&Places],
        instances: &ObservedInstances,
        ledger: &Ledger,
        plan: Plan,
    ) -> Result<(Ledger, Option<Duration>), Failure> {
        self.check_granted(&plan).await?;
        let (plan, _permits, mut wait) = self.admit(plan, ledger);
        let Pass { ctx, session, owner: _, live, memory } = self;
        let memory: &mut Memory = memory.as_mut();
        let status = K::with_ledger(live.status(), session, instances, plan.ledger.clone());
        let recorded = K::ledger(&status);
        let answer = live.record(&ctx.cluster, status).await?;
        memory.follow(&plan.ledger, ctx.clock.monotonic());
        memory.missing.recorded(&plan.ledger);
        let mut launches = Vec::new();
        let mut victims = Vec::new();
        // A process that starts while EC2 hides instances relies on the recorded counts.
        let is_kept = K::ledger(answer.status()) == recorded;
        let mut is_whole = true;
        for action in plan.actions {
            match action {
                Action::Launch(intent) => {
                    let request = memory.revisions.find(ctx, live, &intent.revision).await?;
                    let token = intent.token.clone();
                    let recorded = answer.confirm(intent, |s| s.as_ref().launches.iter().find(|i| i.token == token));
                    match recorded.filter(|_| is_kept) {
                        Some(intent) => launches.push((intent, request)),
                        None => {
                            // Only a part is on record, and a repeated call would be another request.
                            memory.cannot_be_repeated(&token);
                            is_whole = false;
                        }
                    }
                }
                Action::Terminate(ids) => {
                    let recorded = plan.ledger.terminations.clone();
                    let recorded = answer.confirm(recorded, |s| Some(&s.as_ref().terminations));
                    is_whole &= recorded.is_some();
                    victims.extend(recorded.map(|recorded| (recorded, ids)));
                }
            }
        }
        if !is_whole {
            // The stored part is withdrawn. If another write comes first, the launch stays on record until a search.
            let status = K::with_ledger(live.status(), session, instances, ledger.clone());
            live.record(&ctx.cluster, status).await?;
            return Err(not_stored::<K>());
        }
        let mut ledger = plan.ledger;
        // Terminations go first, so that an update never exceeds its surge.
        for (recorded, ids) in victims {
            if let Ok(budget) = recorded.sendable(ctx.clock.monotonic(), &ctx.leadership, &ctx.config.timings) {
                let outcomes = Ec2::new(session).terminate_instances(&recorded, &ids, budget).await;
                learn_of_terminations(memory, outcomes, ctx.clock.monotonic());
            }
        }
        let (settlements, all_sent) = self.launch(places, launches).await;
        ledger.settle(&settlements);
        if !all_sent {
            // The lease is about to end, or everything is slow: do not record again at once.
            wait = wait.max(Some(self.ctx.config.timings.progress));
        }
        Ok((ledger, wait))
    }

    /// Checks what the new launches send. Launches that are repeated were checked when they were observed.
    async fn check_granted(&mut self, plan: &Plan) -> Result<(), Failure> {
        let Pass { ctx, session, owner, live, memory } = self;
        let memory: &mut Memory = memory.as_mut();
        let permits = ctx.accounts.permits(live, &live.object().workers_spec().aws.account_ref.name)?;
        for action in &plan.actions {
            let Action::Launch(intent) = action else { continue };
            let request = memory.revisions.find(ctx, live, &intent.revision).await?;
            let Some(request) = request.filter(|_| intent.attempts == 1) else { continue };
            granted::check(ctx, (session, owner), &permits, intent, &request).await?.map_err(|ungranted| {
                // Whoever may write ControllerRevisions may want an administrator to add what it names to a grant.
                let name = &intent.revision;
                let message = format!(
                    "the ControllerRevision {name} cannot be used: {ungranted}. If the template does not name this, \
                     somebody changed the revision: add nothing, and delete it (kubectl delete controllerrevision {name})"
                );
                Failure::Refused { reason: Reason::NotGranted, message }
            })?;
        }
        Ok(())
    }

    /// Takes permits before anything is recorded, so that nothing waits between the record and the call. An action
    /// without a permit is dropped from the plan.
    fn admit(&self, plan: Plan, before: &Ledger) -> (Plan, Vec<Permit>, Option<Duration>) {
        let Plan { mut ledger, mut actions, blockers } = plan;
        let (mut permits, mut wait) = (Vec::new(), None);
        actions.retain(|action| match self.permits(action) {
            Ok(taken) => {
                permits.extend(taken);
                true
            }
            Err(NotNow(time)) => {
                wait = wait.max(Some(time));
                if let Action::Launch(intent) = action {
                    restore(&mut ledger, before, &intent.token);
                }
                false
            }
        });
        (Plan { ledger, actions, blockers }, permits, wait)
    }

    fn permits(&self, action: &Action) -> Result<Vec<Permit>, NotNow> {
        let Session { account, region, limits, .. } = self.session;
        let take = |bucket, amount| limits.take(account, region, bucket, amount);
        match action {
            Action::Launch(intent) => {
                Ok(vec![take(Bucket::RunInstancesRequests, 1)?, take(Bucket::RunInstancesResources, intent.count)?])
            }
            Action::Terminate(_) => Ok(vec![take(Bucket::TerminateInstances, 1)?]),
        }
    }

    /// The result of each launch, and whether all were sent.
    async fn launch(
        &mut self,
        places: &[&Places],
        launches: Vec<(Acknowledged<LaunchIntent>, Option<Arc<LaunchRequest>>)>,
    ) -> (BTreeMap<ClientToken, Settlement>, bool) {
        let (ctx, ec2) = (self.ctx, Ec2::new(self.session));
        let timings = &ctx.config.timings;
        let sent = stream::iter(launches)
            .map(|(intent, request)| {
                let ec2 = ec2.clone();
                async move {
                    let budget = intent.sendable(ctx.clock.monotonic(), &ctx.leadership, timings);
                    let answer = match (request, budget) {
                        (Some(request), Ok(budget)) => Some(ec2.run_instances(&intent, &request, budget).await),
                        (None, _) | (_, Err(_)) => None,
                    };
                    (intent, answer)
                }
            })
            .buffer_unordered(SIDE_BY_SIDE)
            .collect::<Vec<_>>()
            .await;
        let all_sent = sent.iter().all(|(_, answer)| answer.is_some());
        let settled = sent.into_iter().map(|(intent, answer)| {
            let intent = intent.intent();
            let (memory, now) = (self.memory.as_mut(), ctx.clock.monotonic());
            (intent.token.clone(), learn_of_launch(memory, intent, answer, places, now, timings))
        });
        (settled.collect(), all_sent)
    }
}

fn learn_of_terminations(memory: &mut Memory, outcomes: Vec<(InstanceId, Result<(), Error>)>, now: Instant) {
    for (id, outcome) in outcomes {
        let Err(error) = outcome else {
            memory.termination_failed.remove(&id);
            memory.asked(&id, now);
            continue;
        };
        // It is repeated: of a thousand at once, most wait for the rate limit.
        if error.class == Class::Throttled {
            continue;
        }
        tracing::info!(instance = %id, %error, "an instance was not terminated");
        match error.class {
            Class::Denied | Class::InvalidInput | Class::NoCapacity | Class::Conflict => {
                memory.asked(&id, now);
                memory.termination_failed.insert(id, error);
            }
            // It is gone, which the next sweep proves.
            Class::NotFound => memory.asked(&id, now),
            Class::Throttled | Class::Transient => {}
        }
    }
}

/// Evaluates a launch. `None` is a call that was not made.
pub fn learn_of_launch(
    memory: &mut Memory,
    intent: &LaunchIntent,
    answer: Option<Result<Vec<InstanceId>, Error>>,
    places: &[&Places],
    now: Instant,
    timings: &Timings,
) -> Settlement {
    let first = intent.attempts == 1;
    let pool = Pool { subnet: intent.subnet.clone(), instance_type: intent.instance_type.clone() };
    let error = match answer {
        Some(Ok(ids)) => {
            memory.launched(&intent.revision, &pool);
            return Settlement::Launched(ids);
        }
        None if first => return Settlement::NothingLaunched,
        None => return Settlement::Unknown,
        Some(Err(error)) => error,
    };
    tracing::info!(token = %intent.token, subnet = %intent.subnet, instance_type = %intent.instance_type,
        count = intent.count, attempts = intent.attempts, %error, "a launch was refused or not answered");
    match error.class {
        Class::NoCapacity => memory.mark_unavailable(&pool, places, &error, now + timings.capacity_cooldown),
        Class::NotFound | Class::Denied | Class::InvalidInput => {
            memory.refused(&intent.revision, &error, now, timings);
        }
        Class::Throttled => {
            memory.refused(&intent.revision, &error, now, timings);
            memory.not_before(&intent.token, now + timings.progress);
        }
        Class::Conflict => {
            // The token was used. Only a search can show for what.
            memory.cannot_be_repeated(&intent.token);
            return Settlement::Unknown;
        }
        Class::Transient => {
            memory.unanswered(&intent.token, now, now + timings.progress);
            return Settlement::Unknown;
        }
    }
    if first {
        return Settlement::NothingLaunched;
    }
    // A refusal of a repeated call holds for this call, and an earlier one may have launched. So search after the wait,
    // unless EC2 throttled: it does so before it reads the token, and the call can be repeated.
    if error.class != Class::Throttled {
        memory.cannot_be_repeated(&intent.token);
    }
    Settlement::Unknown
}

/// Restores a launch without a permit to its state in `before`.
pub fn restore(ledger: &mut Ledger, before: &Ledger, token: &ClientToken) {
    let Some(at) = ledger.launches.iter().position(|intent| &intent.token == token) else { return };
    match before.launch(token) {
        Some(original) => ledger.launches[at] = original.clone(),
        None => {
            let intent = ledger.launches.remove(at);
            ledger.count_launched(&intent, 0);
        }
    }
}
