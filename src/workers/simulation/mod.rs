//! Random histories against small models of the API server and of EC2, with the real plan, memory and evaluation of
//! responses of a kind that runs workers. Disabling a rule must cause a violation, or the histories prove nothing.

pub mod ec2;
pub mod history;
pub mod process;
pub mod world;

use std::{collections::BTreeMap, fmt::Debug, time::Instant};

use rand::rngs::SmallRng;

use crate::{
    ids::InstanceId,
    inventory::ownership::Owner,
    workers::{
        launch_spec::DesiredWorkers,
        ledger::Ledger,
        observe::{instances::KnownInstance, observed::Observed},
        plan::{Plan, PlanContext},
        simulation::{
            history::{HistoryOf, Step, draw},
            process::{Object, Process, Task},
            world::World,
        },
    },
};

/// A disabled rule: one of the protocol, or one that only this kind has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken<R> {
    Protocol(Rule),
    Own(R),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Rule 1: the record is written after the calls.
    RecordLast,
    /// Rule 1: the record is written without a check of the version.
    BlindWrites,
    /// Rule 2: a launch is repeated with the current spec.
    RepeatOfToday,
    /// Rule 3: a launch is repeated with a new token.
    NewToken,
    /// Rule 3: a launch is repeated in another subnet.
    OtherSubnet,
    /// Rule 4: a call is made at any time after its record, and also after the lease was lost.
    SendLate,
    /// Rule 5: a launch without a response counts as failed.
    NoAnswerIsNo,
    /// Rule 5: the rejection of a repeated launch counts for the first one too.
    RefusalIsNo,
    /// Rule 5: a launch is settled by its response, before its instances are observed.
    AnsweredIsSeen,
    /// Rule 5: a search settles a launch before the wait is over.
    SearchAtOnce,
    /// Rule 3: an instance is what its tags say now.
    TagsAreTrue,
    /// Rule 6: every instance with the tags is owned.
    TagIsEnough,
    /// Rule 7: a missing instance counts as gone.
    MissingIsGone,
    /// Rule 7: a new process counts only the instances that the status lists.
    CountIsForgotten,
    /// Rule 7: an instance counts as gone after the grace period, even if many are missing.
    ManyAreGone,
}

/// What a kind adds to the world that all simulations share.
pub trait Simulated: Debug + Sized + 'static {
    /// What the user asks for.
    type Spec: Clone + Debug;
    /// The events of this kind only.
    type Event: Copy + Debug;
    /// A rule that only this kind has.
    type Rule: Copy + Debug + PartialEq + Send + Sync;
    type Desired: DesiredWorkers + Clone + Debug;
    /// What a process remembers of an object, beside what it does for every kind.
    type Memory: Debug + Default;
    /// What a reconcile observes beside the instances.
    type Observation: Debug;

    /// Of 91 and so many steps, so many are this kind's own.
    const EVENTS: u32;
    /// For how many seconds a zone is dark.
    const DARKNESS: u64;

    fn draw(rng: &mut SmallRng) -> Self::Spec;

    /// A step of this kind's own. `edits`: 0 where the user does nothing, 1 where she scales, 2 where she does anything.
    fn event(rng: &mut SmallRng, edits: u32) -> Step<Self::Event>;

    fn new(spec: &Self::Spec) -> Self;

    fn desired(spec: &Self::Spec) -> Self::Desired;

    fn owner(desired: &Self::Desired) -> &Owner;

    /// The part of a record that the status of this kind holds.
    fn stored(ledger: &Ledger) -> Ledger {
        ledger.clone()
    }

    /// The workers that the status lists one by one.
    fn listed(world: &World<Self>, object: &Object<Self::Desired>) -> BTreeMap<InstanceId, KnownInstance>;

    fn apply(world: &mut World<Self>, event: Self::Event);

    fn observe(
        world: &World<Self>,
        process: &mut Process<Self>,
        read: &Object<Self::Desired>,
        observed: &mut Observed,
    ) -> Self::Observation;

    fn plan(
        world: &mut World<Self>,
        process: &mut Process<Self>,
        task: &mut Task<Self>,
        context: &mut PlanContext<'_>,
    ) -> Plan;

    /// Instances are about to be terminated.
    fn terminating(_: &mut World<Self>, _: &[InstanceId]) {}

    /// A reconcile is over.
    fn finish(_: &World<Self>, _: &mut Process<Self>, _: &Task<Self>) {}

    /// Whether an object that is being deleted can be removed.
    fn has_ended(task: &Task<Self>) -> bool;

    /// The violated invariant of the world after a step, if any.
    fn check(world: &mut World<Self>) -> Option<String>;

    /// What happens between two reconciles at the end of a history.
    fn calm(_: &mut World<Self>) {}

    fn is_as_desired(world: &World<Self>) -> bool;
}

/// The violation that a history causes, if any.
pub fn violation<K: Simulated>(history: &HistoryOf<K>, broken: Option<Broken<K::Rule>>) -> Option<String> {
    let mut world = World::<K>::new(history.spec.clone(), broken);
    for step in &history.steps {
        world.apply(*step);
        if world.violation.is_some() {
            return world.violation;
        }
    }
    world.calm();
    world.violation
}

/// Plays `count` histories from `seed` on; the first bad one fails, made short.
pub fn play<K: Simulated>(seed: u64, count: u64) {
    for seed in seed..seed + count {
        let history = draw::<K>(seed);
        if violation::<K>(&history, None).is_some() {
            let short = history.shrink(|history| violation::<K>(history, None).is_some());
            panic!("seed {seed}: {}\n{short:#?}", violation::<K>(&short, None).unwrap_or_default());
        }
    }
}

/// Plays histories without each of the rules until one of them shows that it is missing.
pub fn each_is_needed<K: Simulated>(rules: &[Broken<K::Rule>]) {
    let first = |broken: Broken<K::Rule>| {
        (0..10_000).find(|seed| {
            let history = draw::<K>(*seed);
            violation::<K>(&history, Some(broken)).is_some() && violation::<K>(&history, None).is_none()
        })
    };
    let found: Vec<_> = std::thread::scope(|scope| {
        let searches: Vec<_> = rules.iter().map(|broken| (broken, scope.spawn(move || first(*broken)))).collect();
        searches.into_iter().map(|(broken, search)| (broken, search.join().expect("a search that ends"))).collect()
    });
    let unnoticed: Vec<_> = found.iter().filter(|(_, first)| first.is_none()).collect();
    assert!(unnoticed.is_empty(), "{unnoticed:?} of {found:?}");
    println!("found at {found:?}");
}

/// Plays a million histories from a random seed on.
pub fn play_a_million<K: Simulated>() {
    let seed: u64 = rand::random_range(0..1 << 40);
    let (begun, count) = (Instant::now(), 1_000_000);
    println!("{count} histories from seed {seed} on ...");
    std::thread::scope(|scope| {
        let halves = [0, 1].map(|half| scope.spawn(move || play::<K>(seed + half * count / 2, count / 2)));
        halves.into_iter().for_each(|half| half.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
    });
    println!("{count} histories from seed {seed} on: none broke a promise, {:.0?}", begun.elapsed());
}
