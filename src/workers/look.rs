//! One look at an object that runs workers: observe, then rounds of plan, record and calls.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use k8s_openapi::NamespaceResourceScope;

use crate::{
    aws::Session,
    context::Context,
    fields::CommonStatus,
    ids::{InstanceId, Role},
    live::Live,
    reconcile::{Failure, Kind},
    workers::{
        apply::Hands,
        draft::{Hold, Observed, Pass, Plan},
        ledger::Ledger,
        memory::Memory,
        observe::{Answer, Question, live_owner, observe},
        ownership::REVISION_TAG,
        pools::Places,
        roster::{Known, Roster},
        share::Share,
        status::WorkersStatus,
    },
};

/// A look makes at most so many rounds of plan and calls, so that the next pool can be tried at once and no look is
/// endless.
const MAX_ROUNDS: usize = 10;

/// A kind that runs workers: where its status holds what safety rests on.
pub trait WorkerKind:
    Kind<Status: AsRef<WorkersStatus> + AsMut<WorkersStatus>> + kube::Resource<Scope = NamespaceResourceScope>
{
    /// What it sees beside its machines.
    type Sight: Send + Sync + std::fmt::Debug;

    /// The tag that holds the owner's namespace and name.
    const OWNER_TAG: &'static str;

    /// The record that `status` holds.
    fn ledger(status: &Self::Status) -> Ledger;

    /// `status` with `ledger` as its record, and the account of `session` as the one that it is about. Workers that
    /// `roster` says are over are in no record any more.
    fn with_ledger(status: Self::Status, session: &Session, roster: &Roster, ledger: Ledger) -> Self::Status;

    /// The workers that `status` lists one by one.
    fn listed(status: &Self::Status) -> BTreeMap<InstanceId, Known>;

    /// Looks at what this kind needs beside its machines, after those were looked at.
    fn see(
        ctx: &Context,
        session: &Session,
        live: &Live<Self>,
        ledger: &Ledger,
        roster: &Roster,
    ) -> impl Future<Output = Result<Self::Sight, Failure>> + Send;

    /// `status` of an object that is being deleted, with the workers that are left.
    fn parting(status: Self::Status, roster: &Roster) -> Self::Status;

    /// How many workers there may be that the roster does not know of.
    fn hidden(_: &Self::Sight) -> u32 {
        0
    }
}

/// What is looked for and what may be launched.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    pub status_checks: bool,
    pub places: &'a [&'a Places],
    pub revisions: &'a BTreeSet<String>,
    /// How many machines may be missing at once, to be given up after the grace.
    pub may_vanish: Share,
}

/// Of an object that does not say.
pub const MAY_VANISH: Share = Share::Percent(20);
/// Of one that is being deleted: nobody looks after what is given up too early.
pub const NONE_MAY_VANISH: Share = Share::Number(0);

/// What a look came to.
#[derive(Debug)]
pub struct Found<S> {
    pub answer: Answer,
    pub sight: S,
    pub ledger: Ledger,
    pub holds: BTreeMap<Role, Hold>,
    /// EC2's rate was used up: how long until there is more.
    pub wait: Option<Duration>,
    /// Whether the record changed.
    pub moved: bool,
}

#[derive(Debug)]
pub struct Look<'a, K: WorkerKind> {
    pub ctx: &'a Context,
    pub session: &'a Session,
    pub live: &'a mut Live<K>,
    pub memory: &'a mut Memory,
}

impl<K: WorkerKind> Look<'_, K> {
    /// Plan, record and call, until there is nothing left to do now.
    pub async fn rounds(
        &mut self,
        scope: Scope<'_>,
        mut plan: impl FnMut(&Observed, &K::Sight, &Ledger, &mut Memory, &mut Pass<'_>) -> Plan,
    ) -> Result<Found<K::Sight>, Failure> {
        let started = self.ctx.clock.monotonic();
        let stored = K::ledger(&self.live.status());
        let mut ledger = stored.clone();
        let (mut answer, mut sight) = self.observe(scope, &ledger, self.not_before(started, &ledger)).await?;
        let mut next = self.pass(|memory, pass| plan(&answer.observed, &sight, &ledger, memory, pass));
        // What is shared may be older than the record that was read; whoever acts looks for himself.
        if !next.actions.is_empty() && answer.begun < started {
            (answer, sight) = self.observe(scope, &ledger, started).await?;
            next = self.pass(|memory, pass| plan(&answer.observed, &sight, &ledger, memory, pass));
        }
        let mut wait = None;
        for _ in 0..MAX_ROUNDS {
            if next.actions.is_empty() || wait.is_some() {
                break;
            }
            let hands =
                Hands { ctx: self.ctx, session: self.session, roster: &answer.observed.roster, places: scope.places };
            let applied = hands.apply(self.live, self.memory, &ledger, next).await?;
            (ledger, wait) = (applied.ledger, applied.wait);
            let now = self.ctx.clock.monotonic();
            answer.observed.lessons = self.memory.lessons(scope.revisions, now, &self.ctx.config.timings);
            next = self.pass(|memory, pass| plan(&answer.observed, &sight, &ledger, memory, pass));
        }
        // A plan that was not carried out is not recorded either.
        let ledger = if next.actions.is_empty() { next.ledger } else { ledger };
        let moved = ledger != stored;
        self.memory.belief.recorded(&ledger);
        Ok(Found { answer, sight, moved, ledger, holds: next.holds, wait })
    }

    fn pass(&mut self, plan: impl FnOnce(&mut Memory, &mut Pass<'_>) -> Plan) -> Plan {
        let mut nonce = rand::random::<u64>;
        let mut pass = Pass { now: self.ctx.clock.now(), holder: &self.ctx.holder, nonce: &mut nonce };
        plan(self.memory, &mut pass)
    }

    /// While something is on its way a look must be recent, and when somebody asked for one it must be new. At rest, all
    /// objects share one sweep a period.
    fn not_before(&self, started: Instant, ledger: &Ledger) -> Instant {
        let timings = &self.ctx.config.timings;
        let observed = AsMut::<CommonStatus>::as_mut(&mut self.live.status()).observed_generation;
        let asked =
            observed != Some(self.live.generation()) || self.live.is_look_requested() || self.live.is_being_deleted();
        let busy = ledger.is_open() || self.memory.idle_looks > 0;
        let age = match (asked, busy) {
            (true, _) => Duration::ZERO,
            (false, true) => timings.progress / 2,
            (false, false) => timings.sweep,
        };
        started.checked_sub(age).unwrap_or(started)
    }

    async fn observe(
        &mut self,
        scope: Scope<'_>,
        ledger: &Ledger,
        not_before: Instant,
    ) -> Result<(Answer, K::Sight), Failure> {
        let owner = live_owner(self.ctx, self.live);
        let Scope { status_checks, places, revisions, may_vanish } = scope;
        let question = Question { owner: &owner, status_checks, places, revisions, may_vanish, not_before };
        let answer = observe(self.ctx, self.session, self.live, ledger, self.memory, question).await?;
        let machines = answer.observed.roster.machines.values();
        let named: BTreeSet<_> = machines.map(|machine| machine.instance.revision().to_owned()).collect();
        for name in named.iter().filter(|name| !name.is_empty()) {
            self.memory.revisions.learn(self.ctx, self.live, name).await?;
        }
        let sight = K::see(self.ctx, self.session, self.live, ledger, &answer.observed.roster).await?;
        Ok((answer, sight))
    }

    /// The revisions in use: those `wanted`, and those that a launch or a live machine names. `None` when nobody can say.
    pub fn named(&self, found: &Found<K::Sight>, wanted: &BTreeSet<String>) -> Option<BTreeSet<String>> {
        let roster = &found.answer.observed.roster;
        if !roster.nameless.is_empty() || K::hidden(&found.sight) > 0 {
            return None;
        }
        let machines = roster.machines.values();
        let mut named: BTreeSet<String> = machines.filter_map(|m| m.instance.tags.get(REVISION_TAG).cloned()).collect();
        named.extend(found.ledger.revisions());
        // What is struck and not stored yet comes back with a process that starts now.
        named.extend(K::ledger(&self.live.status()).revisions());
        named.extend(wanted.iter().cloned());
        named.extend(roster.unseen.values().map(|known| known.revision.clone()));
        // Nobody can say which revision such a one names.
        (!named.contains("")).then_some(named)
    }

    /// Deletes revisions that nothing names any more, but for the last `limit` of them.
    pub async fn prune(&mut self, named: Option<&BTreeSet<String>>, limit: usize) -> Result<(), Failure> {
        let Some(named) = named else { return Ok(()) };
        self.memory.revisions.prune(self.ctx, self.live, named, limit).await
    }

    /// Remembers whether something is still awaited, which decides how soon the next look is.
    pub fn rest(&mut self, settled: bool, moved: bool) {
        self.memory.idle_looks = match (settled, moved) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => self.memory.idle_looks.saturating_add(1),
        };
    }

    /// When to look again.
    pub fn requeue(&self, found: &Found<K::Sight>) -> Duration {
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
}
