//! A process of the controller: what it remembers, what it sees of EC2, and a reconcile that can be paused.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::LazyLock,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::{
    clock::Timings,
    ids::{InstanceId, Zone},
    inventory::ownership::Ownership,
    workers::{
        apply::restore,
        finalize::NONE_MISSING,
        launch_spec::{DesiredWorkers, LaunchSpecs},
        ledger::Ledger,
        memory::Memory,
        observe::{
            identity::Identities,
            instances::{KnownInstance, ObservedInstance, ObservedInstances},
            missing::Moment,
            observed::{LaunchFeedback, Observed, Zones},
        },
        plan::{Action, Plan},
        simulation::{
            Rule, Simulated, ec2,
            history::{Fate, Stage},
            world::World,
        },
    },
};

static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);
pub static TIMINGS: LazyLock<Timings> = LazyLock::new(Timings::default);

pub fn at(seconds: u64) -> Instant {
    *BEGINNING + Duration::from_secs(seconds)
}

pub fn wall(seconds: u64) -> Timestamp {
    Timestamp::from_second(seconds as i64).unwrap()
}

/// The object as the API server has it.
#[derive(Clone, Debug)]
pub struct Object<D> {
    pub version: u64,
    pub desired: Rc<D>,
    pub deleting: bool,
    pub ledger: Ledger,
    /// The workers that the status lists beside the record, and since when they are ready.
    pub listed: Listed,
}

pub type Listed = BTreeMap<InstanceId, (KnownInstance, Option<Timestamp>)>;

#[derive(Debug)]
pub struct Process<K: Simulated> {
    pub holder: String,
    pub memory: Memory,
    /// What it remembers beside that.
    pub own: K::Memory,
    pub leads: bool,
    pub task: Option<Task<K>>,
}

/// A reconcile under way.
#[derive(Debug)]
pub struct Task<K: Simulated> {
    pub read: Object<K::Desired>,
    pub observed: Observed,
    pub observation: K::Observation,
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
    /// When EC2 was observed.
    pub begun: u64,
    pub acknowledged: u64,
    /// What becomes of the calls that are still to come.
    pub fates: std::array::IntoIter<Fate, 4>,
}

impl<K: Simulated> Task<K> {
    /// Leaves out the calls for which there is no permit.
    pub fn admit(&mut self) {
        let Some(mut plan) = self.plan.take() else { return };
        let actions = std::mem::take(&mut plan.actions);
        let fated = actions.into_iter().map(|action| (action, self.fates.next().unwrap_or(Fate::Works)));
        let (held, admitted): (Vec<_>, Vec<_>) = fated.partition(|(_, fate)| *fate == Fate::NoPermit);
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

impl<K: Simulated> Process<K> {
    pub fn new(n: usize) -> Self {
        let (memory, own) = (Memory::default(), K::Memory::default());
        Self { holder: format!("muster-{n}"), memory, own, leads: true, task: None }
    }

    /// What `workers::observe` makes of EC2, with the same rules about what is not shown.
    pub fn observe(&mut self, world: &World<K>, read: &Object<K::Desired>) -> Observed {
        let (now, ec2, ledger) = (world.now, &world.ec2, &read.ledger);
        self.memory.follow(ledger, at(now));
        let owner = K::owner(&read.desired);
        let identities = Identities::new(owner, ledger, ec2.launches());
        let mut instances = ObservedInstances::default();
        for instance in ec2.sweep(now) {
            let foreign = owner.claim(&instance, &BTreeSet::new()) == Ownership::Foreign;
            if foreign && world.breaks(Rule::TagIsEnough) || world.breaks(Rule::TagsAreTrue) {
                instances.shown.insert(instance.id.clone(), ObservedInstance::sample(instance));
            } else {
                identities.sort(&instance, &mut instances);
            }
        }
        for (id, worker) in &mut instances.shown {
            worker.checks_passed = ec2.passes_checks(id, now);
        }
        self.resolve_missing(world, read, &mut instances);
        for intent in ledger.launches.iter().filter(|intent| intent.instance_ids.is_empty()) {
            if !intent.is_repeatable(&owner.name_tag(), wall(now)) {
                self.memory.cannot_be_repeated(&intent.token);
            }
        }
        let mut patience = *TIMINGS;
        if world.breaks(Rule::SearchAtOnce) {
            let none = Duration::ZERO;
            (patience.lease, patience.call_deadline, patience.describe_grace) = (none, none, none);
        }
        for token in self.memory.searches(at(now), &patience) {
            let found = ec2.by_token(&token, now).map(|instance| instance.id).collect();
            self.memory.found(&token, found);
        }
        let places = LaunchSpecs::of(read.desired.roles()).places;
        let subnets = places.into_iter().flat_map(|places| &places.subnets);
        let zones = subnets.map(|subnet| (subnet.clone(), Zone::try_from(ec2::zone(subnet)).unwrap())).collect();
        Observed { instances, zones: Zones::Known(zones), feedback: self.feedback(&read.desired, now) }
    }

    pub fn feedback(&mut self, desired: &K::Desired, now: u64) -> LaunchFeedback {
        self.memory.feedback(&LaunchSpecs::of(desired.roles()).revisions, at(now), &TIMINGS)
    }

    fn resolve_missing(&mut self, world: &World<K>, read: &Object<K::Desired>, instances: &mut ObservedInstances) {
        let now = world.now;
        let mut ledger = read.ledger.clone();
        let (mut timings, none) = (*TIMINGS, Duration::ZERO);
        if world.breaks(Rule::MissingIsGone) {
            (timings.describe_grace, timings.overdue) = (none, none);
        } else if world.breaks(Rule::ManyAreGone) {
            timings.overdue = timings.describe_grace;
        } else if world.breaks(Rule::CountIsForgotten) {
            ledger.provisioned.iter_mut().for_each(|role| role.existing = 0);
        }
        let max_missing = if read.deleting { NONE_MISSING } else { read.desired.max_missing() };
        let moment = Moment { begun: at(now), now: at(now), wall: wall(now), timings: &timings, max_missing };
        let missing = self.memory.missing.missing(instances, &ledger, || K::listed(world, read), moment);
        let found = missing.asked.iter().map(|id| (id.clone(), world.ec2.by_id(id, now))).collect();
        let identities = Identities::new(K::owner(&read.desired), &ledger, world.ec2.launches());
        self.memory.missing.conclude(
            missing,
            found,
            |instance| identities.described(instance),
            instances,
            &ledger,
            moment,
        );
    }
}
