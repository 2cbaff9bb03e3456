//! The API server and EC2 with the processes that act on them, one step after the other.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use super::{
    super::{Pass, has_ended, plan, plan_end},
    broken::Broken,
    ec2::Ec2,
    history::{Edit, Fate, Stage, Step},
    oracle::Tally,
    process::{LISTED, Object, Process, TIMINGS, Task, at, wall},
    wish::Wish,
};
use crate::{
    aws::Class,
    ids::MAIN_ROLE,
    worker_fleet::crd::DeletionPolicy,
    workers::{
        apply::learn_of_launch,
        draft::Action,
        ledger::{Ledger, Settlement},
        pools::Places,
        roster::Known,
    },
};

const POLICY: DeletionPolicy = DeletionPolicy::Terminate;
const MAX_ROUNDS: usize = 10;
/// A cache is behind for at most so many seconds.
const STALE: u64 = 60;

pub(super) struct World {
    pub broken: Option<Broken>,
    pub now: u64,
    nonce: u64,
    starts: usize,
    pub wish: Wish,
    pub object: Object,
    /// As a cache that is behind has it.
    before: Object,
    touched: u64,
    pub gone: bool,
    pub ec2: Ec2,
    leader: Option<Process>,
    pub paused: Vec<Process>,
    pub tally: Tally,
    pub violation: Option<String>,
}

impl World {
    pub(super) fn new(wish: Wish, broken: Option<Broken>) -> Self {
        let desired = Rc::new(wish.desired());
        let ec2 = Ec2::new(desired.owner.clone());
        let object =
            Object { version: 1, desired, deleting: false, ledger: Ledger::default(), listed: BTreeMap::new() };
        let mut world = Self {
            broken,
            now: 10_000,
            nonce: 0,
            starts: 1,
            tally: Tally::new(&wish),
            wish,
            before: object.clone(),
            touched: 0,
            object,
            gone: false,
            ec2,
            leader: Some(Process::new(0)),
            paused: Vec::new(),
            violation: None,
        };
        world.tally.wished(&world.wish);
        world
    }

    pub(super) fn apply(&mut self, step: Step) {
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
            Step::Death(n, lag) => self.tally.harmed |= self.ec2.kill(n, lag, self.now),
            Step::Stop(n) => self.tally.harmed |= self.ec2.stop(n),
            Step::Sicken(n) => self.tally.harmed |= self.ec2.sicken(n),
            Step::Darkness(n) => {
                let open = &self.object.ledger.launches;
                self.ec2.darken(["a", "b"][n % 2], open, self.now);
                self.tally.darkened += 1;
            }
            Step::Paste => self.ec2.paste(self.now),
            Step::Capacity(n, full) => {
                let pools = |group: &super::super::Group| {
                    group.supplied.supply.as_ref().and_then(|supply| supply.places.pools().nth(n))
                };
                if let Some(pool) = self.object.desired.groups.first().and_then(pools) {
                    self.ec2.set_capacity(pool, full);
                }
            }
            Step::Edit(edit) => self.edit(edit),
            Step::Delete => {
                self.touch();
                self.object.deleting = true;
            }
        }
        self.check();
    }

    pub(super) fn wait(&mut self, seconds: u64) {
        self.now += seconds;
        self.ec2.advance(self.now);
        let unanswered = self.object.ledger.launches.iter().filter(|intent| intent.instance_ids.is_empty());
        for token in unanswered.map(|intent| intent.token.clone()) {
            self.tally.untold.extend(self.ec2.forgotten(&token, self.now));
        }
    }

    fn start(&mut self) -> Process {
        self.starts += 1;
        Process::new(self.starts)
    }

    /// Lets the leader do something, after which it may be dead.
    fn lead(&mut self, act: impl FnOnce(&mut Self, &mut Process) -> bool) {
        let mut leader = self.leader.take().unwrap();
        let lives = act(self, &mut leader);
        self.leader = Some(if lives { leader } else { self.start() });
    }

    fn edit(&mut self, edit: Edit) {
        match edit {
            Edit::Replicas(replicas) => self.wish.replicas = replicas,
            Edit::Side(side) => self.wish.side = side,
            Edit::Template(template) => self.wish.template = template,
            Edit::Bounds(bounds) => self.wish.bounds = bounds,
        }
        self.tally.wished(&self.wish);
        self.touch();
        self.object.desired = Rc::new(self.wish.desired());
    }

    fn touch(&mut self) {
        self.before = self.object.clone();
        self.touched = self.now;
        self.object.version += 1;
    }

    /// A PUT with the version that was read; false is a 409, or that there is no such object.
    fn put(&mut self, task: &mut Task, ledger: &Ledger, with_list: bool) -> bool {
        let changed = self.object.ledger != *ledger || with_list && self.object.listed != task.listed;
        if self.gone || task.read.version != self.object.version && self.broken != Some(Broken::BlindWrites) {
            return false;
        }
        if !changed {
            return true;
        }
        if self.object.deleting && ledger.launches.iter().any(|i| self.object.ledger.launch(&i.token).is_none()) {
            self.violation = Some("a new launch is recorded after the deletion began".into());
        }
        self.touch();
        self.object.ledger = ledger.clone();
        if with_list {
            self.object.listed = task.listed.clone();
        }
        let (victims, roster) = (ledger.victims(), &task.observed.roster);
        self.object.listed.retain(|id, _| !victims.contains(id) && !roster.is_over(id));
        task.read.version = self.object.version;
        true
    }

    fn reconcile(&mut self, process: &mut Process, stale: bool, fates: [Fate; 4], pause: Option<Stage>) -> bool {
        if self.gone || process.task.is_some() {
            return true;
        }
        let behind = stale && self.now <= self.touched + STALE;
        let read = if behind { self.before.clone() } else { self.object.clone() };
        let observed = process.observe(&read, &self.ec2, self.now, self.broken);
        let mut task = Task {
            ledger: read.ledger.clone(),
            listed: read.listed.clone(),
            read,
            observed,
            plan: None,
            calls: Vec::new(),
            held: false,
            stage: Stage::Finish,
            rounds: 0,
            begun: self.now,
            acknowledged: self.now,
            fates,
            called: 0,
        };
        self.plan(process, &mut task);
        process.task = Some(task);
        self.run(process, pause)
    }

    /// Goes on with a reconcile; false is the end of the process.
    pub(super) fn run(&mut self, process: &mut Process, pause: Option<Stage>) -> bool {
        while let Some(mut task) = process.task.take() {
            if pause == Some(task.stage) {
                process.task = Some(task);
                return true;
            }
            match task.stage {
                Stage::Record => {
                    task.admit();
                    let Some(ledger) = task.plan.as_ref().map(|plan| plan.ledger.clone()) else { return true };
                    if self.broken != Some(Broken::RecordLast) && !self.put(&mut task, &ledger, false) {
                        return true;
                    }
                    process.memory.follow(&ledger, at(self.now));
                    process.memory.belief.recorded(&ledger);
                    task.acknowledged = self.now;
                    task.stage = Stage::Send;
                }
                Stage::Send => {
                    let Some(all_sent) = self.send(process, &mut task) else { return false };
                    task.rounds += 1;
                    task.observed.lessons = process.lessons(&task.read.desired, self.now);
                    if all_sent && !task.held && task.rounds < MAX_ROUNDS {
                        self.plan(process, &mut task);
                    } else {
                        task.stage = Stage::Finish;
                    }
                }
                Stage::Finish => {
                    process.memory.belief.recorded(&task.ledger);
                    self.finish(&mut task);
                    return true;
                }
            }
            process.task = Some(task);
        }
        true
    }

    fn plan(&mut self, process: &mut Process, task: &mut Task) {
        let mut nonce = self.nonce;
        let mut draw = || {
            nonce += 1;
            nonce
        };
        let holder = process.holder.clone();
        let mut pass = Pass { now: wall(self.now), holder: &holder, nonce: &mut draw };
        let next = if task.read.deleting {
            plan_end(POLICY, &task.observed, &task.ledger, &mut pass)
        } else {
            let state = process.state(task);
            let next = match self.broken.and_then(|broken| broken.unguarded(&task.read.desired)) {
                Some(unguarded) => plan(&unguarded, &state, &task.observed, &task.ledger, &mut pass),
                None => plan(&task.read.desired, &state, &task.observed, &task.ledger, &mut pass),
            };
            let live = task.observed.roster.machines.values().filter(|machine| !machine.instance.state.is_over());
            let listed = live.map(|machine| {
                (machine.instance.id.clone(), (Known::of(&machine.instance), state.of(machine).ready_at))
            });
            // The status lists only some, and so few here that the count on record matters, too.
            task.listed = listed.take(LISTED as usize).collect();
            self.judge(task, &state, &next);
            next
        };
        self.nonce = nonce;
        if next.actions.is_empty() {
            task.ledger = next.ledger;
            task.stage = Stage::Finish;
        } else {
            task.plan = Some(next);
            task.stage = Stage::Record;
        }
    }

    /// Makes the calls; `None` is the end of the process, and false that something was not sent.
    fn send(&mut self, process: &mut Process, task: &mut Task) -> Option<bool> {
        let plan = task.plan.take()?;
        let desired = task.read.desired.clone();
        let supplies = desired.groups.iter().filter_map(|group| group.supplied.supply.as_ref());
        let places: Vec<&Places> = supplies.map(|supply| &supply.places).collect();
        let window = Duration::from_secs(self.now - task.acknowledged);
        let sendable = process.leads && window <= TIMINGS.send_window || self.broken == Some(Broken::SendLate);
        let (mut ledger, mut outcomes) = (plan.ledger, BTreeMap::new());
        for (action, fate) in plan.actions.into_iter().zip(std::mem::take(&mut task.calls)) {
            if fate == Fate::CrashBefore {
                return None;
            }
            match action {
                Action::Launch(intent) => {
                    let sent = match self.broken {
                        Some(broken) => broken.rendered(&intent, &desired, &mut self.nonce),
                        None => intent.clone(),
                    };
                    let answer = sendable.then(|| self.ec2.run_instances(&sent, fate, self.now));
                    let class = answer.as_ref().and_then(|answer| answer.as_ref().err()).map(|error| error.class);
                    let outcome =
                        learn_of_launch(&mut process.memory, &intent, answer, &places, at(self.now), &TIMINGS);
                    let outcome = match (self.broken, class) {
                        (Some(Broken::NoAnswerIsNo), Some(Class::Transient)) => Settlement::NothingLaunched,
                        (Some(Broken::RefusalIsNo), Some(Class::NoCapacity | Class::Denied)) => {
                            Settlement::NothingLaunched
                        }
                        _ => outcome,
                    };
                    outcomes.insert(intent.token, outcome);
                }
                Action::Terminate(ids) => {
                    if sendable && fate != Fate::LostBefore {
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
        if self.broken == Some(Broken::AnsweredIsSeen) {
            ledger.launches.retain(|intent| intent.instance_ids.is_empty());
        }
        if self.broken == Some(Broken::RecordLast) && !self.put(task, &ledger, false) {
            return Some(false);
        }
        task.ledger = ledger;
        Some(sendable)
    }

    fn finish(&mut self, task: &mut Task) {
        let ledger = task.ledger.clone();
        if task.read.deleting && has_ended(POLICY, &task.observed, &ledger) {
            self.gone |= task.read.version == self.object.version;
        } else {
            self.put(task, &ledger, true);
        }
    }

    pub(super) fn live_by_role(&self) -> BTreeMap<&str, u32> {
        let victims = self.object.ledger.victims();
        let mut live = BTreeMap::new();
        for (id, machine) in &self.ec2.machines {
            if machine.is_live() && !machine.foreign && !victims.contains(id) {
                *live.entry(machine.instance.role()).or_default() += 1;
            }
        }
        debug_assert!(live.keys().all(|role| [MAIN_ROLE, super::wish::SIDE].contains(role)));
        live
    }
}
