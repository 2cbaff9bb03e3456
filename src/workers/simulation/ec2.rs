//! A small model of EC2: tokens, pools, instances, and how late all of it is shown.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::{
    aws::{
        Class, Error,
        ec2::instance::{Instance, InstanceState},
    },
    crd::launches::LaunchIntent,
    ids::{ClientToken, InstanceId, Role, SubnetId},
    inventory::ownership::Owner,
    tags::{INDEXES_TAG, ROLE_TAG},
    workers::{observe::instances::KnownInstance, plan::pools::Pool, simulation::history::Fate},
};

/// EC2 shows what happened after at most so many seconds; the grace is 60.
pub const LAG: u64 = 45;
/// A call without an answer takes effect within so many seconds; the deadline of a call is 30.
const LATE: u64 = 25;
const BOOT: u64 = 10;
/// Checks pass so long after the launch.
const CHECKS: u64 = 20;
const SHUTDOWN: u64 = 20;
/// A terminated instance is shown for so long.
const SHOWN_AFTER_END: u64 = 300;

/// A role that nobody launched.
pub const FORGED: &str = "nope";

/// Codes of EC2's StateReason.
pub const BY_ITSELF: &str = "Client.InstanceInitiatedShutdown";
pub const BY_USER: &str = "Client.UserInitiatedShutdown";
pub const BY_SPOT: &str = "Server.SpotInstanceTermination";

#[derive(Clone, Debug)]
pub struct SimulatedInstance {
    pub instance: Instance,
    /// Not launched by the object that is simulated.
    pub foreign: bool,
    pub sick: bool,
    /// Somebody changed its tags: what they were.
    pub launched_with: Option<BTreeMap<String, String>>,
    launched: u64,
    shown: u64,
    /// Until when nothing is shown of it.
    dark: u64,
    /// Until when it is shown as running although it shuts down.
    outdated: u64,
    /// When its shutdown is over.
    terminated: Option<u64>,
}

impl SimulatedInstance {
    fn new(instance: Instance, launched: u64, shown: u64) -> Self {
        let (foreign, sick, launched_with, dark, outdated, terminated) = (false, false, None, 0, 0, None);
        Self { instance, foreign, sick, launched_with, launched, shown, dark, outdated, terminated }
    }

    pub fn is_live(&self) -> bool {
        !self.instance.state.is_over()
    }

    /// EC2 shows it from `shown` on.
    pub fn shut_down(&mut self, reason: &str, shown: u64) {
        if self.is_live() {
            self.instance.state = InstanceState::ShuttingDown;
            self.instance.state_reason = reason.into();
            (self.outdated, self.terminated) = (shown, Some(shown + SHUTDOWN));
        }
    }

    pub fn stop(&mut self, reason: &str) {
        if self.is_live() && !self.instance.state.is_stopped() {
            self.instance.state = InstanceState::Stopped;
            self.instance.state_reason = reason.into();
        }
    }

    fn tamper(&mut self) {
        if self.launched_with.is_none() {
            self.launched_with = Some(self.instance.tags.clone());
            self.instance.tags.insert(ROLE_TAG.into(), FORGED.into());
        }
    }

    /// What it was launched as.
    pub fn role(&self) -> &str {
        self.launched_with.as_ref().unwrap_or(&self.instance.tags).get(ROLE_TAG).map_or("", String::as_str)
    }

    fn is_forgotten(&self, now: u64) -> bool {
        self.terminated.is_some_and(|terminated| now >= terminated + SHOWN_AFTER_END)
    }

    fn show(&self, now: u64) -> Option<Instance> {
        if now < self.shown.max(self.dark) || self.is_forgotten(now) {
            return None;
        }
        let mut instance = self.instance.clone();
        if now < self.outdated {
            (instance.state, instance.state_reason) = (InstanceState::Running, String::new());
        }
        Some(instance)
    }
}

#[derive(Debug)]
pub struct Ec2 {
    pub instances: BTreeMap<InstanceId, SimulatedInstance>,
    owner: Owner,
    /// The request and its answer. EC2 keeps tokens for each zone, as if they were different.
    launches: BTreeMap<(ClientToken, SubnetId), (LaunchIntent, Vec<InstanceId>)>,
    in_flight: Vec<(u64, LaunchIntent)>,
    full: BTreeMap<Pool, bool>,
    /// When instances were launched.
    pub launched: Vec<u64>,
    /// Whether an instance was lost or fell ill.
    pub harmed: bool,
    /// How often a zone was dark.
    pub darkened: u32,
    /// What must never be asked of EC2, and was.
    pub violation: Option<String>,
    pub calls: usize,
}

pub fn error(class: Class) -> Error {
    Error { operation: "ec2:RunInstances", class, code: format!("{class:?}"), message: String::new() }
}

/// The zone of a subnet is in the last character of its name.
pub fn zone(subnet: &SubnetId) -> String {
    format!("eu-west-1{}", subnet.as_str().chars().last().unwrap_or('a'))
}

impl Ec2 {
    pub fn new(owner: Owner) -> Self {
        Self {
            instances: BTreeMap::new(),
            owner,
            launches: BTreeMap::new(),
            in_flight: Vec::new(),
            full: BTreeMap::new(),
            launched: Vec::new(),
            harmed: false,
            darkened: 0,
            violation: None,
            calls: 0,
        }
    }

    pub fn advance(&mut self, now: u64) {
        let due: Vec<_> = self.in_flight.extract_if(.., |(time, _)| *time <= now).collect();
        for (time, intent) in due {
            let _ = self.run(&intent, Fate::Works, time);
        }
        for worker in self.instances.values_mut() {
            let starts = worker.instance.state == InstanceState::Pending && !worker.sick;
            if starts && now >= worker.launched + BOOT {
                worker.instance.state = InstanceState::Running;
            }
            if worker.terminated.is_some_and(|terminated| now >= terminated) {
                worker.instance.state = InstanceState::Terminated;
            }
        }
    }

    pub fn run_instances(&mut self, intent: &LaunchIntent, fate: Fate, now: u64) -> Result<Vec<InstanceId>, Error> {
        self.calls += 1;
        match fate {
            Fate::Late => self.in_flight.push((now + LATE, intent.clone())),
            Fate::LostBefore => {}
            Fate::LostAfter => drop(self.run(intent, fate, now)),
            Fate::Throttled | Fate::NoPermit => return Err(error(Class::Throttled)),
            Fate::Denied => return Err(error(Class::Denied)),
            Fate::Works | Fate::Lags | Fate::NoCapacity | Fate::Partial | Fate::CrashBefore | Fate::CrashAfter => {
                return self.run(intent, fate, now);
            }
        }
        Err(error(Class::Transient))
    }

    fn run(&mut self, intent: &LaunchIntent, fate: Fate, now: u64) -> Result<Vec<InstanceId>, Error> {
        let key = (intent.token.clone(), intent.subnet.clone());
        let (holder, attempts, replaces, instance_ids) = (String::new(), 1, 0, Vec::new());
        let request = LaunchIntent { holder, attempts, replaces, instance_ids, ..intent.clone() };
        if let Some((known, ids)) = self.launches.get(&key) {
            if *known != request {
                self.violation = Some(format!("{} was repeated with another request", intent.token));
                return Err(error(Class::Conflict));
            }
            return Ok(ids.clone());
        }
        let pool = Pool { subnet: intent.subnet.clone(), instance_type: intent.instance_type.clone() };
        if fate == Fate::NoCapacity || self.full.get(&pool) == Some(&true) {
            return Err(error(Class::NoCapacity));
        }
        if !intent.token.belongs_to(&self.owner.uid) {
            self.violation = Some(format!("{} does not tell whose it is", intent.token));
        }
        if intent.indexes.as_ref().is_some_and(|indexes| indexes.len() != intent.count) {
            self.violation = Some(format!("{} has not one index for each instance", intent.token));
        }
        let count = if fate == Fate::Partial { 1 } else { intent.count };
        let shown = if matches!(fate, Fate::Lags | Fate::LostAfter | Fate::CrashAfter) { now + LAG } else { now };
        let ids: Vec<_> = (0..count).map(|place| self.launch(intent, place, shown, now)).collect();
        self.launches.insert(key, (request, ids.clone()));
        let of_token = self.launches.iter().filter(|((token, _), _)| *token == intent.token);
        if of_token.map(|(_, (_, ids))| ids.len()).sum::<usize>() > intent.count as usize {
            self.violation = Some(format!("{} launched more than its count", intent.token));
        }
        Ok(ids)
    }

    fn launch(&mut self, intent: &LaunchIntent, place: u32, shown: u64, now: u64) -> InstanceId {
        let mut tags = self.owner.tags(&intent.role, &intent.revision);
        tags.extend(intent.indexes.iter().map(|indexes| (INDEXES_TAG.into(), indexes.to_string())));
        let instance = Instance {
            subnet: Some(intent.subnet.clone()),
            zone: zone(&intent.subnet),
            instance_type: intent.instance_type.to_string(),
            launched_at: Timestamp::from_second(now as i64).ok(),
            client_token: intent.token.to_string(),
            launch_index: place,
            tags,
            ..self.next(InstanceState::Pending)
        };
        self.launched.push(now);
        self.add(SimulatedInstance::new(instance, now, shown))
    }

    fn next(&self, state: InstanceState) -> Instance {
        Instance::sample(self.instances.len() as u32 + 1, state)
    }

    fn add(&mut self, worker: SimulatedInstance) -> InstanceId {
        let id = worker.instance.id.clone();
        self.instances.insert(id.clone(), worker);
        id
    }

    /// What was launched so far, as the stored revisions tell it.
    pub fn launches(&self) -> Vec<KnownInstance> {
        let launches = self.launches.values().map(|(intent, _)| (intent.role.clone(), intent.revision.clone()));
        let launches = BTreeSet::from_iter(launches);
        launches.into_iter().map(|(role, revision)| KnownInstance { role, revision }).collect()
    }

    pub fn terminate(&mut self, ids: &[InstanceId], now: u64) {
        self.calls += 1;
        for id in ids {
            if let Some(worker) = self.instances.get_mut(id) {
                if worker.foreign {
                    self.violation = Some(format!("{id} is terminated and is another's"));
                }
                worker.shut_down(BY_USER, now);
            }
        }
    }

    /// What DescribeInstances answers for an id.
    pub fn by_id(&self, id: &InstanceId, now: u64) -> Option<Instance> {
        self.instances.get(id)?.show(now)
    }

    /// Terminated instances are left out: they are shown only to who asks for the id or the token.
    pub fn sweep(&self, now: u64) -> impl Iterator<Item = Instance> + '_ {
        self.all(now).filter(|instance| instance.state != InstanceState::Terminated)
    }

    pub fn by_token<'a>(&'a self, token: &'a ClientToken, now: u64) -> impl Iterator<Item = Instance> + 'a {
        self.all(now).filter(|instance| instance.client_token == token.as_str())
    }

    fn all(&self, now: u64) -> impl Iterator<Item = Instance> + '_ {
        self.instances.values().filter_map(move |worker| worker.show(now))
    }

    /// Instances of a launch that are terminated and not shown any more.
    pub fn forgotten(&self, token: &ClientToken, now: u64) -> impl Iterator<Item = InstanceId> + '_ {
        let token = token.to_string();
        let of_token = self.instances.values().filter(move |worker| worker.instance.client_token == token);
        of_token.filter(move |worker| worker.is_forgotten(now)).map(|worker| worker.instance.id.clone())
    }

    pub fn passes_checks(&self, id: &InstanceId, now: u64) -> bool {
        self.instances.get(id).is_some_and(|worker| !worker.sick && now >= worker.launched + CHECKS)
    }

    pub fn own(&self) -> impl Iterator<Item = &SimulatedInstance> {
        self.instances.values().filter(|worker| !worker.foreign)
    }

    /// Changes the n-th live instance.
    pub fn harm(&mut self, n: usize, act: impl FnOnce(&mut SimulatedInstance)) {
        let mut live = self.instances.values_mut().filter(|worker| worker.is_live() && !worker.foreign);
        self.harmed |= live.nth(n).map(act).is_some();
    }

    /// Somebody changes the role of the n-th live instance.
    pub fn tamper(&mut self, n: usize) {
        let mut live = self.instances.values_mut().filter(|worker| worker.is_live() && !worker.foreign);
        live.nth(n).into_iter().for_each(SimulatedInstance::tamper);
    }

    /// A user launches an instance with the tags of the object.
    pub fn paste(&mut self, now: u64) {
        let instance = self.next(InstanceState::Running);
        let instance = Instance { tags: self.owner.tags(&Role::main(), "web-1"), ..instance };
        self.add(SimulatedInstance { foreign: true, ..SimulatedInstance::new(instance, now, now) });
    }

    /// Hides a zone for some seconds, except for instances of open launches, which were not observed before. An instance
    /// that is hidden for less than the grace period is hidden once only, or it may appear to be hidden continuously.
    pub fn darken(&mut self, zone: &str, open: &[LaunchIntent], now: u64, seconds: u64) {
        self.darkened += 1;
        let is_open =
            |worker: &SimulatedInstance| open.iter().any(|i| i.token.as_str() == worker.instance.client_token);
        let may_hide = |worker: &SimulatedInstance| worker.dark == 0 || seconds > LAG;
        for worker in self.instances.values_mut().filter(|worker| !is_open(worker) && may_hide(worker)) {
            if worker.instance.zone == zone {
                worker.dark = now + seconds;
            }
        }
    }

    pub fn set_capacity(&mut self, pool: Pool, full: bool) {
        self.full.insert(pool, full);
    }

    /// All pools have capacity, and all instances are well.
    pub fn heal(&mut self) {
        self.full.clear();
        for worker in self.instances.values_mut() {
            (worker.dark, worker.sick) = (0, false);
            if let Some(tags) = worker.launched_with.take() {
                worker.instance.tags = tags;
            }
            if worker.instance.state.is_stopped() {
                (worker.instance.state, worker.instance.state_reason) = (InstanceState::Running, String::new());
            }
        }
    }
}
