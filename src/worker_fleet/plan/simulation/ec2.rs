//! A small model of EC2: tokens, pools, machines, and how late all of it is shown.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{
    super::sample::machine,
    history::{Fate, Lag},
};
use crate::{
    aws::{Class, Error},
    ids::{ClientToken, InstanceId, SubnetId},
    workers::{
        instance::{Instance, InstanceState},
        launch::LaunchIntent,
        ownership::{CLUSTER_TAG, OWNER_TAG, Owner},
        pools::Pool,
    },
};

/// EC2 shows what happened after at most so many seconds; the grace is 60.
const LAG: u64 = 45;
/// A call without an answer takes effect within so many seconds; the deadline of a call is 30.
const LATE: u64 = 25;
/// For how long a zone is not shown; many machines are believed in for an hour.
const DARKNESS: u64 = 900;
const BOOT: u64 = 10;
/// Checks pass so long after the launch.
const CHECKS: u64 = 20;
/// What ended is shown for so long.
const SHOWN_AFTER_END: u64 = 300;

#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub instance: Instance,
    /// Not launched by the fleet.
    pub foreign: bool,
    pub sick: bool,
    launched: u64,
    shown: u64,
    /// Until when nothing is shown of it.
    dark: u64,
    ended: Option<u64>,
}

impl Machine {
    pub(super) fn is_live(&self) -> bool {
        !self.instance.state.is_over()
    }

    fn end(&mut self, now: u64) {
        if self.is_live() {
            self.instance.state = InstanceState::Terminated;
            self.ended = Some(now);
        }
    }
}

struct Launch {
    request: LaunchIntent,
    ids: Vec<InstanceId>,
}

pub(super) struct Ec2 {
    pub machines: BTreeMap<InstanceId, Machine>,
    owner: Owner,
    /// EC2 keeps tokens for each zone, as if they were different.
    launches: BTreeMap<(ClientToken, SubnetId), Launch>,
    in_flight: Vec<(u64, LaunchIntent)>,
    full: BTreeSet<Pool>,
    /// When machines were launched.
    pub launched: Vec<u64>,
    /// What must never be asked of EC2, and was.
    pub violation: Option<String>,
    pub calls: usize,
}

fn error(class: Class) -> Error {
    Error { operation: "ec2:RunInstances", class, code: format!("{class:?}"), message: String::new() }
}

impl Ec2 {
    pub(super) fn new(owner: Owner) -> Self {
        Self {
            machines: BTreeMap::new(),
            owner,
            launches: BTreeMap::new(),
            in_flight: Vec::new(),
            full: BTreeSet::new(),
            launched: Vec::new(),
            violation: None,
            calls: 0,
        }
    }

    pub(super) fn advance(&mut self, now: u64) {
        let due: Vec<_> = self.in_flight.extract_if(.., |(time, _)| *time <= now).collect();
        for (time, intent) in due {
            let _ = self.run(&intent, Fate::Works, time);
        }
        for machine in self.machines.values_mut() {
            let starts = machine.instance.state == InstanceState::Pending && !machine.sick;
            if starts && now >= machine.launched + BOOT {
                machine.instance.state = InstanceState::Running;
            }
        }
    }

    pub(super) fn run_instances(
        &mut self,
        intent: &LaunchIntent,
        fate: Fate,
        now: u64,
    ) -> Result<Vec<InstanceId>, Error> {
        self.calls += 1;
        match fate {
            Fate::LostBefore => return Err(error(Class::Transient)),
            Fate::Late => {
                self.in_flight.push((now + LATE, intent.clone()));
                return Err(error(Class::Transient));
            }
            Fate::Throttled | Fate::NoPermit => return Err(error(Class::Throttled)),
            Fate::Denied => return Err(error(Class::Denied)),
            Fate::Works
            | Fate::Lags
            | Fate::LostAfter
            | Fate::NoCapacity
            | Fate::Partial
            | Fate::CrashBefore
            | Fate::CrashAfter => {}
        }
        let answer = self.run(intent, fate, now);
        if fate == Fate::LostAfter { Err(error(Class::Transient)) } else { answer }
    }

    fn run(&mut self, intent: &LaunchIntent, fate: Fate, now: u64) -> Result<Vec<InstanceId>, Error> {
        let key = (intent.token.clone(), intent.subnet.clone());
        if let Some(launch) = self.launches.get(&key) {
            if !is_same(&launch.request, intent) {
                self.violation = Some(format!("{} was repeated with another request", intent.token));
                return Err(error(Class::Conflict));
            }
            return Ok(launch.ids.clone());
        }
        let pool = Pool { subnet: intent.subnet.clone(), instance_type: intent.instance_type.clone() };
        if fate == Fate::NoCapacity || self.full.contains(&pool) {
            return Err(error(Class::NoCapacity));
        }
        if !intent.token.belongs_to(&self.owner.uid) {
            self.violation = Some(format!("{} does not tell whose it is", intent.token));
        }
        let count = if fate == Fate::Partial { 1 } else { intent.count };
        let shown = if matches!(fate, Fate::Lags | Fate::LostAfter | Fate::CrashAfter) { now + LAG } else { now };
        let ids: Vec<_> = (0..count).map(|_| self.launch(intent, shown, now)).collect();
        self.launches.insert(key, Launch { request: intent.clone(), ids: ids.clone() });
        let of_token = self.launches.iter().filter(|((token, _), _)| *token == intent.token);
        if of_token.map(|(_, launch)| launch.ids.len()).sum::<usize>() > intent.count as usize {
            self.violation = Some(format!("{} launched more than its count", intent.token));
        }
        Ok(ids)
    }

    fn launch(&mut self, intent: &LaunchIntent, shown: u64, now: u64) -> InstanceId {
        let n = self.machines.len() as u32 + 1;
        let zone = intent.subnet.as_str().chars().last().unwrap_or('a');
        let instance = Instance {
            subnet: Some(intent.subnet.clone()),
            zone: format!("eu-west-1{zone}"),
            instance_type: intent.instance_type.to_string(),
            launched_at: Timestamp::from_second(now as i64).ok(),
            client_token: intent.token.to_string(),
            tags: self.owner.tags(&intent.role, &intent.revision),
            ..machine(n, InstanceState::Pending).instance
        };
        self.launched.push(now);
        self.add(Machine { instance, foreign: false, sick: false, launched: now, shown, dark: 0, ended: None })
    }

    fn add(&mut self, machine: Machine) -> InstanceId {
        let id = machine.instance.id.clone();
        self.machines.insert(id.clone(), machine);
        id
    }

    pub(super) fn terminate(&mut self, ids: &[InstanceId], now: u64) {
        self.calls += 1;
        for id in ids {
            if let Some(machine) = self.machines.get_mut(id) {
                if machine.foreign {
                    self.violation = Some(format!("{id} is ended and is not the fleet's"));
                }
                machine.end(now);
            }
        }
    }

    /// What EC2 shows of a machine.
    pub(super) fn shown(&self, id: &InstanceId, now: u64) -> Option<Instance> {
        let machine = self.machines.get(id)?;
        if now < machine.shown || now < machine.dark {
            return None;
        }
        match machine.ended {
            Some(ended) if now < ended => Some(Instance { state: InstanceState::Running, ..machine.instance.clone() }),
            Some(ended) if now >= ended + SHOWN_AFTER_END => None,
            Some(_) | None => Some(machine.instance.clone()),
        }
    }

    /// What is terminated is left out, and shown only to who asks for its id or its token.
    pub(super) fn sweep(&self, now: u64) -> impl Iterator<Item = Instance> + '_ {
        self.all(now).filter(|instance| instance.state != InstanceState::Terminated)
    }

    pub(super) fn with_token<'a>(&'a self, token: &'a ClientToken, now: u64) -> impl Iterator<Item = Instance> + 'a {
        self.all(now).filter(|instance| instance.client_token == token.as_str())
    }

    fn all(&self, now: u64) -> impl Iterator<Item = Instance> + '_ {
        self.machines.keys().filter_map(move |id| self.shown(id, now))
    }

    /// Machines of a launch that ended, and that EC2 shows no more.
    pub(super) fn forgotten(&self, token: &ClientToken, now: u64) -> impl Iterator<Item = InstanceId> + '_ {
        let token = token.to_string();
        let of_token = self.machines.values().filter(move |machine| machine.instance.client_token == token);
        let forgotten =
            of_token.filter(move |machine| machine.ended.is_some_and(|ended| now >= ended + SHOWN_AFTER_END));
        forgotten.map(|machine| machine.instance.id.clone())
    }

    pub(super) fn passes_checks(&self, id: &InstanceId, now: u64) -> bool {
        self.machines.get(id).is_some_and(|machine| !machine.sick && now >= machine.launched + CHECKS)
    }

    fn nth_live(&mut self, n: usize) -> Option<&mut Machine> {
        self.machines.values_mut().filter(|machine| machine.is_live() && !machine.foreign).nth(n)
    }

    /// Whether there was such a machine.
    pub(super) fn kill(&mut self, n: usize, lag: Lag, now: u64) -> bool {
        let shown = match lag {
            Lag::None => now,
            Lag::Some => now + LAG,
        };
        self.nth_live(n).map(|machine| machine.end(shown)).is_some()
    }

    pub(super) fn stop(&mut self, n: usize) -> bool {
        self.nth_live(n).map(|machine| machine.instance.state = InstanceState::Stopped).is_some()
    }

    pub(super) fn sicken(&mut self, n: usize) -> bool {
        self.nth_live(n).map(|machine| machine.sick = true).is_some()
    }

    /// A machine that somebody launched with tags copied from the fleet's.
    pub(super) fn paste(&mut self, now: u64) {
        let n = self.machines.len() as u32 + 1;
        let mut instance = machine(n, InstanceState::Running).instance;
        let owner = &self.owner;
        instance.tags = owner.tags(&crate::ids::Role::main(), "web-1");
        instance.client_token = String::new();
        debug_assert!(instance.tags.contains_key(CLUSTER_TAG) && instance.tags.contains_key(OWNER_TAG));
        self.add(Machine { instance, foreign: true, sick: false, launched: now, shown: now, dark: 0, ended: None });
    }

    /// Shows nothing of a zone for a while, but for what open launches brought: nobody can miss what he never saw.
    pub(super) fn darken(&mut self, zone: &str, open: &[LaunchIntent], now: u64) {
        let is_open = |machine: &Machine| open.iter().any(|i| i.token.as_str() == machine.instance.client_token);
        for machine in self.machines.values_mut().filter(|machine| !is_open(machine)) {
            if machine.instance.zone == format!("eu-west-1{zone}") {
                machine.dark = now + DARKNESS;
            }
        }
    }

    pub(super) fn set_capacity(&mut self, pool: Pool, full: bool) {
        if full {
            self.full.insert(pool)
        } else {
            self.full.remove(&pool)
        };
    }

    /// All pools have capacity, and all machines are well.
    pub(super) fn heal(&mut self) {
        self.full.clear();
        for machine in self.machines.values_mut() {
            machine.dark = 0;
            machine.sick = false;
            if machine.instance.state.is_stopped() {
                machine.instance.state = InstanceState::Running;
            }
        }
    }
}

/// Whether two calls ask for the same, to the byte.
fn is_same(one: &LaunchIntent, other: &LaunchIntent) -> bool {
    let bare = |intent: &LaunchIntent| LaunchIntent {
        holder: String::new(),
        attempts: 1,
        replaces: 0,
        instance_ids: Vec::new(),
        ..intent.clone()
    };
    bare(one) == bare(other)
}
