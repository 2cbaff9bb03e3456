//! Carries a plan out: permits, the record, then the calls. What each call came to goes into the memory and the ledger.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};

use crate::{
    aws::{Bucket, Class, Error, NotNow, Permit, Session, ec2::Ec2},
    clock::Timings,
    condition::Reason,
    context::Context,
    ids::{ClientToken, InstanceId},
    live::Live,
    reconcile::Failure,
    workers::{
        draft::{Action, Plan},
        launch::LaunchIntent,
        ledger::{Ledger, Settlement},
        look::WorkerKind,
        memory::Memory,
        pools::{Places, Pool},
        revision::RevisionContent,
        roster::Roster,
    },
    write_ahead::Acknowledged,
};

/// So many calls of one object are under way at once.
const SIDE_BY_SIDE: usize = 8;

/// What became of a plan.
#[derive(Debug)]
pub struct Applied {
    /// The record as it is after the calls; what they changed is not stored yet.
    pub ledger: Ledger,
    /// Nothing more can be sent for so long.
    pub wait: Option<Duration>,
}

#[derive(Debug)]
pub struct Hands<'a> {
    pub ctx: &'a Context,
    pub session: &'a Session,
    /// What the plan was made from.
    pub roster: &'a Roster,
    /// Where the groups may be launched.
    pub places: &'a [&'a Places],
}

impl Hands<'_> {
    /// Records what `plan` is about to do and does it. `ledger` is the record that the plan was made from.
    pub async fn apply<K: WorkerKind>(
        &self,
        live: &mut Live<K>,
        memory: &mut Memory,
        ledger: &Ledger,
        plan: Plan,
    ) -> Result<Applied, Failure> {
        let (plan, _permits, mut wait) = self.admit(plan, ledger);
        let status = K::with_ledger(live.status(), self.session, self.roster, plan.ledger.clone());
        let recorded = K::ledger(&status);
        let answer = live.record(self.ctx, status).await?;
        memory.follow(&plan.ledger, self.ctx.clock.monotonic());
        memory.belief.recorded(&plan.ledger);
        let mut launches = Vec::new();
        let mut victims = Vec::new();
        // How many there are is what a process goes by that starts while EC2 hides some.
        let is_kept = K::ledger(answer.status()) == recorded;
        let mut is_whole = true;
        for action in plan.actions {
            match action {
                Action::Launch(intent) => {
                    let content = memory.revisions.find(self.ctx, live, &intent.revision).await?;
                    let token = intent.token.clone();
                    let recorded = answer.confirm(intent, |s| s.as_ref().launches.iter().find(|i| i.token == token));
                    match recorded.filter(|_| is_kept) {
                        Some(intent) => launches.push((intent, content)),
                        None => {
                            // Only a part is on record. Of this intent, that would be another request.
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
            // What was kept of it is taken back. If this write is overtaken, it waits on record for a search.
            let status = K::with_ledger(live.status(), self.session, self.roster, ledger.clone());
            live.record(self.ctx, status).await?;
            return Err(pruned::<K>());
        }
        let mut ledger = plan.ledger;
        // Who ends makes room first, so that an update has at no moment more machines than it may.
        for (recorded, ids) in victims {
            let now = self.ctx.clock.monotonic();
            if let Ok(budget) = recorded.sendable(now, &self.ctx.leadership, &self.ctx.config.timings) {
                let outcomes = Ec2::new(self.session).terminate_instances(&recorded, &ids, budget).await;
                self.learn_of_terminations(memory, outcomes);
            }
        }
        let (settlements, all_sent) = self.launch(memory, launches).await;
        ledger.settle(&settlements);
        if !all_sent {
            // The lease is about to end, or everything is slow. To record and not send again and again helps nobody.
            wait = wait.max(Some(self.ctx.config.timings.progress));
        }
        Ok(Applied { ledger, wait })
    }

    /// Takes permits before anything is recorded, so that nothing waits between the record and the call. What there is no
    /// permit for is left as it was.
    fn admit(&self, plan: Plan, before: &Ledger) -> (Plan, Vec<Permit>, Option<Duration>) {
        let Plan { mut ledger, actions, holds } = plan;
        let mut permits = Vec::new();
        let mut wait: Option<Duration> = None;
        let mut admitted = Vec::new();
        for action in actions {
            match self.permits(&action) {
                Ok(taken) => {
                    permits.extend(taken);
                    admitted.push(action);
                }
                Err(NotNow(time)) => {
                    wait = Some(wait.map_or(time, |wait| wait.max(time)));
                    if let Action::Launch(intent) = action {
                        restore(&mut ledger, before, &intent.token);
                    }
                }
            }
        }
        (Plan { ledger, actions: admitted, holds }, permits, wait)
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

    /// What each launch came to, and whether all were sent.
    async fn launch(
        &self,
        memory: &mut Memory,
        launches: Vec<(Acknowledged<LaunchIntent>, Option<Arc<RevisionContent>>)>,
    ) -> (BTreeMap<ClientToken, Settlement>, bool) {
        let ec2 = Ec2::new(self.session);
        let sent = stream::iter(launches)
            .map(|(intent, content)| {
                let ec2 = ec2.clone();
                async move {
                    let now = self.ctx.clock.monotonic();
                    let budget = intent.sendable(now, &self.ctx.leadership, &self.ctx.config.timings);
                    let answer = match (content, budget) {
                        (Some(content), Ok(budget)) => Some(ec2.run_instances(&intent, &content.request, budget).await),
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
            let now = self.ctx.clock.monotonic();
            let timings = &self.ctx.config.timings;
            (intent.token.clone(), learn_of_launch(memory, intent, answer, self.places, now, timings))
        });
        (settled.collect(), all_sent)
    }

    fn learn_of_terminations(&self, memory: &mut Memory, outcomes: Vec<(InstanceId, Result<(), Error>)>) {
        let now = self.ctx.clock.monotonic();
        for (id, outcome) in outcomes {
            match outcome {
                Ok(()) => {
                    memory.undying.remove(&id);
                    memory.asked(&id, now);
                }
                // It is asked for again; of a thousand at once, most wait for the rate.
                Err(error) if error.class == Class::Throttled => {}
                Err(error) => {
                    tracing::info!(instance = %id, %error, "an instance was not ended");
                    match error.class {
                        Class::Denied | Class::InvalidInput | Class::NoCapacity | Class::Conflict => {
                            memory.undying.insert(id.clone(), error);
                            memory.asked(&id, now);
                        }
                        // It is gone, which the next look proves.
                        Class::NotFound => memory.asked(&id, now),
                        Class::Throttled | Class::Transient => {}
                    }
                }
            }
        }
    }
}

/// What a call came to. `None` is a call that was not made.
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
    let definite = match error.class {
        Class::NoCapacity => {
            memory.cool(&pool, places, &error, now + timings.capacity_cooldown);
            true
        }
        Class::NotFound | Class::Denied | Class::InvalidInput => {
            memory.refused(&intent.revision, &error, now, timings);
            true
        }
        Class::Throttled => {
            memory.refused(&intent.revision, &error, now, timings);
            memory.not_before(&intent.token, now + timings.progress);
            // Said before EC2 looks at the token, so of an earlier call it tells nothing.
            return if first { Settlement::NothingLaunched } else { Settlement::Unknown };
        }
        Class::Conflict => {
            // The token was used. Only a search tells for what.
            memory.cannot_be_repeated(&intent.token);
            false
        }
        Class::Transient => {
            memory.unanswered(&intent.token, now, now + timings.progress);
            false
        }
    };
    match (definite, first) {
        (true, true) => Settlement::NothingLaunched,
        // A refusal of a repeated call speaks of this call, and the first may have launched. So search, after the wait.
        (true, false) => {
            memory.cannot_be_repeated(&intent.token);
            Settlement::Unknown
        }
        (false, _) => Settlement::Unknown,
    }
}

/// Puts one launch for which there was no permit back to what it was.
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

fn pruned<K: WorkerKind>() -> Failure {
    Failure::Refused {
        reason: Reason::InvalidSpec,
        message: format!(
            "the API server did not keep what was recorded before a call, so no call was made: the CRD of {} is of \
             another version than this controller; apply the CRDs that belong to it",
            K::NAME
        ),
    }
}
