//! What a fleet adds to the world of all simulations: roles, edits, health, and the guards of its plan.

use std::{collections::BTreeMap, sync::LazyLock, time::Duration};

use rand::{RngExt, rngs::SmallRng};
use serde_json::json;

use crate::{
    crd::worker_fleet::{DeletionPolicy, ReadinessCheck, ScaleDownPolicy},
    ids::{InstanceId, MAIN_ROLE},
    inventory::ownership::Owner,
    kinds::worker_fleet::{
        desired::{Desired, Update},
        plan::{
            State, has_ended, plan, plan_end,
            simulation::{
                oracle::Fleet,
                spec::{BOUNDS, SIDE, Spec},
            },
        },
        sample::desired,
    },
    workers::{
        observe::{counts::counted, health, instances::KnownInstance, observed::Observed},
        plan::{Plan, PlanContext, share::Share},
        simulation::{
            Simulated,
            history::{Step, pick},
            process::{Object, Process, Task, at, wall},
            world::World,
        },
    },
};

const POLICY: DeletionPolicy = DeletionPolicy::Terminate;
/// The status lists only so many, and so few that the count on record matters, too.
const LISTED: u32 = 2;

/// Seconds that an instance has to become ready.
const STARTUP_DEADLINE: u64 = 90;

/// Those that let an update do as it likes.
const BOUNDLESS: [(u32, u32); 2] = [(100, 0), (0, 100)];

/// Parsing is slow, so every template is parsed once.
static TEMPLATES: LazyLock<Vec<Desired>> = LazyLock::new(|| {
    let template = |n: u32| {
        let template = json!({
            "ami": {"id": format!("ami-0000000{n}")},
            "instanceTypes": ["m6i.large", "m5.large"],
            "subnets": {"ids": ["subnet-0000000a", "subnet-0000000b"]},
            "keyName": format!("key-{n}"),
        });
        desired(1, json!({"template": template, "roles": [{"name": SIDE, "replicas": 1}]}))
    };
    (1..4).map(template).collect()
});

static UPDATES: LazyLock<Vec<Update>> = LazyLock::new(|| {
    let update =
        |(surge, unavailable)| desired(1, json!({"update": {"maxSurge": surge, "maxUnavailable": unavailable}})).update;
    BOUNDS.into_iter().chain(BOUNDLESS).map(update).collect()
});

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edit {
    Replicas(u32),
    Side(Option<u32>),
    Template(usize),
    Bounds(usize),
}

/// A guard of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    SurgeBound,
    UnavailabilityBound,
    ReplacementLimit,
    UnhealthyLimit,
}

impl Guard {
    /// The spec that a planner without this guard would follow.
    fn without(self, desired: &Desired) -> Desired {
        let mut desired = desired.clone();
        match self {
            Self::SurgeBound => desired.update = UPDATES[BOUNDS.len()],
            Self::UnavailabilityBound => desired.update = UPDATES[BOUNDS.len() + 1],
            Self::ReplacementLimit => desired.max_replacements = 1000,
            Self::UnhealthyLimit => desired.max_unhealthy = Share::Percent(100),
        }
        desired
    }
}

impl Simulated for Fleet {
    type Spec = Spec;
    type Event = Edit;
    type Rule = Guard;
    type Desired = Desired;
    type Memory = health::ReadinessTracker;
    type Observation = ();

    const EVENTS: u32 = 10;
    /// Many instances are believed in for an hour.
    const DARKNESS: u64 = 900;

    fn draw(rng: &mut SmallRng) -> Spec {
        Spec {
            replicas: rng.random_range(0..7),
            side: rng.random_bool(0.2).then(|| rng.random_range(0..3)),
            template: 0,
            bounds: rng.random_range(0..BOUNDS.len()),
            replacements: pick(rng, &[1, 2, 3, 100]),
            max_unhealthy: pick(rng, &[1, 2, 100]),
            status_checks: rng.random_bool(0.5),
            min_ready: pick(rng, &[0, 0, 20]),
            newest_first: rng.random_bool(0.5),
        }
    }

    fn event(rng: &mut SmallRng, edits: u32) -> Step<Edit> {
        if edits == 0 {
            return Step::Wait(5);
        }
        Step::Event(match (edits, rng.random_range(0..10)) {
            (1, _) | (_, 0..3) => Edit::Replicas(rng.random_range(0..7)),
            (_, 3..7) => Edit::Template(rng.random_range(0..3)),
            (_, 7..9) => Edit::Side(pick(rng, &[None, Some(1), Some(2)])),
            _ => Edit::Bounds(rng.random_range(0..BOUNDS.len())),
        })
    }

    fn new(spec: &Spec) -> Self {
        let mut fleet = Self::default();
        fleet.change_spec(spec);
        fleet
    }

    fn desired(spec: &Spec) -> Desired {
        let mut desired = TEMPLATES[spec.template].clone();
        desired.roles.retain_mut(|role| {
            let replicas = if role.role.as_str() == MAIN_ROLE { Some(spec.replicas) } else { spec.side };
            role.replicas = replicas.unwrap_or_default();
            replicas.is_some()
        });
        desired.update = UPDATES[spec.bounds];
        desired.max_replacements = spec.replacements;
        desired.max_unhealthy = Share::Number(spec.max_unhealthy);
        desired.criteria = health::Criteria {
            check: if spec.status_checks { ReadinessCheck::StatusChecks } else { ReadinessCheck::Running },
            startup_deadline: Duration::from_secs(STARTUP_DEADLINE),
            min_ready: Duration::from_secs(spec.min_ready),
        };
        desired.scale_down = if spec.newest_first { ScaleDownPolicy::Newest } else { ScaleDownPolicy::Oldest };
        desired
    }

    fn owner(desired: &Desired) -> &Owner {
        &desired.owner
    }

    fn listed(_: &World<Self>, object: &Object<Desired>) -> BTreeMap<InstanceId, KnownInstance> {
        object.listed.iter().map(|(id, (known, _))| (id.clone(), known.clone())).collect()
    }

    fn apply(world: &mut World<Self>, edit: Edit) {
        match edit {
            Edit::Replicas(replicas) => world.spec.replicas = replicas,
            Edit::Side(side) => world.spec.side = side,
            Edit::Template(template) => world.spec.template = template,
            Edit::Bounds(bounds) => world.spec.bounds = bounds,
        }
        world.own.change_spec(&world.spec);
        world.edit();
    }

    fn observe(_: &World<Self>, _: &mut Process<Self>, _: &Object<Desired>, _: &mut Observed) {}

    fn plan(
        world: &mut World<Self>,
        process: &mut Process<Self>,
        task: &mut Task<Self>,
        context: &mut PlanContext<'_>,
    ) -> Plan {
        if task.read.deleting {
            return plan_end(POLICY, &task.observed, &task.ledger, context);
        }
        let state = state(&mut process.own, task);
        let unguarded = world.broken().map(|guard| guard.without(&task.read.desired));
        let desired = unguarded.as_ref().unwrap_or(&task.read.desired);
        let next = plan(desired, &state, &task.observed, &task.ledger, context);
        let live = task.observed.instances.shown.values().filter(|worker| !worker.instance.state.is_over());
        let listed = live.map(|worker| (worker.instance.id.clone(), (worker.known.clone(), state.of(worker).ready_at)));
        task.listed = listed.take(LISTED as usize).collect();
        let violation = world.judge(task, &state, &next);
        world.violate(violation);
        next
    }

    fn has_ended(task: &Task<Self>) -> bool {
        has_ended(POLICY, &task.observed, &task.ledger)
    }

    fn check(world: &mut World<Self>) -> Option<String> {
        world.too_many().or_else(|| world.too_many_replaced())
    }

    fn is_as_desired(world: &World<Self>) -> bool {
        let live = || world.ec2.own().filter(|worker| worker.is_live());
        if world.object.deleting {
            return world.gone && live().count() <= world.given_up() as usize;
        }
        let desired = &world.object.desired;
        let exact = desired.roles.iter().all(|role| {
            let current = desired.revision(&role.role).unwrap_or_default();
            let right = live().filter(|m| m.role() == role.role.as_str() && m.instance.tagged_as().revision == current);
            right.count() == role.replicas as usize
        });
        exact && live().count() == desired.total() as usize && !world.object.ledger.is_open()
    }
}

/// How the workers are, as `assess` finds it. It is judged as of when the observation began.
fn state(readiness: &mut health::ReadinessTracker, task: &Task<Fleet>) -> State {
    let listed = task.read.listed.iter().map(|(id, (_, ready_at))| (id.clone(), *ready_at)).collect();
    let input = health::HealthInput {
        instances: &task.observed.instances,
        reporting: None,
        listed: &listed,
        truncated: task.read.ledger.provisioned.iter().map(|role| role.existing).sum::<u32>() > LISTED,
        now: at(task.begun),
        wall: wall(task.begun),
    };
    let desired = &task.read.desired;
    let (health, _) = readiness.observe(&input, &desired.criteria);
    let all = counted(&task.observed.instances, &task.ledger);
    let outdated = desired.roles.iter().map(|role| {
        let current = desired.revision(&role.role).unwrap_or_default();
        let names = all.iter().filter(|head| head.role == role.role.as_str()).map(|head| head.revision);
        let outdated = names.filter(|name| !name.is_empty() && *name != current).map(str::to_owned);
        (role.role.clone(), outdated.collect())
    });
    State { outdated: outdated.collect(), health, ..State::default() }
}
