//! Random histories of deaths, refusals, lost answers, lag and crashes against a small model of EC2, with the real plan.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use proptest::{
    prelude::*,
    test_runner::{RngAlgorithm, TestCaseError, TestRng, TestRunner},
};
use serde_json::json;

use super::{
    tests::{UID, at_once, desired, id, uid, zones},
    *,
};
use crate::{
    aws,
    ids::{ClientToken, SubnetId},
    workers::{
        draft::{Action, Lessons},
        instance::{Instance, InstanceState},
        launch::LaunchIntent,
        ledger::Settlement,
        pools::Pool,
        roster::{Known, Roster},
    },
};

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A reconcile; what becomes of each of its calls in turn.
    Reconcile([Fate; 3]),
    /// The controller restarts: what it learned is gone, the record stays.
    Restart,
    /// The n-th live machine dies.
    Death(usize),
    /// All that lagged is shown.
    Reveal,
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Works,
    /// The machines of this launch are not shown for a while.
    Lags,
    /// The call takes effect, its answer does not arrive.
    AnswerLost,
    /// The call is refused for want of capacity.
    Refused,
    /// Fewer come than were asked for.
    Partial,
    /// The process ends before this call.
    CrashBefore,
    /// The process ends after this call.
    CrashAfter,
}

struct Machine {
    token: ClientToken,
    subnet: SubnetId,
    alive: bool,
    shown: bool,
}

/// A rule of the write protocol, not kept. The histories must find out, or they prove nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    /// The record is written after the calls.
    RecordLast,
    /// A launch is repeated under a new token.
    NewToken,
    /// A launch without an answer is taken for one that did nothing.
    NoAnswerIsNo,
    /// A launch is struck once it is answered, before it is seen.
    AnsweredIsSeen,
    /// What is not shown is taken for gone.
    UnseenIsGone,
}

#[derive(Default)]
struct World {
    broken: Option<Broken>,
    machines: BTreeMap<InstanceId, Machine>,
    tokens: BTreeMap<ClientToken, Vec<InstanceId>>,
    /// The status as the API server has it.
    ledger: Ledger,
    /// Memory of the controller.
    known: BTreeSet<InstanceId>,
    cooling: BTreeSet<Pool>,
    nonce: u64,
    calls: usize,
}

enum Answer {
    Ids(Vec<InstanceId>),
    NoCapacity,
    Nothing,
    Crash,
}

impl World {
    fn alive(&self) -> usize {
        let victims = self.ledger.victims();
        self.machines.iter().filter(|(id, machine)| machine.alive && !victims.contains(*id)).count()
    }

    fn observe(&mut self) -> Observed {
        let mut roster = Roster::default();
        for (id, machine) in self.machines.iter().filter(|(_, machine)| machine.shown && machine.alive) {
            let instance = Instance {
                id: id.clone(),
                state: InstanceState::Running,
                subnet: Some(machine.subnet.clone()),
                zone: "eu-west-1a".into(),
                instance_type: "m6i.large".into(),
                launched_at: None,
                client_token: machine.token.to_string(),
                launch_index: 0,
                state_reason: String::new(),
                tags: BTreeMap::new(),
            };
            roster.machines.insert(id.clone(), Sighting { instance, swept: true, checks_passed: true });
        }
        let believed: BTreeSet<_> = self.known.iter().cloned().chain(self.ledger.named().into_keys()).collect();
        for id in believed.into_iter().filter(|id| !roster.machines.contains_key(id)) {
            let machine = &self.machines[&id];
            if self.broken == Some(Broken::UnseenIsGone) || machine.shown && !machine.alive {
                roster.gone.insert(id)
            } else {
                roster.unseen.insert(id, Known::default()).is_none()
            };
        }
        self.known = roster.machines.keys().chain(roster.unseen.keys()).cloned().collect();
        let refusal = aws::Error {
            operation: "ec2:RunInstances",
            class: aws::Class::NoCapacity,
            code: "InsufficientInstanceCapacity".into(),
            message: String::new(),
        };
        let cooling = self.cooling.iter().map(|pool| (pool.clone(), refusal.clone())).collect();
        let lessons = Lessons { cooling, ..Lessons::default() };
        Observed { roster, zones: zones(), lessons, ..Observed::default() }
    }

    /// A look, with rounds until there is nothing left to do.
    fn reconcile(&mut self, desired: &Desired, fates: &[Fate]) {
        let mut fates = fates.iter().copied();
        let mut observed = self.observe();
        for _ in 0..3 {
            if self.round(desired, &observed, &mut fates) == 0 {
                break;
            }
            // The world is not looked at again between rounds, what calls taught is known.
            observed.lessons = self.observe().lessons;
        }
    }

    /// How many calls a round of plan and calls made; 0 too when the process ended.
    fn round(&mut self, desired: &Desired, observed: &Observed, fates: &mut impl Iterator<Item = Fate>) -> usize {
        let mut nonce = self.nonce;
        let mut draw = || {
            nonce += 1;
            nonce
        };
        let mut pass = Pass { now: Timestamp::UNIX_EPOCH, holder: "me", nonce: &mut draw };
        let plan = plan(desired, &at_once(desired, observed), observed, &self.ledger, &mut pass);
        self.nonce = nonce;
        let mut record = plan.ledger;
        if self.broken != Some(Broken::RecordLast) {
            self.ledger = record.clone();
        }
        let (mut outcomes, sent) = (BTreeMap::new(), plan.actions.len());
        for action in plan.actions {
            let fate = fates.next().unwrap_or(Fate::Works);
            self.calls += 1;
            match action {
                Action::Launch(mut intent) => {
                    let recorded = intent.token.clone();
                    if self.broken == Some(Broken::NewToken) && intent.attempts > 1 {
                        self.nonce += 1_000_000;
                        intent.token = ClientToken::new(&uid(UID), self.nonce);
                    }
                    let settlement = match self.run_instances(&intent, fate) {
                        Answer::Ids(ids) => Settlement::Launched(ids),
                        Answer::NoCapacity => {
                            self.cooling.insert(Pool { subnet: intent.subnet, instance_type: intent.instance_type });
                            Settlement::NothingLaunched
                        }
                        Answer::Nothing if self.broken == Some(Broken::NoAnswerIsNo) => Settlement::NothingLaunched,
                        Answer::Nothing => Settlement::Unknown,
                        Answer::Crash => {
                            self.restart();
                            return 0;
                        }
                    };
                    outcomes.insert(recorded, settlement);
                }
                Action::Terminate(ids) => {
                    if matches!(fate, Fate::CrashBefore) {
                        self.restart();
                        return 0;
                    }
                    for id in ids {
                        self.machines.get_mut(&id).unwrap().alive = false;
                    }
                }
            }
        }
        record.settle(&outcomes);
        if self.broken == Some(Broken::AnsweredIsSeen) {
            record.launches.retain(|intent| intent.instance_ids.is_empty());
        }
        self.ledger = record;
        sent
    }

    fn run_instances(&mut self, intent: &LaunchIntent, fate: Fate) -> Answer {
        if let Fate::CrashBefore = fate {
            return Answer::Crash;
        }
        if !self.tokens.contains_key(&intent.token) {
            if let Fate::Refused = fate {
                // A first call that is refused launched nothing. One that is repeated may not be judged like that, which
                // is the business of whoever makes calls; the model has only first calls refused.
                return if intent.attempts == 1 { Answer::NoCapacity } else { Answer::Nothing };
            }
            let count = if let Fate::Partial = fate { 1 } else { intent.count };
            let ids: Vec<_> = (0..count).map(|n| id(self.machines.len() as u32 + n + 1)).collect();
            for id in &ids {
                let shown = !matches!(fate, Fate::Lags | Fate::AnswerLost | Fate::CrashAfter);
                let machine =
                    Machine { token: intent.token.clone(), subnet: intent.subnet.clone(), alive: true, shown };
                self.machines.insert(id.clone(), machine);
            }
            self.tokens.insert(intent.token.clone(), ids);
        }
        match fate {
            Fate::AnswerLost => Answer::Nothing,
            Fate::CrashAfter => Answer::Crash,
            Fate::Works | Fate::Lags | Fate::Refused | Fate::Partial | Fate::CrashBefore => {
                Answer::Ids(self.tokens[&intent.token].clone())
            }
        }
    }

    fn restart(&mut self) {
        // What was seen once is shown to everybody: the sweep that settled it was complete.
        self.known.clear();
        self.cooling.clear();
    }

    fn apply(&mut self, desired: &Desired, step: Step) {
        match step {
            Step::Reconcile(fates) => self.reconcile(desired, &fates),
            Step::Restart => self.restart(),
            Step::Death(n) => {
                let mut live = self.machines.values_mut().filter(|machine| machine.alive);
                if let Some(machine) = live.nth(n) {
                    machine.alive = false;
                }
            }
            Step::Reveal => {
                self.cooling.clear();
                self.machines.values_mut().for_each(|machine| machine.shown = true);
            }
        }
    }
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        3 => Just(Fate::Works),
        2 => Just(Fate::Lags),
        2 => Just(Fate::AnswerLost),
        1 => Just(Fate::Refused),
        1 => Just(Fate::Partial),
        1 => Just(Fate::CrashBefore),
        1 => Just(Fate::CrashAfter),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => [fate(), fate(), fate()].prop_map(Step::Reconcile),
        1 => Just(Step::Restart),
        1 => (0usize..6).prop_map(Step::Death),
        2 => Just(Step::Reveal),
    ]
}

/// Quiet reconciles until nothing changes.
fn converge(world: &mut World, desired: &Desired) -> bool {
    for _ in 0..20 {
        world.apply(desired, Step::Reveal);
        let (before, calls) = (world.ledger.clone(), world.calls);
        world.reconcile(desired, &[]);
        if world.ledger == before && world.calls == calls {
            return true;
        }
    }
    false
}

/// The promise: never over the wish, and in the end exactly it, all of it owned, with nothing left on record.
fn keeps_the_promise(broken: Option<Broken>, steps: &[Step], replicas: i32) -> Result<(), TestCaseError> {
    let wish = desired(replicas, json!({}));
    let mut world = World { broken, ..World::default() };
    for step in steps {
        world.apply(&wish, *step);
        prop_assert!(world.alive() <= replicas as usize, "{} live after {step:?}", world.alive());
    }
    prop_assert!(converge(&mut world, &wish), "the record still changes: {:?}", world.ledger);
    prop_assert_eq!(world.alive(), replicas as usize);
    prop_assert!(!world.ledger.is_open());
    prop_assert!(world.tokens.keys().all(|token| token.belongs_to(&uid(UID))));
    Ok(())
}

fn histories() -> impl Strategy<Value = (Vec<Step>, i32)> {
    (prop::collection::vec(step(), 0..40), 0i32..7)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn never_over_the_wish_and_in_the_end_exactly_it((steps, replicas) in histories()) {
        keeps_the_promise(None, &steps, replicas)?;
    }

    #[test]
    fn scaling_in_the_middle_of_trouble_ends_at_the_last_wish(
        phases in prop::collection::vec((0i32..7, prop::collection::vec(step(), 0..8)), 1..6)
    ) {
        let mut world = World::default();
        let mut wish = desired(0, json!({}));
        for (replicas, steps) in phases {
            wish = desired(replicas, json!({}));
            steps.into_iter().for_each(|step| world.apply(&wish, step));
        }
        prop_assert!(converge(&mut world, &wish), "the record still changes: {:?}", world.ledger);
        prop_assert_eq!(world.alive(), wish.total() as usize);
    }
}

#[test]
fn each_rule_of_the_protocol_is_needed() {
    for broken in
        [Broken::RecordLast, Broken::NewToken, Broken::NoAnswerIsNo, Broken::AnsweredIsSeen, Broken::UnseenIsGone]
    {
        let config = ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() };
        let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
        let found = runner.run(&histories(), |(steps, replicas)| keeps_the_promise(Some(broken), &steps, replicas));
        assert!(found.is_err(), "{broken:?} goes unnoticed");
    }
}
