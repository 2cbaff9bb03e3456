//! The controller, with what it has on record and what it remembers.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{
    super::{
        tests::{UID, uid, zones},
        *,
    },
    broken::Broken,
    ec2::{Answer, Machine},
    history::{Fate, Step},
};
use crate::{
    aws,
    clock::Timings,
    ids::ClientToken,
    worker_job::{
        results::{Place, Results, Told},
        sight::Memory,
    },
    workers::{
        draft::{Action, Lessons},
        instance::{Described, Instance},
        ledger::Settlement,
        ownership::INDEXES_TAG,
        pools::Pool,
        roster::{Known, Roster},
    },
};

pub(super) struct World {
    pub broken: Option<Broken>,
    pub by_shutdown: bool,
    pub machines: BTreeMap<InstanceId, Machine>,
    pub tokens: BTreeMap<ClientToken, Vec<InstanceId>>,
    pub results: BTreeMap<(u32, InstanceId), Told>,
    /// What really happened to each index.
    pub succeeded: BTreeSet<u32>,
    pub failures: BTreeMap<u32, u32>,
    /// The status as the API server has it.
    pub ledger: Ledger,
    /// Memory of the controller.
    pub known: BTreeMap<InstanceId, Known>,
    pub memory: Memory,
    pub cooling: BTreeSet<Pool>,
    pub nonce: u64,
    pub calls: usize,
    pub unreadable: bool,
    /// Ended by muster before its success was on record.
    pub lost: Vec<InstanceId>,
}

impl World {
    pub(super) fn new(broken: Option<Broken>, by_shutdown: bool) -> Self {
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
            subnet: Some(machine.subnet.clone()),
            client_token: machine.token.to_string(),
            tags: BTreeMap::from([(INDEXES_TAG.into(), machine.indexes.to_string())]),
            launch_index,
            state_reason: machine.reason.into(),
            ..Instance::sample(0, machine.state)
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
        let mut described: Described = shown.map(|id| (id.clone(), Some(self.instance(id)))).collect();
        if self.broken == Some(Broken::LeavingIsGone) {
            described.values_mut().flatten().for_each(|instance| instance.state = InstanceState::Terminated);
        }
        if self.broken == Some(Broken::EveryEndCounts) {
            let shut_down = "Client.InstanceInitiatedShutdown";
            described.values_mut().flatten().for_each(|instance| instance.state_reason = shut_down.into());
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
    pub(super) fn reconcile(&mut self, desired: &Desired, fates: &[Fate]) {
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

    fn restart(&mut self) {
        if self.broken == Some(Broken::NobodyListed) {
            self.ledger.progress.holders.clear();
        }
        self.known = self.ledger.progress.holders.keys().map(|id| (id.clone(), Known::default())).collect();
        self.memory = Memory::default();
        self.cooling.clear();
    }

    pub(super) fn apply(&mut self, desired: &Desired, step: Step) {
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
}

fn refusal() -> aws::Error {
    aws::Error {
        operation: "ec2:RunInstances",
        class: aws::Class::NoCapacity,
        code: "InsufficientInstanceCapacity".into(),
        message: String::new(),
    }
}
