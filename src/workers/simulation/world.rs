//! The API server and EC2 with the processes that act on them, one step after the other.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

use crate::{
    aws::Class,
    crd::launches::LaunchIntent,
    ids::{ClientToken, InstanceId, SubnetId},
    workers::{
        apply::learn_of_launch,
        launch_spec::{DesiredWorkers, LaunchSpecs},
        ledger::{Ledger, Settlement},
        plan::{Action, PlanContext},
        simulation::{
            Broken, Rule, Simulated,
            ec2::{BY_USER, Ec2, FORGED},
            history::{Fate, Stage, Step},
            process::{Object, Process, TIMINGS, Task, at, wall},
        },
    },
};

const MAX_ROUNDS: usize = 10;
/// A cache is behind for at most so many seconds.
const STALE: u64 = 60;

#[derive(Debug)]
pub struct World<K: Simulated> {
    /// What only this kind has.
    pub own: K,
    broken: Option<Broken<K::Rule>>,
    pub now: u64,
    nonce: u64,
    starts: usize,
    pub spec: K::Spec,
    pub object: Object<K::Desired>,
    /// As a cache that is behind has it.
    before: Object<K::Desired>,
    touched: u64,
    pub gone: bool,
    pub ec2: Ec2,
    leader: Option<Process<K>>,
    paused: Vec<Process<K>>,
    /// Instances that were terminated and forgotten before their launch had an answer: nobody can know of them.
    pub untold: BTreeSet<InstanceId>,
    pub violation: Option<String>,
}

impl<K: Simulated> World<K> {
    pub fn new(spec: K::Spec, broken: Option<Broken<K::Rule>>) -> Self {
        let desired = Rc::new(K::desired(&spec));
        let ec2 = Ec2::new(K::owner(&desired).clone());
        let object =
            Object { version: 1, desired, deleting: false, ledger: Ledger::default(), listed: BTreeMap::new() };
        Self {
            own: K::new(&spec),
            broken,
            now: 10_000,
            nonce: 0,
            starts: 1,
            spec,
            before: object.clone(),
            touched: 0,
            object,
            gone: false,
            ec2,
            leader: Some(Process::new(0)),
            paused: Vec::new(),
            untold: BTreeSet::new(),
            violation: None,
        }
    }

    pub fn breaks(&self, rule: Rule) -> bool {
        self.broken == Some(Broken::Protocol(rule))
    }

    /// The kind's own rule that is not kept.
    pub fn broken(&self) -> Option<K::Rule> {
        match self.broken {
            Some(Broken::Own(rule)) => Some(rule),
            Some(Broken::Protocol(_)) | None => None,
        }
    }

    pub fn violate(&mut self, violation: Option<String>) {
        if self.violation.is_none() {
            self.violation = violation;
        }
    }

    pub fn apply(&mut self, step: Step<K::Event>) {
        match step {
            Step::Reconcile { stale, fates, pause } => {
                self.wait(5);
                self.lead(|world, process| world.reconcile(process, stale, fates, pause));
            }
            Step::Resume => {
                if self.leader.as_ref().is_some_and(|leader| leader.task.is_some()) {
                    self.lead(|world, process| world.run(process, None));
                } else if !self.paused.is_empty() {
                    let mut process = self.paused.remove(0);
                    self.run(&mut process, None);
                }
            }
            Step::Failover => {
                self.wait(TIMINGS.lease.as_secs());
                let mut leader = self.start();
                std::mem::swap(&mut leader, self.leader.as_mut().unwrap());
                leader.leads = false;
                if leader.task.is_some() {
                    self.paused.push(leader);
                }
            }
            Step::Restart => self.leader = Some(self.start()),
            Step::Wait(seconds) => self.wait(seconds),
            Step::Death(n, lag, reason) => self.ec2.harm(n, |worker| worker.shut_down(reason, self.now + lag)),
            Step::Stop(n) => self.ec2.harm(n, |worker| worker.stop(BY_USER)),
            Step::Sicken(n) => self.ec2.harm(n, |worker| worker.sick = true),
            Step::Darkness(n) => {
                let (zone, open) = (["eu-west-1a", "eu-west-1b"][n % 2], &self.object.ledger.launches);
                self.ec2.darken(zone, open, self.now, K::DARKNESS);
            }
            Step::Paste => self.ec2.paste(self.now),
            Step::Tamper(n) => self.ec2.tamper(n),
            Step::Capacity(n, full) => {
                let places = LaunchSpecs::of(self.object.desired.roles()).places;
                if let Some(pool) = places.first().and_then(|places| places.pools().nth(n)) {
                    self.ec2.set_capacity(pool, full);
                }
            }
            Step::Delete => {
                self.touch();
                self.object.deleting = true;
            }
            Step::Event(event) => K::apply(self, event),
        }
        self.check();
    }

    fn check(&mut self) {
        let violation = self.ec2.violation.take().or_else(|| K::check(self));
        self.violate(violation);
    }

    fn wait(&mut self, seconds: u64) {
        self.now += seconds;
        self.ec2.advance(self.now);
        for intent in self.object.ledger.launches.iter().filter(|intent| intent.instance_ids.is_empty()) {
            self.untold.extend(self.ec2.forgotten(&intent.token, self.now));
        }
    }

    fn start(&mut self) -> Process<K> {
        self.starts += 1;
        Process::new(self.starts)
    }

    /// Lets the leader do something, after which it may be dead.
    fn lead(&mut self, act: impl FnOnce(&mut Self, &mut Process<K>) -> bool) {
        let mut leader = self.leader.take().unwrap();
        let lives = act(self, &mut leader);
        self.leader = Some(if lives { leader } else { self.start() });
    }

    /// The user changes the object.
    pub fn edit(&mut self) {
        self.touch();
        self.object.desired = Rc::new(K::desired(&self.spec));
    }

    fn touch(&mut self) {
        self.before = self.object.clone();
        self.touched = self.now;
        self.object.version += 1;
    }

    /// A PUT with the version that was read; false is a 409, or that there is no such object.
    fn put(&mut self, task: &mut Task<K>, ledger: &Ledger, with_list: bool) -> bool {
        let stored = K::stored(ledger);
        let changed = self.object.ledger != stored || with_list && self.object.listed != task.listed;
        if self.gone || task.read.version != self.object.version && !self.breaks(Rule::BlindWrites) {
            return false;
        }
        if !changed {
            return true;
        }
        if self.object.deleting && ledger.launches.iter().any(|i| self.object.ledger.launch(&i.token).is_none()) {
            self.violate(Some("a new launch is recorded after the deletion began".into()));
        }
        self.touch();
        self.object.ledger = stored;
        if with_list {
            self.object.listed = task.listed.clone();
        }
        let (victims, instances) = (ledger.victims(), &task.observed.instances);
        self.object.listed.retain(|id, _| !victims.contains(id) && !instances.is_over(id));
        task.read.version = self.object.version;
        true
    }

    fn reconcile(&mut self, process: &mut Process<K>, stale: bool, fates: [Fate; 4], pause: Option<Stage>) -> bool {
        if self.gone || process.task.is_some() {
            return true;
        }
        let behind = stale && self.now <= self.touched + STALE;
        let read = if behind { self.before.clone() } else { self.object.clone() };
        let mut observed = process.observe(self, &read);
        let observation = K::observe(self, process, &read, &mut observed);
        let mut task = Task {
            ledger: read.ledger.clone(),
            listed: read.listed.clone(),
            read,
            observed,
            observation,
            plan: None,
            calls: Vec::new(),
            held: false,
            stage: Stage::Finish,
            rounds: 0,
            begun: self.now,
            acknowledged: self.now,
            fates: fates.into_iter(),
        };
        self.plan(process, &mut task);
        process.task = Some(task);
        self.run(process, pause)
    }

    /// Goes on with a reconcile; false is the end of the process.
    fn run(&mut self, process: &mut Process<K>, pause: Option<Stage>) -> bool {
        while let Some(mut task) = process.task.take() {
            if pause == Some(task.stage) {
                process.task = Some(task);
                return true;
            }
            match task.stage {
                Stage::Record => {
                    task.admit();
                    let Some(ledger) = task.plan.as_ref().map(|plan| plan.ledger.clone()) else { return true };
                    if !self.breaks(Rule::RecordLast) && !self.put(&mut task, &ledger, false) {
                        return true;
                    }
                    process.memory.follow(&ledger, at(self.now));
                    process.memory.missing.recorded(&ledger);
                    task.acknowledged = self.now;
                    task.stage = Stage::Send;
                }
                Stage::Send => {
                    let Some(all_sent) = self.send(process, &mut task) else { return false };
                    task.rounds += 1;
                    task.observed.feedback = process.feedback(&task.read.desired, self.now);
                    if all_sent && !task.held && task.rounds < MAX_ROUNDS {
                        self.plan(process, &mut task);
                    } else {
                        task.stage = Stage::Finish;
                    }
                }
                Stage::Finish => {
                    process.memory.missing.recorded(&task.ledger);
                    K::finish(self, process, &task);
                    if task.read.deleting && K::has_ended(&task) {
                        self.gone |= task.read.version == self.object.version;
                    } else {
                        let ledger = task.ledger.clone();
                        self.put(&mut task, &ledger, true);
                    }
                    return true;
                }
            }
            process.task = Some(task);
        }
        true
    }

    fn plan(&mut self, process: &mut Process<K>, task: &mut Task<K>) {
        let mut nonce = self.nonce;
        let mut draw = || {
            nonce += 1;
            nonce
        };
        let holder = process.holder.clone();
        let mut context = PlanContext { now: wall(self.now), holder: &holder, nonce: &mut draw };
        let next = K::plan(self, process, task, &mut context);
        self.nonce = nonce;
        let (victims, before) = (next.ledger.victims(), task.ledger.victims());
        let mut chosen = victims.difference(&before).filter_map(|id| task.observed.instances.shown.get(id));
        let forged = chosen.find(|worker| worker.instance.tagged_as().role == FORGED && !task.read.deleting);
        self.violate(forged.map(|worker| format!("{} ends because its tags were changed", worker.instance.id)));
        if next.actions.is_empty() {
            task.ledger = next.ledger;
            task.stage = Stage::Finish;
        } else {
            task.plan = Some(next);
            task.stage = Stage::Record;
        }
    }

    /// Makes the calls; `None` is the end of the process, and false that something was not sent.
    fn send(&mut self, process: &mut Process<K>, task: &mut Task<K>) -> Option<bool> {
        let plan = task.plan.take()?;
        let desired = task.read.desired.clone();
        let places = LaunchSpecs::of(desired.roles()).places;
        let window = Duration::from_secs(self.now - task.acknowledged);
        let sendable = process.leads && window <= TIMINGS.send_window || self.breaks(Rule::SendLate);
        let (mut ledger, mut outcomes) = (plan.ledger, BTreeMap::new());
        for (action, fate) in plan.actions.into_iter().zip(std::mem::take(&mut task.calls)) {
            if fate == Fate::CrashBefore {
                return None;
            }
            match action {
                Action::Launch(intent) => {
                    let sent = self.sent(&intent, &desired);
                    let answer = sendable.then(|| self.ec2.run_instances(&sent, fate, self.now));
                    let class = answer.as_ref().and_then(|answer| answer.as_ref().err()).map(|error| error.class);
                    let outcome =
                        learn_of_launch(&mut process.memory, &intent, answer, &places, at(self.now), &TIMINGS);
                    let outcome = match class {
                        Some(Class::Transient) if self.breaks(Rule::NoAnswerIsNo) => Settlement::NothingLaunched,
                        Some(Class::NoCapacity | Class::Denied) if self.breaks(Rule::RefusalIsNo) => {
                            Settlement::NothingLaunched
                        }
                        _ => outcome,
                    };
                    outcomes.insert(intent.token, outcome);
                }
                Action::Terminate(ids) => {
                    if sendable && fate != Fate::LostBefore {
                        K::terminating(self, &ids);
                        self.ec2.terminate(&ids, self.now);
                        ids.iter().for_each(|id| process.memory.asked(id, at(self.now)));
                    }
                }
            }
            if fate == Fate::CrashAfter {
                return None;
            }
        }
        ledger.settle(&outcomes);
        if self.breaks(Rule::AnsweredIsSeen) {
            ledger.launches.retain(|intent| intent.instance_ids.is_empty());
        }
        if self.breaks(Rule::RecordLast) && !self.put(task, &ledger, false) {
            return Some(false);
        }
        task.ledger = ledger;
        Some(sendable)
    }

    /// The call that an intent becomes.
    fn sent(&mut self, intent: &LaunchIntent, desired: &K::Desired) -> LaunchIntent {
        let mut sent = intent.clone();
        if intent.attempts == 1 {
            return sent;
        }
        if self.breaks(Rule::RepeatOfToday) {
            let role = desired.roles().iter().find(|role| role.role == intent.role);
            if let Some(launch_spec) = role.and_then(|role| role.resolved.launch_spec.as_ref()) {
                sent.revision = launch_spec.revision.name.clone();
                sent.image_id = launch_spec.image.id.clone();
            }
        } else if self.breaks(Rule::NewToken) {
            self.nonce += 1_000_000;
            sent.token = ClientToken::new(&K::owner(desired).uid, self.nonce);
            sent = sent.sealed(&K::owner(desired).name_tag());
        } else if self.breaks(Rule::OtherSubnet) {
            let other = if intent.subnet.as_str().ends_with('a') { 'b' } else { 'a' };
            sent.subnet = SubnetId::try_from(format!("subnet-0000000{other}")).unwrap();
        }
        sent
    }

    /// Ends all pauses and faults, and lets the leader reconcile until nothing is left to do.
    pub fn calm(&mut self) {
        for mut process in std::mem::take(&mut self.paused) {
            self.run(&mut process, None);
            self.check();
        }
        self.apply(Step::Resume);
        self.ec2.heal();
        let mut calls = (self.ec2.calls, self.object.version);
        for reconcile in 0..70 {
            K::calm(self);
            self.wait(if reconcile < 8 { 65 } else { 600 });
            self.apply(Step::Reconcile { stale: false, fates: [Fate::Works; 4], pause: None });
            let quiet = std::mem::replace(&mut calls, (self.ec2.calls, self.object.version)) == calls;
            if self.violation.is_some() || quiet && K::is_as_desired(self) {
                return;
            }
        }
        let live = self.ec2.own().filter(|worker| worker.is_live()).count();
        let (spec, ledger) = (&self.spec, &self.object.ledger);
        self.violation = Some(format!("not as desired in the end: {live} live for {spec:?}, {ledger:?}"));
    }
}
