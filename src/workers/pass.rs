//! One pass over an object that runs workers: observe, then rounds of plan, record and calls.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::{
    reconcile::{Failure, context::Demand},
    workers::{
        kind::{Pass, PassResult, Scope, WorkerKind},
        ledger::Ledger,
        observe::{observe, observed::Observed},
        plan::{Plan, PlanContext},
    },
};

/// How many rounds of plan and calls a pass makes: enough to try the next pool at once, and no reconcile is endless.
const MAX_ROUNDS: usize = 10;

impl<K: WorkerKind> Pass<'_, K> {
    /// Plans, records and calls until there is nothing left to do now.
    pub async fn rounds(
        &mut self,
        scope: Scope<'_>,
        mut plan: impl FnMut(
            (&Observed, &K::Observation, &Ledger),
            &mut K::Memory,
            &mut PlanContext<'_>,
        ) -> (Plan, Option<K::Assessment>),
    ) -> Result<PassResult<K>, Failure> {
        let started = self.ctx.clock.monotonic();
        let stored = K::ledger(&self.live.status());
        let mut ledger = stored.clone();
        let mut next = |pass: &mut Self, observed: &Observed, observation: &K::Observation, ledger: &Ledger| {
            let mut nonce = rand::random::<u64>;
            let mut context = PlanContext { now: pass.ctx.clock.now(), holder: &pass.ctx.holder, nonce: &mut nonce };
            plan((observed, observation, ledger), pass.memory, &mut context)
        };
        let not_before = self.not_before(started, &ledger);
        let (mut observed, mut begun, mut observation) = self.observe(scope, &ledger, not_before).await?;
        let (mut todo, mut assessment) = next(self, &observed, &observation, &ledger);
        // The shared sweep may be older than the record that was read, so before an action it is repeated.
        if !todo.actions.is_empty() && begun < started {
            (observed, begun, observation) = self.observe(scope, &ledger, started).await?;
            (todo, assessment) = next(self, &observed, &observation, &ledger);
        }
        let mut wait = None;
        for _ in 0..MAX_ROUNDS {
            if todo.actions.is_empty() || wait.is_some() {
                break;
            }
            (ledger, wait) = self.apply(scope.places, &observed.instances, &ledger, todo).await?;
            let now = self.ctx.clock.monotonic();
            observed.feedback = self.memory.as_mut().feedback(scope.revisions, now, &self.ctx.config.timings);
            (todo, assessment) = next(self, &observed, &observation, &ledger);
        }
        // A plan that was not applied is not recorded either.
        let ledger = if todo.actions.is_empty() { todo.ledger } else { ledger };
        let moved = ledger != stored;
        self.memory.as_mut().missing.recorded(&ledger);
        Ok(PassResult { observed, begun, observation, assessment, moved, ledger, blockers: todo.blockers, wait })
    }

    /// While something is pending the sweep must be recent, and after a change or a request it must be new. At rest,
    /// all objects share one sweep per period.
    fn not_before(&mut self, started: Instant, ledger: &Ledger) -> Instant {
        let timings = &self.ctx.config.timings;
        let busy = ledger.is_open() || self.memory.as_mut().idle_passes > 0;
        let age = match (self.ctx.demand(self.live), busy) {
            (Demand::Now, _) => Duration::ZERO,
            (Demand::Soon | Demand::None, true) => timings.progress / 2,
            (Demand::Soon, false) => timings.progress,
            (Demand::None, false) => timings.sweep,
        };
        started.checked_sub(age).unwrap_or(started)
    }

    async fn observe(
        &mut self,
        scope: Scope<'_>,
        ledger: &Ledger,
        not_before: Instant,
    ) -> Result<(Observed, Instant, K::Observation), Failure> {
        let (observed, begun) = observe(self, scope, ledger, not_before).await?;
        let instances = observed.instances.shown.values();
        let named: BTreeSet<_> = instances.map(|worker| worker.known.revision.clone()).collect();
        for name in named.iter().filter(|name| !name.is_empty()) {
            self.memory.as_mut().revisions.learn(self.ctx, self.live, name).await?;
        }
        let instances = &observed.instances;
        let observation = K::observe(self.ctx, self.session, self.live, ledger, instances, self.memory).await?;
        Ok((observed, begun, observation))
    }

    /// Deletes revisions that are not in use, except the `limit` newest. Returns the hashes of the parameters of the
    /// revisions in use; `None` if not all are known.
    pub async fn prune(
        &mut self,
        found: &PassResult<K>,
        wanted: &BTreeSet<String>,
        limit: usize,
    ) -> Result<Option<BTreeSet<String>>, Failure> {
        let Some(named) = self.named(found, wanted) else { return Ok(None) };
        let revisions = &mut self.memory.as_mut().revisions;
        revisions.prune(self.ctx, self.live, &named, limit).await?;
        Ok(revisions.parameters(&named))
    }

    /// The revisions in use: `wanted` ones and those of launches and live instances. `None` if not all are known.
    fn named(&self, found: &PassResult<K>, wanted: &BTreeSet<String>) -> Option<BTreeSet<String>> {
        let instances = &found.observed.instances;
        if !instances.unlisted.is_empty() || K::hidden(&found.observation) > 0 {
            return None;
        }
        // An adopted instance has no revision until the template resolves.
        let adopted = found.ledger.adopted();
        let shown = instances.shown.values().filter(|worker| !adopted.contains(&worker.instance.id));
        let mut named: BTreeSet<String> = shown.map(|worker| worker.known.revision.clone()).collect();
        named.extend(found.ledger.revisions());
        // A process that starts now still reads launches whose removal is not stored yet.
        named.extend(K::ledger(&self.live.status()).revisions());
        named.extend(wanted.iter().cloned());
        named.extend(instances.missing.values().map(|known| known.revision.clone()));
        // An empty name means that a revision is unknown.
        (!named.contains("")).then_some(named)
    }

    /// Remembers whether something is pending, which decides how soon the next reconcile is.
    pub fn rest(&mut self, settled: bool, moved: bool) {
        let memory = self.memory.as_mut();
        memory.idle_passes = match (settled, moved) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => memory.idle_passes.saturating_add(1),
        };
    }

    /// When to reconcile again.
    pub fn requeue(&mut self, found: &PassResult<K>) -> Duration {
        let timings = &self.ctx.config.timings;
        let now = self.ctx.clock.monotonic();
        let memory = self.memory.as_mut();
        let next = match memory.idle_passes {
            0 => {
                let expires = (found.begun + timings.sweep).saturating_duration_since(now);
                // A little after the shared sweep has expired, and not all objects at once.
                expires + (self.live.spread(timings.sweep).saturating_sub(timings.sweep.mul_f64(0.9))) / 2
            }
            passes => timings.progress.saturating_mul(1 << (passes - 1).saturating_sub(4).min(8)).min(timings.sweep),
        };
        let unblocked = memory.next_change(now).map(|time| time + timings.progress / 50);
        let times = [unblocked, found.wait].into_iter().flatten();
        times.fold(next, Duration::min).max(timings.progress / 50)
    }
}
