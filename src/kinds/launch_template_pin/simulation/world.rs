//! The API server and AWS with the processes that act on them, one step after the other.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use crate::{
    aws::{Class, Error},
    crd::launch_template_pin::{LaunchTemplatePinStatus, PinIntent, PinOperation},
    kinds::launch_template_pin::{
        apply::Effect,
        desired::Desired,
        found::Found,
        observed::Observed,
        simulation::{
            Rule,
            aws::{Aws, TEMPLATE, refused, uid, wall},
            history::{Fate, Start, Step},
            oracle::Sent,
            process::{Object, Process, TIMINGS, Task, is_create, millis},
            spec::Spec,
        },
        status::status,
    },
};

/// A cache is behind for at most so many milliseconds.
const STALE: u64 = 20_000;
/// So much later a late call arrives.
const LATE: u64 = 25_000;
/// As the reconcile has it.
const MOST_ROUNDS: usize = 4;

#[derive(Debug)]
pub(super) struct World {
    pub(super) broken: Option<Rule>,
    pub(super) aws: Aws,
    pub(super) nonce: u64,
    starts: usize,
    pub(super) object: Object,
    /// As a cache that is behind has it.
    before: Object,
    touched: u64,
    /// The images that were ever rejected.
    pub(super) rejected: BTreeSet<usize>,
    /// The groups, and their last refreshes, after which muster was about to start one.
    pub(super) begun: BTreeSet<(Option<String>, Option<String>)>,
    /// The refreshes that muster was about to cancel.
    pub(super) cancelled: BTreeSet<String>,
    /// The nonces of all intents that were ever stored.
    pub(super) recorded: BTreeSet<String>,
    leader: Option<Process>,
    paused: Vec<Process>,
    late: Vec<(u64, Sent)>,
    /// The groups that follow, and when a group began or ceased to.
    pub(super) follows: BTreeSet<String>,
    pub(super) changed: BTreeMap<String, u64>,
    pub(super) violation: Option<String>,
    pub(super) steps: usize,
}

impl World {
    pub(super) fn new(spec: Spec, start: Start, broken: Option<Rule>) -> Self {
        let desired = Rc::new(spec.desired());
        let status = LaunchTemplatePinStatus::default();
        let object = Object { version: 1, generation: 1, spec, desired, requested: None, status };
        // At 20 past 10 o'clock.
        let owner = start.taken.then(|| "another".to_owned());
        let mut aws = Aws::new(37_200_000, start.versions, owner);
        aws.cancels_any = broken == Some(Rule::CancelOthers);
        Self {
            broken,
            aws,
            nonce: 0,
            starts: 0,
            before: object.clone(),
            touched: 0,
            object,
            rejected: BTreeSet::new(),
            begun: BTreeSet::new(),
            cancelled: BTreeSet::new(),
            recorded: BTreeSet::new(),
            leader: Some(Process::new(0)),
            paused: vec![],
            late: vec![],
            follows: BTreeSet::new(),
            changed: BTreeMap::new(),
            violation: None,
            steps: 0,
        }
    }

    pub(super) fn breaks(&self, rule: Rule) -> bool {
        self.broken == Some(rule)
    }

    /// The spec as a process takes it that does not keep a rule.
    pub(super) fn believed(&self, read: &Object) -> Desired {
        let mut desired = (*read.desired).clone();
        match self.broken {
            Some(Rule::WindowIgnored) => desired.window = None,
            Some(Rule::ApprovalIgnored) => desired.approved = None,
            Some(Rule::RejectionIgnored) => desired.rejected.clear(),
            _ => {}
        }
        desired
    }

    pub(super) fn blind(&self, observed: &mut Observed) {
        match self.broken {
            Some(Rule::GroupsIgnored) => observed.of_groups.clear(),
            Some(Rule::InstancesIgnored) => observed.running = observed.running.take().map(|_| BTreeSet::new()),
            Some(Rule::FleetsIgnored) => observed.of_fleets = observed.of_fleets.take().map(|_| BTreeSet::new()),
            _ => {}
        }
    }

    pub(super) fn violate(&mut self, violation: Option<String>) {
        if self.violation.is_none() {
            self.violation = violation;
        }
    }

    pub(super) fn apply(&mut self, step: Step) {
        self.steps += 1;
        self.aws.now += 1;
        match step {
            Step::Reconcile { stale, fates, pause } => {
                self.wait(5);
                let behind = stale && self.aws.now <= self.touched + STALE;
                let read = if behind { self.before.clone() } else { self.object.clone() };
                let Some(mut leader) = self.leader.take() else { return };
                let newer = leader.written <= read.version;
                if leader.task.is_none() && newer {
                    leader.begin(self, read, fates);
                    self.lead(leader, pause);
                } else {
                    self.leader = Some(leader);
                }
            }
            Step::Resume => {
                let Some(leader) = self.leader.take() else { return };
                if leader.task.is_some() || self.paused.is_empty() {
                    self.lead(leader, None);
                } else {
                    self.leader = Some(leader);
                    let mut process = self.paused.remove(0);
                    self.run(&mut process, None);
                }
            }
            Step::Abort => self.leader.iter_mut().for_each(|leader| leader.task = None),
            Step::Failover => {
                self.wait(TIMINGS.lease.as_secs());
                let next = self.start();
                let last = self.leader.replace(next);
                let last = last.map(|process| Process { leads: false, ..process });
                self.paused.extend(last.filter(|process| process.task.is_some()));
            }
            Step::Restart => self.leader = Some(self.start()),
            Step::Wait(seconds) => self.wait(seconds),
            Step::User(edit) => self.edit(edit),
            other => self.happen(other),
        }
        self.follow();
    }

    /// Remembers what is in use, and which groups follow.
    pub(super) fn follow(&mut self) {
        self.aws.note_use();
        let (now, desired) = (self.aws.now, &self.object.desired);
        let rows = self.aws.groups.iter().map(|(name, group)| group.row(name));
        let follows: BTreeSet<_> = rows.filter(|row| desired.follow(row).is_some()).map(|row| row.name).collect();
        let changed = follows.symmetric_difference(&self.follows);
        self.changed.extend(changed.map(|name| (name.clone(), now)));
        self.follows = follows;
    }

    fn start(&mut self) -> Process {
        self.starts += 1;
        Process::new(self.starts)
    }

    fn wait(&mut self, seconds: u64) {
        let end = self.aws.now + seconds * 1000;
        let (due, later) = std::mem::take(&mut self.late).into_iter().partition(|(at, _)| *at <= end);
        self.late = later;
        let due: Vec<(u64, Sent)> = due;
        for (at, sent) in due {
            self.aws.now = self.aws.now.max(at);
            let _ = self.arrive(&sent, false);
        }
        self.aws.now = self.aws.now.max(end);
    }

    pub(super) fn touch(&mut self) {
        self.before = self.object.clone();
        self.touched = self.aws.now;
        self.object.version += 1;
    }

    /// Writes a status as `Live::record` does; false is a 409.
    pub(super) fn put(&mut self, process: &mut Process, task: &mut Task, mut status: LaunchTemplatePinStatus) -> bool {
        self.aws.now += 1;
        status.launch_template_id = Some(TEMPLATE.into());
        if task.read.status == status {
            return true;
        }
        if task.read.version != self.object.version && !self.breaks(Rule::BlindWrites) {
            return false;
        }
        self.touch();
        self.recorded.extend(status.intents.iter().map(|intent| intent.nonce.clone()));
        let starts = status.intents.iter().filter(|intent| intent.operation == PinOperation::StartRefresh);
        let cancels = status.intents.iter().filter(|intent| intent.operation == PinOperation::CancelRefresh);
        self.cancelled.extend(cancels.filter_map(|intent| intent.refresh_id.clone()));
        self.begun.extend(starts.map(|intent| (intent.group.clone(), intent.refresh_id.clone())));
        self.object.status = status.clone();
        (task.read.status, task.read.version) = (status, self.object.version);
        process.written = self.object.version;
        true
    }

    /// Lets the leader go on, after which it may be dead.
    fn lead(&mut self, mut leader: Process, pause: Option<super::history::Stage>) {
        let lives = self.run(&mut leader, pause);
        self.leader = Some(if lives { leader } else { self.start() });
    }

    /// Makes a call with its fate; `None` is the end of the process.
    pub(super) fn send(&mut self, sent: Sent, fate: Fate) -> Option<Result<Effect, Error>> {
        let lost = || Err(Error::timed_out("ec2:Simulated"));
        match fate {
            Fate::Works => Some(self.arrive(&sent, false)),
            Fate::Lags => Some(self.arrive(&sent, true)),
            Fate::LostBefore => Some(lost()),
            Fate::LostAfter => {
                let _ = self.arrive(&sent, true);
                Some(lost())
            }
            Fate::Late => {
                self.late.push((self.aws.now + LATE, Sent { late: true, ..sent }));
                Some(lost())
            }
            Fate::Denied => Some(Err(refused(Class::Denied, "UnauthorizedOperation"))),
            Fate::Throttled => Some(Err(refused(Class::Throttled, "RequestLimitExceeded"))),
            Fate::CrashBefore => None,
            Fate::CrashAfter => {
                let _ = self.arrive(&sent, true);
                None
            }
        }
    }

    fn arrive(&mut self, sent: &Sent, lags: bool) -> Result<Effect, Error> {
        self.follow();
        let violation = self.judge_arrival(sent);
        self.violate(violation);
        let answer = self.aws.perform(&sent.intent, lags);
        self.follow();
        answer
    }

    /// The status at the end of a reconcile.
    pub(super) fn outcome(&self, process: &mut Process, task: &Task) -> Option<LaunchTemplatePinStatus> {
        let found = task.look.as_ref()?;
        process.memory.keep_seen(&task.read.status.intents);
        let acts = !task.read.spec.suspend;
        let report = Found {
            desired: &task.desired,
            observed: &found.observed,
            assessment: &found.assessment,
            planned: &found.planned,
            acts,
        };
        let settled = found.step.send.is_empty() && acts;
        let before = if settled { &found.step.record } else { &task.read.status };
        let mut after = status(before.clone(), &report, wall(self.aws.now));
        after.common.observed_generation = Some(task.read.generation);
        after.common.last_handled_requested_at.clone_from(&task.read.requested);
        Some(after)
    }

    pub(super) fn is_last_round(task: &Task) -> bool {
        task.rounds >= MOST_ROUNDS
    }

    pub(super) fn resent(&mut self, task: &Task, intent: &PinIntent) -> PinIntent {
        let mut intent = intent.clone();
        if self.breaks(Rule::NewToken) && is_create(&intent) && !task.new.contains(&intent.nonce) {
            self.nonce += 1_000_000;
            intent.nonce = format!("{:016x}", self.nonce);
            self.recorded.insert(intent.nonce.clone());
        }
        intent
    }

    /// Ends all pauses and faults.
    pub(super) fn heal(&mut self) {
        for mut process in std::mem::take(&mut self.paused) {
            self.run(&mut process, None);
        }
        self.apply(Step::Resume);
        self.aws.stuck.clear();
        self.aws.groups.values_mut().for_each(|group| group.suspended = false);
        self.aws.owner = self.aws.owner.take().filter(|owner| *owner == uid().as_str());
    }

    pub(super) fn is_in_time(task: &Task, now: u64) -> bool {
        now - task.acknowledged <= millis(TIMINGS.send_window)
    }
}
