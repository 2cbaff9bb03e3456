//! What a job adds to the world of all simulations: results, what becomes of each index, and the rules of its observation.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use rand::{RngExt, rngs::SmallRng};
use serde_json::json;

use crate::{
    aws::{
        Class, Error,
        ec2::instance::{Described, Instance, InstanceState},
    },
    crd::{indexes::Indexes, worker_job::JobOutcome},
    ids::InstanceId,
    inventory::ownership::Owner,
    kinds::worker_job::{
        desired::Desired,
        launched::{Judgement, Launched},
        observation::{JobObservation, Memory},
        plan::{has_ended, plan, plan_end},
        results::{Rejection, ResultKey, Results, Told},
        sample::desired,
    },
    tags::INDEXES_TAG,
    workers::{
        ledger::Ledger,
        observe::{instances::KnownInstance, observed::Observed},
        plan::{Plan, PlanContext},
        simulation::{
            Simulated,
            ec2::{BY_ITSELF, error},
            history::{Step, pick},
            process::{Object, Process, TIMINGS, Task, at},
            world::World,
        },
    },
};

const COMPLETIONS: u32 = 5;
const PARALLELISM: u32 = 3;
const BACKOFF: u32 = 1;

#[derive(Debug, Default)]
pub(super) struct Job {
    results: Results,
    /// Until when the results cannot be read.
    unreadable: u64,
    /// Until when the results of one index cannot be read.
    archived: (u32, u64),
    /// What really happened to each index.
    succeeded: BTreeSet<u32>,
    failures: BTreeMap<u32, u32>,
    /// Terminated by muster before its success was on record.
    lost: Vec<InstanceId>,
    finished: Option<JobOutcome>,
}

/// How the workers report their results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spec {
    S3,
    ShutdownReason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The n-th running instance reports a result or none, and then shuts down or keeps running.
    Works(usize, Option<Told>, bool),
    /// It reports a success of another index.
    ClaimsAnother(usize),
    /// It reports a success of an index in the name of an instance that never was.
    Forges(u32),
    /// The results of an index are listed and cannot be read for a while.
    Archives(u32),
    /// The results cannot be read for a while.
    Unreadable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// An instance that shuts down counts as gone.
    LeavingIsGone,
    /// A termination is counted at each reconcile.
    CountedAgain,
    /// The first indexes of a launch count as running, regardless of the launch indexes.
    LaunchIndexIgnored,
    /// Every termination counts as a failure, regardless of the reason.
    EveryEndCounts,
    /// Unreadable results count as absent.
    UnreadIsNone,
    /// A result counts at any key.
    AnyPlaceCounts,
    /// A result that cannot be read counts as absent.
    ArchivedIsNone,
    /// A new process counts only the instances that it observes.
    NobodyListed,
}

static DESIRED: LazyLock<[Desired; 2]> = LazyLock::new(|| {
    [json!({"s3": {"bucket": "results"}}), json!({"shutdownReason": {}})].map(|result| {
        desired(json!({
            "completions": COMPLETIONS, "parallelism": PARALLELISM, "backoffLimitPerIndex": BACKOFF, "result": result,
        }))
    })
});

impl Simulated for Job {
    type Spec = Spec;
    type Event = Event;
    type Rule = Rule;
    type Desired = Desired;
    type Memory = Memory;
    type Observation = JobObservation;

    const EVENTS: u32 = 40;
    /// Less than the grace: an instance that is missing for longer is run again, wherever it is.
    const DARKNESS: u64 = 45;

    fn draw(rng: &mut SmallRng) -> Spec {
        if rng.random_bool(0.5) { Spec::S3 } else { Spec::ShutdownReason }
    }

    fn event(rng: &mut SmallRng, _: u32) -> Step<Event> {
        let n = rng.random_range(0..3);
        let told = pick(rng, &[Some(Told::Succeeded), Some(Told::Failed), None]);
        let index = rng.random_range(0..COMPLETIONS);
        match rng.random_range(0..16) {
            0..8 => Step::Event(Event::Works(n, told, told.is_some() && rng.random_bool(0.3))),
            8 => Step::Event(Event::ClaimsAnother(n)),
            9..11 => Step::Event(Event::Unreadable),
            11 => Step::Event(Event::Forges(index)),
            12 => Step::Event(Event::Archives(index)),
            _ => Step::Darkness(n % 2),
        }
    }

    fn new(_: &Spec) -> Self {
        Self::default()
    }

    fn desired(spec: &Spec) -> Desired {
        DESIRED[usize::from(*spec == Spec::ShutdownReason)].clone()
    }

    fn owner(desired: &Desired) -> &Owner {
        &desired.owner
    }

    fn stored(ledger: &Ledger) -> Ledger {
        let Ledger { launches, terminations, progress, .. } = ledger.clone();
        Ledger { launches, terminations, progress, ..Ledger::default() }
    }

    fn listed(world: &World<Self>, object: &Object<Desired>) -> BTreeMap<InstanceId, KnownInstance> {
        let holders = object.ledger.progress.holders.keys().filter(|_| world.broken() != Some(Rule::NobodyListed));
        holders.map(|id| (id.clone(), KnownInstance::default())).collect()
    }

    fn apply(world: &mut World<Self>, event: Event) {
        match event {
            Event::Works(n, told, stays) => world.work(n, told, stays),
            Event::ClaimsAnother(n) => {
                if let Some((index, instance)) = world.running(n).filter(|_| world.spec == Spec::S3) {
                    let index = (index + 1) % COMPLETIONS;
                    world.own.results.insert(ResultKey { index, instance }, Told::Succeeded);
                }
            }
            Event::Forges(index) => {
                let key = ResultKey { index, instance: InstanceId::try_from("i-ffffffff").unwrap() };
                world.own.results.insert(key, Told::Succeeded);
            }
            Event::Archives(index) => world.own.archived = (index, world.now + 3000),
            Event::Unreadable => world.own.unreadable = world.now + 100,
        }
    }

    /// As in `WorkerKind::observe`.
    fn observe(
        world: &World<Self>,
        process: &mut Process<Self>,
        read: &Object<Desired>,
        observed: &mut Observed,
    ) -> JobObservation {
        let (now, broken, ledger, memory) = (world.now, world.broken(), &read.ledger, &mut process.own);
        let instances = &mut observed.instances;
        if broken == Some(Rule::LaunchIndexIgnored) {
            instances.shown.values_mut().for_each(|worker| worker.instance.launch_index = 0);
        } else if broken == Some(Rule::LeavingIsGone) {
            let leaving = instances.shown.extract_if(.., |_, worker| worker.instance.state.is_over());
            instances.gone.extend(leaving.map(|(id, _)| id));
        }
        let mut before = ledger.progress.clone();
        if broken == Some(Rule::NobodyListed) {
            before.holders.clear();
        }
        let asked = memory.follow(instances, ledger, &before);
        let mut described: Described = asked.iter().map(|id| (id.clone(), world.ec2.by_id(id, now))).collect();
        for instance in described.values_mut().flatten() {
            if broken == Some(Rule::LeavingIsGone) {
                instance.state = InstanceState::Terminated;
            } else if broken == Some(Rule::EveryEndCounts) {
                instance.state_reason = BY_ITSELF.into();
            }
        }
        let grace = (at(now), TIMINGS.describe_grace);
        let mut observation = memory.see((&asked, &described), &instances.gone, ledger, before, grace);
        let needed = observation.before.finished.is_none() && !read.deleting;
        if needed && world.spec == Spec::S3 {
            let unread = now < world.own.unreadable;
            let results = if unread { Results::default() } else { world.own.results.clone() };
            if unread && broken != Some(Rule::UnreadIsNone) {
                let cause = Error { operation: "s3:ListObjectsV2", ..error(Class::Transient) };
                memory.cannot_read(&mut observation, cause);
            } else if broken == Some(Rule::AnyPlaceCounts) {
                observation.results = results;
            } else {
                let launched = Launched::new(&observation, instances, ledger, &BTreeMap::new());
                let mut counted = Results::default();
                let (archived, until) = world.own.archived;
                for (key, told) in results.all().filter(|(key, _)| launched.judge(key) == Judgement::Counts) {
                    match key.index == archived && now < until {
                        true if broken == Some(Rule::ArchivedIsNone) => {}
                        true => counted.hold(archived, "", &Rejection::Refused(String::new())),
                        false => counted.insert(key, told),
                    }
                }
                observation.take(counted);
            }
        }
        memory.miss(&mut observation, (instances, ledger), (at(now), &TIMINGS));
        memory.wait(&mut observation, at(now), TIMINGS.exit_grace);
        observation
    }

    fn plan(
        world: &mut World<Self>,
        _: &mut Process<Self>,
        task: &mut Task<Self>,
        context: &mut PlanContext<'_>,
    ) -> Plan {
        if task.read.deleting {
            return plan_end(&task.observed, &task.ledger, context);
        }
        if world.broken() == Some(Rule::CountedAgain) {
            task.observation.before = task.ledger.progress.clone();
        }
        plan(&task.read.desired, &task.observed, &task.observation, &task.ledger, context)
    }

    fn terminating(world: &mut World<Self>, ids: &[InstanceId]) {
        for instance in ids.iter().map(|id| &world.ec2.instances[id].instance) {
            let succeeded = instance.state == InstanceState::Stopped && instance.state_reason == BY_ITSELF;
            let recorded = index_of(instance).is_some_and(|i| world.object.ledger.progress.completed.contains(i));
            if succeeded && !recorded && !world.object.deleting {
                world.own.lost.push(instance.id.clone());
            }
        }
    }

    fn finish(world: &World<Self>, process: &mut Process<Self>, task: &Task<Self>) {
        if world.broken() != Some(Rule::CountedAgain) {
            process.own.told(&task.observation, &task.ledger.progress, at(world.now), &TIMINGS);
        }
    }

    fn has_ended(task: &Task<Self>) -> bool {
        has_ended(&task.observed, &task.observation, &task.ledger)
    }

    fn check(world: &mut World<Self>) -> Option<String> {
        world.broken_promise()
    }

    /// Every instance does its work.
    fn calm(world: &mut World<Self>) {
        (0..COMPLETIONS).for_each(|_| world.work(0, Some(Told::Succeeded), false));
    }

    fn is_as_desired(world: &World<Self>) -> bool {
        let over = world.ec2.own().all(|worker| worker.instance.state == InstanceState::Terminated);
        let Ledger { progress, .. } = &world.object.ledger;
        let done = progress.finished.is_some() && progress.completed.len() + progress.failed.len() == COMPLETIONS;
        over && if world.object.deleting { world.gone } else { done && !world.object.ledger.is_open() }
    }
}

/// Which index an instance runs.
fn index_of(instance: &Instance) -> Option<u32> {
    instance.tags.get(INDEXES_TAG)?.parse::<Indexes>().ok()?.nth(instance.launch_index)
}

impl World<Job> {
    /// The index and the id of the n-th running instance.
    fn running(&self, n: usize) -> Option<(u32, InstanceId)> {
        let running = self.ec2.own().filter(|worker| worker.instance.state == InstanceState::Running);
        running.map(|worker| &worker.instance).nth(n).map(|i| (index_of(i).unwrap(), i.id.clone()))
    }

    fn work(&mut self, n: usize, told: Option<Told>, stays: bool) {
        let Some((index, id)) = self.running(n) else { return };
        let Job { results, succeeded, failures, .. } = &mut self.own;
        let worker = self.ec2.instances.get_mut(&id).unwrap();
        if self.spec == Spec::ShutdownReason {
            // There is no way to tell of a failure.
            if told == Some(Told::Succeeded) && !stays {
                worker.stop(BY_ITSELF);
                succeeded.insert(index);
            }
            return;
        }
        let before = results.of(index, &id);
        if let (None, Some(told)) = (before, told) {
            results.insert(ResultKey { index, instance: id.clone() }, told);
        }
        match results.of(index, &id) {
            Some(Told::Succeeded) => {
                succeeded.insert(index);
            }
            // A result counts once, when it is written.
            Some(Told::Failed) if before.is_some() => {}
            Some(Told::Failed) | None => *failures.entry(index).or_default() += 1,
        }
        if !stays {
            worker.shut_down(BY_ITSELF, self.now);
        }
    }

    /// No index runs twice at once, and nothing is believed that did not happen.
    fn broken_promise(&mut self) -> Option<String> {
        let Job { succeeded, failures, lost, finished, .. } = &mut self.own;
        let mut at_work: BTreeMap<u32, Vec<&InstanceId>> = BTreeMap::new();
        let victims = self.object.ledger.victims();
        let mut live = 0;
        for instance in self.ec2.instances.values().filter(|worker| !worker.foreign).map(|worker| &worker.instance) {
            let id = &instance.id;
            let works = match instance.state {
                InstanceState::Pending | InstanceState::Running => {
                    live += u32::from(!victims.contains(id));
                    true
                }
                InstanceState::Stopping | InstanceState::ShuttingDown => true,
                InstanceState::Stopped | InstanceState::Terminated => false,
            };
            if works {
                at_work.entry(index_of(instance).unwrap()).or_default().push(id);
            }
        }
        let progress = &self.object.ledger.progress;
        let failed = |index: &u32| failures.get(index).copied().unwrap_or_default();
        let twice = at_work.iter().find(|(_, ids)| ids.len() > 1);
        let believed = progress.completed.iter().find(|index| !succeeded.contains(index));
        let blamed = progress.failed.iter().find(|index| failed(index) <= BACKOFF);
        let counted = progress.failures.iter().find(|(index, count)| **count > failed(index));
        let outcome = progress.finished.map(|finish| finish.outcome);
        let before = std::mem::replace(finished, outcome);
        let changed = before.filter(|_| before != outcome);
        twice
            .map(|twice| format!("an index runs twice at once: {twice:?}"))
            .or_else(|| (live > PARALLELISM).then(|| format!("{live} are live, more than {PARALLELISM}")))
            .or_else(|| believed.map(|index| format!("nobody succeeded at {index}")))
            .or_else(|| blamed.map(|index| format!("{index} failed only {} times", failed(&index))))
            .or_else(|| counted.map(|counted| format!("counted too often: {counted:?}")))
            .or_else(|| lost.first().map(|id| format!("{id} is terminated before its success is on record")))
            .or_else(|| changed.map(|before| format!("it was {before:?} and is {outcome:?}")))
    }
}
