//! Random histories of results, ends, refusals, lost answers, lag and crashes against a small model of EC2 and S3, with
//! the real plan.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use proptest::{
    prelude::*,
    test_runner::{RngAlgorithm, TestCaseError, TestRng, TestRunner},
};
use serde_json::json;

use super::{
    tests::{UID, desired, id, uid, zones},
    *,
};
use crate::{
    aws,
    clock::Timings,
    ids::{ClientToken, SubnetId},
    worker_job::{
        results::{Place, Results, Told},
        sight::Memory,
    },
    workers::{
        draft::{Action, Lessons},
        indexes::Indexes,
        instance::Instance,
        launch::LaunchIntent,
        ledger::Settlement,
        ownership::INDEXES_TAG,
        pools::Pool,
        roster::{Known, Roster},
    },
};

const COMPLETIONS: u32 = 5;
const PARALLELISM: u32 = 3;
const BACKOFF: u32 = 1;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A reconcile; what becomes of each of its calls in turn.
    Reconcile([Fate; 3]),
    /// The controller restarts: what it learned is gone, the record stays.
    Restart,
    /// What the n-th running machine does, or what is done to it.
    Deed(usize, Deed),
    /// The n-th machine that is on its way out has ended.
    Ends(usize),
    /// All that lagged is shown.
    Reveal,
    /// EC2 shows nothing for a while.
    Dark,
    /// The results cannot be read for a while.
    Unreadable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Succeeds,
    SucceedsAndStays,
    Fails,
    FailsAndStays,
    EndsWithoutAWord,
    Reclaimed,
    TerminatedByUser,
    StoppedByUser,
    /// It tells a success of another index.
    ClaimsAnother,
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

/// A rule that is not kept. The histories must find out, or they prove nothing.
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
    /// What is on its way out is taken for gone.
    LeavingIsGone,
    /// An end is accounted for at each look.
    CountedAgain,
    /// The first indexes of a launch are taken to be running, whatever the launch indexes say.
    LaunchIndexIgnored,
    /// An end is a failure whatever caused it.
    EveryEndCounts,
    /// Results that cannot be read are taken for none.
    UnreadIsNone,
    /// A result counts wherever it is.
    AnyPlaceCounts,
    /// A process that starts believes in nobody whom it does not see.
    NobodyListed,
}

#[derive(Clone, Debug)]
struct Machine {
    token: ClientToken,
    subnet: SubnetId,
    indexes: Indexes,
    launch_index: u32,
    state: InstanceState,
    reason: &'static str,
    shown: bool,
}

impl Machine {
    fn index(&self) -> u32 {
        self.indexes.nth(self.launch_index).unwrap()
    }

    fn works(&self) -> bool {
        matches!(self.state, InstanceState::Running | InstanceState::Stopping | InstanceState::ShuttingDown)
    }
}

struct World {
    broken: Option<Broken>,
    by_shutdown: bool,
    machines: BTreeMap<InstanceId, Machine>,
    tokens: BTreeMap<ClientToken, Vec<InstanceId>>,
    results: BTreeMap<(u32, InstanceId), Told>,
    /// What really happened to each index.
    succeeded: BTreeSet<u32>,
    failures: BTreeMap<u32, u32>,
    /// The status as the API server has it.
    ledger: Ledger,
    /// Memory of the controller.
    known: BTreeMap<InstanceId, Known>,
    memory: Memory,
    cooling: BTreeSet<Pool>,
    nonce: u64,
    calls: usize,
    unreadable: bool,
    /// Ended by muster before its success was on record.
    lost: Vec<InstanceId>,
}

enum Answer {
    Ids(Vec<InstanceId>),
    NoCapacity,
    Nothing,
    Crash,
}

impl World {
    fn new(broken: Option<Broken>, by_shutdown: bool) -> Self {
        Self {
            broken,
            by_shutdown,
            machines: BTreeMap::new(),
            tokens: BTreeMap::new(),
            results: BTreeMap::new(),
            succeeded: BTreeSet::new(),
            failures: BTreeMap::new(),
            ledger: Ledger::default(),
            known: BTreeMap::new(),
            memory: Memory::default(),
            cooling: BTreeSet::new(),
            nonce: 0,
            calls: 0,
            unreadable: false,
            lost: Vec::new(),
        }
    }

    fn instance(&self, id: &InstanceId) -> Instance {
        let machine = &self.machines[id];
        let launch_index = if self.broken == Some(Broken::LaunchIndexIgnored) { 0 } else { machine.launch_index };
        Instance {
            id: id.clone(),
            state: machine.state,
            subnet: Some(machine.subnet.clone()),
            zone: "eu-west-1a".into(),
            instance_type: "m6i.large".into(),
            launched_at: None,
            client_token: machine.token.to_string(),
            tags: BTreeMap::from([(INDEXES_TAG.into(), machine.indexes.to_string())]),
            launch_index,
            state_reason: machine.reason.into(),
        }
    }

    fn is_over(&self, machine: &Machine) -> bool {
        let leaving = self.broken == Some(Broken::LeavingIsGone) && machine.state == InstanceState::ShuttingDown;
        machine.state == InstanceState::Terminated || leaving
    }

    fn observe(&mut self) -> (Observed, Sight) {
        let mut roster = Roster::default();
        for (id, _) in self.machines.iter().filter(|(_, machine)| machine.shown && !self.is_over(machine)) {
            let sighting = Sighting { instance: self.instance(id), swept: true, checks_passed: true };
            roster.machines.insert(id.clone(), sighting);
        }
        let mut believed = self.ledger.named();
        believed.extend(self.known.clone());
        for (id, facts) in believed.into_iter().filter(|(id, _)| !roster.machines.contains_key(id)) {
            let machine = &self.machines[&id];
            if self.broken == Some(Broken::UnseenIsGone) || machine.shown && self.is_over(machine) {
                roster.gone.insert(id);
            } else {
                roster.unseen.insert(id, facts);
            }
        }
        let live = roster.machines.values().map(|machine| &machine.instance).filter(|i| !i.state.is_over());
        let live = live.map(|instance| (instance.id.clone(), Known::of(instance)));
        self.known = live.chain(roster.unseen.clone()).collect();
        let before = self.ledger.progress.clone();
        let asked = self.memory.follow(&roster, &self.ledger, &before);
        let shown = asked.iter().filter(|id| self.machines[*id].shown);
        let mut described: BTreeMap<_, _> = shown.map(|id| (id.clone(), self.instance(id))).collect();
        if self.broken == Some(Broken::LeavingIsGone) {
            described.values_mut().for_each(|instance| instance.state = InstanceState::Terminated);
        }
        if self.broken == Some(Broken::EveryEndCounts) {
            let shut_down = "Client.InstanceInitiatedShutdown";
            described.values_mut().for_each(|instance| instance.state_reason = shut_down.into());
        }
        let mut sight = self.memory.see(
            (&asked, &described),
            &roster.gone,
            &self.ledger,
            before,
            (std::time::Instant::now(), std::time::Duration::MAX),
        );
        let mut results = Results::default();
        for ((index, instance), told) in &self.results {
            results.insert(Place { index: *index, instance: instance.clone() }, *told);
        }
        if self.unreadable && !self.by_shutdown {
            let cause = aws::Error { operation: "s3:ListObjectsV2", ..refusal() };
            if self.broken == Some(Broken::UnreadIsNone) {
                sight.results = Results::default();
            } else {
                self.memory.cannot_read(&mut sight, cause);
            }
        } else if self.broken == Some(Broken::AnyPlaceCounts) {
            sight.results = results;
        } else {
            Memory::judge(&mut sight, (&roster, &self.ledger), "", results);
        }
        self.memory.linger(&mut sight, std::time::Instant::now(), std::time::Duration::ZERO);
        let observed = Observed { roster, zones: zones(), lessons: self.lessons() };
        (observed, sight)
    }

    fn lessons(&self) -> Lessons {
        let cooling = self.cooling.iter().map(|pool| (pool.clone(), refusal())).collect();
        Lessons { cooling, ..Lessons::default() }
    }

    /// A look, with rounds until there is nothing left to do.
    fn reconcile(&mut self, desired: &Desired, fates: &[Fate]) {
        let mut fates = fates.iter().copied();
        let (mut observed, sight) = self.observe();
        for round in 0..3 {
            match self.round(desired, &observed, &sight, &mut fates) {
                None => return,
                Some(calls) if calls == 0 || round == 2 => break,
                Some(_) => observed.lessons = self.lessons(),
            }
        }
        if self.broken == Some(Broken::CountedAgain) {
            return;
        }
        let timings = Timings { progress: std::time::Duration::ZERO, ..Timings::default() };
        self.memory.told(&sight, &self.ledger.progress, std::time::Instant::now(), &timings);
    }

    /// How many calls a round of plan and calls made; `None` when the process ended.
    fn round(
        &mut self,
        desired: &Desired,
        observed: &Observed,
        sight: &Sight,
        fates: &mut impl Iterator<Item = Fate>,
    ) -> Option<usize> {
        let mut nonce = self.nonce;
        let mut draw = || {
            nonce += 1;
            nonce
        };
        let mut sight = sight.clone();
        if self.broken == Some(Broken::CountedAgain) {
            sight.before = self.ledger.progress.clone();
        }
        let mut pass = Pass { now: Timestamp::UNIX_EPOCH, holder: "me", nonce: &mut draw };
        let plan = plan(desired, observed, &sight, &self.ledger, &mut pass);
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
                            return None;
                        }
                    };
                    outcomes.insert(recorded, settlement);
                }
                Action::Terminate(ids) => {
                    if matches!(fate, Fate::CrashBefore) {
                        self.restart();
                        return None;
                    }
                    ids.iter().for_each(|id| self.terminate(id));
                    if matches!(fate, Fate::CrashAfter) {
                        self.restart();
                        return None;
                    }
                }
            }
        }
        record.settle(&outcomes);
        if self.broken == Some(Broken::AnsweredIsSeen) {
            record.launches.retain(|intent| intent.instance_ids.is_empty());
        }
        self.ledger = record;
        Some(sent)
    }

    fn terminate(&mut self, id: &InstanceId) {
        let machine = self.machines.get_mut(id).unwrap();
        if machine.state.is_over() {
            return;
        }
        let succeeded = machine.state == InstanceState::Stopped && machine.reason == "Client.InstanceInitiatedShutdown";
        machine.state = InstanceState::ShuttingDown;
        machine.reason = "Client.UserInitiatedShutdown";
        if succeeded && !self.ledger.progress.completed.contains(self.machines[id].index()) {
            self.lost.push(id.clone());
        }
    }

    fn run_instances(&mut self, intent: &LaunchIntent, fate: Fate) -> Answer {
        if let Fate::CrashBefore = fate {
            return Answer::Crash;
        }
        if !self.tokens.contains_key(&intent.token) {
            if let Fate::Refused = fate {
                // The model has only first calls refused; how a refusal is judged is the business of whoever calls.
                return if intent.attempts == 1 { Answer::NoCapacity } else { Answer::Nothing };
            }
            let count = if let Fate::Partial = fate { 1 } else { intent.count };
            let indexes = intent.indexes.clone().unwrap();
            assert_eq!(indexes.len(), intent.count);
            let ids: Vec<_> = (0..count).map(|n| id(self.machines.len() as u32 + n + 1)).collect();
            for (launch_index, id) in (0..).zip(&ids) {
                let machine = Machine {
                    token: intent.token.clone(),
                    subnet: intent.subnet.clone(),
                    indexes: indexes.clone(),
                    launch_index,
                    state: InstanceState::Running,
                    reason: "",
                    shown: !matches!(fate, Fate::Lags | Fate::AnswerLost | Fate::CrashAfter),
                };
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
        if self.broken == Some(Broken::NobodyListed) {
            self.ledger.progress.holders.clear();
        }
        self.known = self.ledger.progress.holders.keys().map(|id| (id.clone(), Known::default())).collect();
        self.memory = Memory::default();
        self.cooling.clear();
    }

    fn deed(&mut self, n: usize, deed: Deed) {
        let mut running = self.machines.iter().filter(|(_, machine)| machine.state == InstanceState::Running);
        let Some((id, machine)) = running.nth(n).map(|(id, machine)| (id.clone(), machine.clone())) else { return };
        let index = machine.index();
        if deed == Deed::ClaimsAnother {
            if !self.by_shutdown {
                self.results.insert(((index + 1) % COMPLETIONS, id), Told::Succeeded);
            }
            return;
        }
        let spoken = self.results.contains_key(&(index, id.clone()));
        let mut tell = |told| {
            if !self.by_shutdown && !spoken {
                self.results.insert((index, id.clone()), told);
            }
        };
        let (itself, user, spot) =
            ("Client.InstanceInitiatedShutdown", "Client.UserInitiatedShutdown", "Server.SpotInstanceTermination");
        let leaves = if self.by_shutdown { InstanceState::Stopped } else { InstanceState::ShuttingDown };
        let (state, reason) = match deed {
            Deed::Succeeds => (leaves, itself),
            Deed::SucceedsAndStays if self.by_shutdown => (InstanceState::Running, ""),
            Deed::SucceedsAndStays => (InstanceState::Running, ""),
            // With the shutdown reason there is no way to tell of a failure.
            Deed::Fails | Deed::FailsAndStays | Deed::EndsWithoutAWord if self.by_shutdown => return,
            Deed::Fails => (leaves, itself),
            Deed::FailsAndStays => (InstanceState::Running, ""),
            Deed::EndsWithoutAWord => (leaves, itself),
            Deed::Reclaimed => (InstanceState::ShuttingDown, spot),
            Deed::TerminatedByUser => (InstanceState::ShuttingDown, user),
            Deed::StoppedByUser => (InstanceState::Stopped, user),
            Deed::ClaimsAnother => return,
        };
        match deed {
            Deed::Succeeds | Deed::SucceedsAndStays => tell(Told::Succeeded),
            Deed::Fails | Deed::FailsAndStays => tell(Told::Failed),
            Deed::EndsWithoutAWord
            | Deed::Reclaimed
            | Deed::TerminatedByUser
            | Deed::StoppedByUser
            | Deed::ClaimsAnother => {}
        }
        let told = self.results.get(&(index, id.clone())).copied();
        let leaving = state != InstanceState::Running;
        match (told, deed) {
            (Some(Told::Succeeded), _) => {
                self.succeeded.insert(index);
            }
            (None, Deed::Succeeds) => {
                self.succeeded.insert(index);
            }
            // A result counts once, when it is written.
            (Some(Told::Failed), _) if !spoken => *self.failures.entry(index).or_default() += 1,
            (None, Deed::EndsWithoutAWord) => *self.failures.entry(index).or_default() += 1,
            (Some(Told::Failed) | None, _) => {}
        }
        if leaving {
            let machine = self.machines.get_mut(&id).unwrap();
            (machine.state, machine.reason) = (state, reason);
        }
    }

    fn apply(&mut self, desired: &Desired, step: Step) {
        match step {
            Step::Reconcile(fates) => self.reconcile(desired, &fates),
            Step::Restart => self.restart(),
            Step::Deed(n, deed) => self.deed(n, deed),
            Step::Ends(n) => {
                let leaving = self.machines.values_mut().filter(|m| m.state == InstanceState::ShuttingDown);
                if let Some(machine) = leaving.into_iter().nth(n) {
                    machine.state = InstanceState::Terminated;
                }
            }
            Step::Reveal => {
                self.cooling.clear();
                self.unreadable = false;
                self.machines.values_mut().for_each(|machine| machine.shown = true);
            }
            Step::Unreadable => self.unreadable = true,
            Step::Dark => self.machines.values_mut().for_each(|machine| machine.shown = false),
        }
    }

    fn check(&self, finished: Option<JobOutcome>) -> Result<(), TestCaseError> {
        let mut at_work: BTreeMap<u32, Vec<&InstanceId>> = BTreeMap::new();
        for (id, machine) in self.machines.iter().filter(|(_, machine)| machine.works()) {
            at_work.entry(machine.index()).or_default().push(id);
        }
        let twice = at_work.iter().find(|(_, ids)| ids.len() > 1);
        prop_assert!(twice.is_none(), "an index runs twice at once: {twice:?}");
        let victims = self.ledger.victims();
        let live = self.machines.iter().filter(|(id, m)| m.state == InstanceState::Running && !victims.contains(*id));
        prop_assert!(live.count() <= PARALLELISM as usize, "more than {PARALLELISM} are live");
        let progress = &self.ledger.progress;
        let believed = progress.completed.iter().find(|index| !self.succeeded.contains(index));
        prop_assert!(believed.is_none(), "nobody succeeded at {believed:?}");
        let failed = |index: &u32| self.failures.get(index).copied().unwrap_or_default();
        let blamed = progress.failed.iter().find(|index| failed(index) <= BACKOFF);
        prop_assert!(blamed.is_none(), "{blamed:?} failed {:?} times only", blamed.map(|index| failed(&index)));
        let counted = progress.failures.iter().find(|(index, count)| **count > failed(index));
        prop_assert!(counted.is_none(), "counted too often: {counted:?}");
        prop_assert!(self.lost.is_empty(), "ended before its success was on record: {:?}", self.lost);
        if let Some(finished) = finished {
            prop_assert_eq!(progress.finished.map(|finish| finish.outcome), Some(finished), "changed its mind");
        }
        Ok(())
    }
}

fn refusal() -> aws::Error {
    aws::Error {
        operation: "ec2:RunInstances",
        class: aws::Class::NoCapacity,
        code: "InsufficientInstanceCapacity".into(),
        message: String::new(),
    }
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Works),
        2 => Just(Fate::Lags),
        2 => Just(Fate::AnswerLost),
        1 => Just(Fate::Refused),
        2 => Just(Fate::Partial),
        1 => Just(Fate::CrashBefore),
        1 => Just(Fate::CrashAfter),
    ]
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        2 => Just(Deed::Succeeds),
        1 => Just(Deed::SucceedsAndStays),
        2 => Just(Deed::Fails),
        1 => Just(Deed::FailsAndStays),
        2 => Just(Deed::EndsWithoutAWord),
        1 => Just(Deed::Reclaimed),
        1 => Just(Deed::TerminatedByUser),
        1 => Just(Deed::StoppedByUser),
        1 => Just(Deed::ClaimsAnother),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => [fate(), fate(), fate()].prop_map(Step::Reconcile),
        1 => Just(Step::Restart),
        3 => (0usize..3, deed()).prop_map(|(n, deed)| Step::Deed(n, deed)),
        2 => (0usize..3).prop_map(Step::Ends),
        2 => Just(Step::Reveal),
        1 => Just(Step::Dark),
        1 => Just(Step::Unreadable),
    ]
}

/// Every machine does its work, and quiet reconciles until nothing changes.
fn converge(world: &mut World, desired: &Desired) -> Result<bool, TestCaseError> {
    for _ in 0..60 {
        world.apply(desired, Step::Reveal);
        let (before, calls) = (world.ledger.clone(), world.calls);
        world.reconcile(desired, &[]);
        world.check(before.progress.finished.map(|finish| finish.outcome))?;
        let idle = world.ledger == before && world.calls == calls;
        for _ in 0..COMPLETIONS {
            world.deed(0, Deed::Succeeds);
            world.apply(desired, Step::Ends(0));
        }
        let gone = world.machines.values().all(|machine| machine.state == InstanceState::Terminated);
        if idle && gone && world.ledger.progress.finished.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The promise: no index twice at once, nothing believed that did not happen, and in the end all of it done and nothing left.
fn keeps_the_promise(broken: Option<Broken>, by_shutdown: bool, steps: &[Step]) -> Result<(), TestCaseError> {
    let result = if by_shutdown { json!({"shutdownReason": {}}) } else { json!({"s3": {"bucket": "results"}}) };
    let wish = desired(json!({
        "completions": COMPLETIONS, "parallelism": PARALLELISM, "backoffLimitPerIndex": BACKOFF, "result": result,
    }));
    let mut world = World::new(broken, by_shutdown);
    for step in steps {
        let finished = world.ledger.progress.finished.map(|finish| finish.outcome);
        world.apply(&wish, *step);
        world.check(finished)?;
    }
    prop_assert!(converge(&mut world, &wish)?, "not done: {:?} {:?}", world.ledger, world.machines);
    let progress = &world.ledger.progress;
    prop_assert_eq!(progress.completed.len() + progress.failed.len(), COMPLETIONS);
    prop_assert!(!world.ledger.is_open(), "something is left on record: {:?}", world.ledger);
    Ok(())
}

fn histories() -> impl Strategy<Value = (bool, Vec<Step>)> {
    (any::<bool>(), prop::collection::vec(step(), 0..40))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn no_index_runs_twice_at_once_and_nothing_is_believed_that_did_not_happen((by_shutdown, steps) in histories()) {
        keeps_the_promise(None, by_shutdown, &steps)?;
    }
}

#[test]
fn each_rule_is_needed() {
    for broken in [
        Broken::RecordLast,
        Broken::NewToken,
        Broken::NoAnswerIsNo,
        Broken::AnsweredIsSeen,
        Broken::UnseenIsGone,
        Broken::LeavingIsGone,
        Broken::CountedAgain,
        Broken::LaunchIndexIgnored,
        Broken::EveryEndCounts,
        Broken::NobodyListed,
        Broken::AnyPlaceCounts,
        Broken::UnreadIsNone,
    ] {
        let config = ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() };
        let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
        let found =
            runner.run(&histories(), |(by_shutdown, steps)| keeps_the_promise(Some(broken), by_shutdown, &steps));
        assert!(found.is_err(), "{broken:?} goes unnoticed");
    }
}
