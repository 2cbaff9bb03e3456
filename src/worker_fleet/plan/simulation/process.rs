//! A process of the controller: what it remembers, what it sees of EC2, and a reconcile that can be paused.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::LazyLock,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{
    super::{State, sample::zones},
    broken::Broken,
    ec2::Ec2,
    history::{Fate, Stage},
};
use crate::{
    clock::Timings,
    ids::InstanceId,
    worker_fleet::desired::Desired,
    workers::{
        apply::restore,
        belief::Moment,
        draft::{Action, Observed, Plan},
        headcount::heads,
        health::Sight,
        instance::Instance,
        ledger::Ledger,
        look::NONE_MAY_VANISH,
        memory::Memory,
        ownership::Claim,
        roster::{Known, Roster, Sighting},
    },
};

static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);
/// So many workers are listed one by one.
pub(super) const LISTED: u32 = 2;
pub(super) static TIMINGS: LazyLock<Timings> = LazyLock::new(Timings::default);

pub(super) fn at(seconds: u64) -> Instant {
    *BEGINNING + Duration::from_secs(seconds)
}

pub(super) fn wall(seconds: u64) -> Timestamp {
    Timestamp::from_second(seconds as i64).unwrap()
}

/// The fleet as the API server has it.
#[derive(Clone)]
pub(super) struct Object {
    pub version: u64,
    pub desired: Rc<Desired>,
    pub deleting: bool,
    pub ledger: Ledger,
    /// The workers that the status lists, and since when they are ready.
    pub listed: Listed,
}

pub(super) type Listed = BTreeMap<InstanceId, (Known, Option<Timestamp>)>;

pub(super) struct Process {
    pub holder: String,
    pub memory: Memory,
    pub leads: bool,
    pub task: Option<Task>,
}

/// A reconcile under way.
pub(super) struct Task {
    pub read: Object,
    pub observed: Observed,
    pub ledger: Ledger,
    pub listed: Listed,
    /// What is to be recorded and sent next.
    pub plan: Option<Plan>,
    /// What becomes of each of its calls.
    pub calls: Vec<Fate>,
    /// Whether a call has to wait.
    pub held: bool,
    pub stage: Stage,
    pub rounds: usize,
    /// How workers are is judged as of when the look began.
    pub begun: u64,
    pub acknowledged: u64,
    pub fates: [Fate; 4],
    pub called: usize,
}

impl Task {
    fn fate(&mut self) -> Fate {
        self.called += 1;
        self.fates.get(self.called - 1).copied().unwrap_or(Fate::Works)
    }

    /// Leaves out the calls for which there is no permit.
    pub(super) fn admit(&mut self) {
        let Some(mut plan) = self.plan.take() else { return };
        let actions = std::mem::take(&mut plan.actions);
        let fated: Vec<_> = actions.into_iter().map(|action| (action, self.fate())).collect();
        let (held, admitted): (Vec<_>, _) = fated.into_iter().partition(|(_, fate)| *fate == Fate::NoPermit);
        self.held = !held.is_empty();
        for (action, _) in held {
            if let Action::Launch(intent) = action {
                restore(&mut plan.ledger, &self.ledger, &intent.token);
            }
        }
        (plan.actions, self.calls) = admitted.into_iter().unzip();
        self.plan = Some(plan);
    }
}

impl Process {
    pub(super) fn new(n: usize) -> Self {
        Self { holder: format!("muster-{n}"), memory: Memory::default(), leads: true, task: None }
    }

    /// What `observe` makes of EC2, with the same rules about what is not shown.
    pub(super) fn observe(&mut self, read: &Object, ec2: &Ec2, now: u64, broken: Option<Broken>) -> Observed {
        let ledger = &read.ledger;
        self.memory.follow(ledger, at(now));
        let owner = &read.desired.owner;
        let mut roster = Roster::default();
        for instance in ec2.sweep(now) {
            let id = instance.id.clone();
            match owner.claim(&instance, &BTreeSet::new()) {
                Claim::Owned => {}
                Claim::Stranger if broken == Some(Broken::TagIsEnough) => {}
                Claim::Stranger => {
                    roster.strangers.insert(id);
                    continue;
                }
                Claim::Orphan(_) | Claim::None => continue,
            }
            let checks_passed = ec2.passes_checks(&id, now);
            roster.machines.insert(id, Sighting { instance, swept: true, checks_passed });
        }
        self.resolve_missing(read, ec2, &mut roster, now, broken);
        for intent in ledger.launches.iter().filter(|intent| intent.instance_ids.is_empty()) {
            if !intent.is_repeatable(wall(now)) {
                self.memory.cannot_be_repeated(&intent.token);
            }
        }
        let patience = match broken {
            Some(Broken::SearchAtOnce) => {
                let none = Duration::ZERO;
                Timings { lease: none, call_deadline: none, describe_grace: none, ..*TIMINGS }
            }
            _ => *TIMINGS,
        };
        for token in self.memory.searches(at(now), &patience) {
            let found = ec2.with_token(&token, now).map(|instance| instance.id).collect();
            self.memory.found(&token, found);
        }
        let lessons = self.lessons(&read.desired, now);
        Observed { roster, zones: zones(), lessons }
    }

    pub(super) fn lessons(&mut self, desired: &Desired, now: u64) -> crate::workers::draft::Lessons {
        self.memory.lessons(&desired.revisions(), at(now), &TIMINGS)
    }

    fn resolve_missing(&mut self, read: &Object, ec2: &Ec2, roster: &mut Roster, now: u64, broken: Option<Broken>) {
        let mut ledger = read.ledger.clone();
        let (mut timings, none) = (*TIMINGS, Duration::ZERO);
        match broken {
            Some(Broken::UnseenIsGone) => (timings.describe_grace, timings.vanished) = (none, none),
            Some(Broken::ManyAreGone) => timings.vanished = timings.describe_grace,
            Some(Broken::CountIsForgotten) => ledger.provisioned.iter_mut().for_each(|group| group.existing = 0),
            Some(_) | None => {}
        }
        let may_vanish = if read.deleting { NONE_MAY_VANISH } else { read.desired.max_unhealthy };
        let moment = Moment { begun: at(now), now: at(now), wall: wall(now), timings: &timings, may_vanish };
        let listed = || read.listed.iter().map(|(id, (known, _))| (id.clone(), known.clone())).collect();
        let missing = self.memory.belief.missing(roster, &ledger, listed, moment);
        let found = missing.asked.iter().map(|id| (id.clone(), ec2.shown(id, now))).collect();
        let owner = &read.desired.owner;
        let is_owned = |instance: &Instance| owner.claim(instance, &BTreeSet::new()) == Claim::Owned;
        self.memory.belief.conclude(missing, found, is_owned, roster, &ledger, moment);
    }

    /// How the workers are, as `Insight` finds it.
    pub(super) fn state(&mut self, task: &Task) -> State {
        let now = task.begun;
        let listed = task.read.listed.iter().map(|(id, (_, ready_at))| (id.clone(), *ready_at)).collect();
        let roster = &task.observed.roster;
        let truncated = task.read.ledger.provisioned.iter().map(|group| group.existing).sum::<u32>() > LISTED;
        let sight = Sight { roster, reporting: None, listed: &listed, truncated, now: at(now), wall: wall(now) };
        let desired = &task.read.desired;
        let (health, _) = self.memory.pulse.feel(&sight, &desired.readiness.criteria);
        let all = heads(&task.observed.roster, &task.ledger);
        let outdated = desired.groups.iter().map(|group| {
            let current = group.supplied.supply.as_ref().map_or("", |supply| supply.revision.name.as_str());
            let names = all.iter().filter(|head| head.role == group.role.as_str()).map(|head| head.revision);
            let outdated = names.filter(|name| !name.is_empty() && *name != current).map(str::to_owned);
            (group.role.clone(), outdated.collect())
        });
        State { outdated: outdated.collect(), health, ..State::default() }
    }
}
