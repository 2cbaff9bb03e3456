//! Fleets, instances and records for tests.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

pub(super) use crate::workers::sample::*;
use crate::{
    aws::{
        cpu_samples::{CpuSample, CpuSamples},
        ec2::instance::{Instance, InstanceState},
    },
    crd::{
        launches::{LaunchIntent, Termination, TerminationReason},
        worker_fleet::ReadinessCheck,
    },
    ids::{ClientToken, InstanceId, SubnetId},
    inventory::ownership::Owner,
    kinds::worker_fleet::{
        desired::Desired,
        plan::{plan, state::State},
    },
    workers::{
        ledger::Ledger,
        observe::{
            health::Health,
            instances::{ObservedInstance, ObservedInstances},
            observed::Observed,
        },
        parameters::Synced,
        plan::{Action, Blocker, Plan},
    },
};

pub(super) fn desired(replicas: i32, fields: serde_json::Value) -> Desired {
    let spec = spec(json!({"replicas": replicas}), fields);
    Desired::parse(&spec, Owner::sample(UID), Synced::default(), |_| None).unwrap().resolved()
}

pub(super) fn token(n: u64) -> ClientToken {
    ClientToken::new(&uid(UID), n)
}

pub(super) fn worker(n: u32, state: InstanceState) -> ObservedInstance {
    let instance = Instance {
        subnet: Some(subnet('a')),
        launched_at: Some(at(1_000 + i64::from(n))),
        client_token: token(900 + u64::from(n)).to_string(),
        ..Instance::sample(n, state)
    };
    ObservedInstance::sample(instance)
}

pub(super) fn launched_with(token: &ClientToken, n: u32) -> ObservedInstance {
    let mut worker = worker(n, InstanceState::Pending);
    worker.instance.client_token = token.to_string();
    worker
}

pub(super) fn observed(shown: impl IntoIterator<Item = ObservedInstance>) -> Observed {
    let shown = shown.into_iter().map(|worker| (worker.instance.id.clone(), worker)).collect();
    let instances = ObservedInstances { shown, ..ObservedInstances::default() };
    Observed { instances, zones: zones(), ..Observed::default() }
}

pub(super) fn running(ids: impl IntoIterator<Item = u32>) -> Observed {
    observed(ids.into_iter().map(|n| worker(n, InstanceState::Running)))
}

pub(super) fn intent(n: u64, holder: &str, count: u32, ids: &[u32]) -> LaunchIntent {
    LaunchIntent {
        holder: holder.into(),
        instance_ids: ids.iter().copied().map(id).collect(),
        started_at: Time(at(500)),
        ..LaunchIntent::sample(token(n), count)
    }
}

pub(super) fn launches(intents: impl IntoIterator<Item = LaunchIntent>) -> Ledger {
    Ledger { launches: intents.into_iter().collect(), ..Ledger::default() }
}

pub(super) fn victims(ids: &[u32]) -> Ledger {
    let (reason, instance_ids) = (TerminationReason::ScaleDown, ids.iter().copied().map(id).collect());
    let termination = Termination { holder: "me".into(), reason, started_at: Time(at(500)), instance_ids };
    Ledger { terminations: vec![termination], ..Ledger::default() }
}

/// Every running worker whose checks pass is ready and available.
pub(super) fn at_once(desired: &Desired, observed: &Observed) -> State {
    let health = observed.instances.shown.values().map(|worker| {
        let ready = worker.instance.state == InstanceState::Running
            && (desired.criteria.check == ReadinessCheck::Running || worker.checks_passed);
        (worker.instance.id.clone(), Health { ready, available: ready, was_ready: ready, ..Health::default() })
    });
    State { health: health.collect(), ..State::default() }
}

pub(super) fn planned(desired: &Desired, observed: &Observed, ledger: &Ledger) -> Plan {
    in_context(2_000, |context| plan(desired, &at_once(desired, observed), observed, ledger, context))
}

/// Without the provisioned counts.
pub(super) fn bare(ledger: Ledger) -> Ledger {
    Ledger { provisioned: vec![], ..ledger }
}

pub(super) fn blocker(plan: &Plan) -> Option<Blocker> {
    plan.blockers.values().min().copied()
}

pub(super) fn launched(plan: &Plan) -> Vec<(&SubnetId, &str, u32)> {
    let calls = plan.actions.iter().filter_map(|action| match action {
        Action::Launch(intent) => Some((&intent.subnet, intent.instance_type.as_str(), intent.count)),
        Action::Terminate(_) => None,
    });
    calls.collect()
}

pub(super) fn terminated(plan: &Plan) -> Vec<InstanceId> {
    let calls = plan.actions.iter().filter_map(|action| match action {
        Action::Launch(_) => None,
        Action::Terminate(ids) => Some(ids.clone()),
    });
    calls.flatten().collect()
}

/// The CPU of instances in percent, as of `second`.
pub(super) fn samples(percents: &[(u32, f64)], second: i64) -> CpuSamples {
    percents.iter().map(|(n, percent)| (id(*n), CpuSample { percent: *percent, at: at(second) })).collect()
}
