//! Fleets, instances and records for tests.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::*;
use crate::{
    aws::ec2::instance::{Instance, InstanceState},
    crd::{
        launches::{LaunchIntent, Termination},
        worker_fleet::{ReadinessCheck, WorkerFleetSpec},
    },
    ids::{ClientToken, SubnetId, Uid, Zone},
    inventory::ownership::Owner,
    kinds::worker_fleet::desired::Desired,
    workers::{
        observe::{instances::ObservedInstances, observed::Zones},
        parameters::Synced,
        plan::Action,
    },
};

pub(super) const UID: &str = "6b4d2a3e-9d0c-4f6e-8f0e-1f7a2b3c4d5e";
pub(super) const EARLIER: &str = "11111111-9d0c-4f6e-8f0e-1f7a2b3c4d5e";

pub(super) fn uid(text: &str) -> Uid {
    Uid::try_from(text).unwrap()
}

pub(super) fn desired(replicas: i32, extra: serde_json::Value) -> Desired {
    let mut spec = json!({
        "replicas": replicas,
        "aws": {"region": "eu-west-1"},
        "template": {
            "ami": {"id": "ami-00000001"},
            "instanceTypes": ["m6i.large", "m5.large"],
            "subnets": {"ids": ["subnet-0000000a", "subnet-0000000b"]},
        },
    });
    spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let spec: WorkerFleetSpec = serde_json::from_value(spec).unwrap();
    let owner = Owner {
        cluster: "c".into(),
        tag: crate::tags::FLEET_TAG,
        namespace: "ns".into(),
        name: "web".into(),
        uid: Uid::try_from(UID).unwrap(),
    };
    Desired::parse(&spec, owner, Synced::default(), |_| None).unwrap().resolved()
}

pub(super) fn id(n: u32) -> InstanceId {
    InstanceId::try_from(format!("i-{n:08x}")).unwrap()
}

pub(super) fn subnet(name: char) -> SubnetId {
    SubnetId::try_from(format!("subnet-0000000{name}")).unwrap()
}

pub(super) fn zones() -> Zones {
    let zone = |name: char| (subnet(name), Zone::try_from(format!("eu-west-1{name}")).unwrap());
    Zones::Known(BTreeMap::from([zone('a'), zone('b')]))
}

pub(super) fn token(n: u64) -> ClientToken {
    ClientToken::new(&uid(UID), n)
}

pub(super) fn worker(n: u32, state: InstanceState) -> ObservedInstance {
    ObservedInstance {
        instance: Instance {
            subnet: Some(subnet('a')),
            launched_at: Some(Timestamp::from_second(1_000 + i64::from(n)).unwrap()),
            client_token: token(900 + u64::from(n)).to_string(),
            ..Instance::sample(n, state)
        },
        swept: true,
        checks_passed: true,
    }
}

pub(super) fn launched_with(token: &ClientToken, n: u32) -> ObservedInstance {
    let mut worker = worker(n, InstanceState::Pending);
    worker.instance.client_token = token.to_string();
    worker
}

pub(super) fn observed(shown: impl IntoIterator<Item = ObservedInstance>) -> Observed {
    let shown = shown.into_iter().map(|worker| (worker.instance.id.clone(), worker)).collect();
    Observed {
        instances: ObservedInstances { shown, ..ObservedInstances::default() },
        zones: zones(),
        ..Observed::default()
    }
}

pub(super) fn running(ids: impl IntoIterator<Item = u32>) -> Observed {
    observed(ids.into_iter().map(|n| worker(n, InstanceState::Running)))
}

pub(super) fn intent(n: u64, holder: &str, count: u32, ids: &[u32]) -> LaunchIntent {
    LaunchIntent {
        holder: holder.into(),
        instance_ids: ids.iter().copied().map(id).collect(),
        started_at: Time(Timestamp::from_second(500).unwrap()),
        ..LaunchIntent::sample(token(n), count)
    }
}

pub(super) fn launches(intents: impl IntoIterator<Item = LaunchIntent>) -> Ledger {
    Ledger { launches: intents.into_iter().collect(), ..Ledger::default() }
}

pub(super) fn victims(ids: &[u32]) -> Ledger {
    let termination = Termination {
        holder: "me".into(),
        reason: TerminationReason::ScaleDown,
        started_at: Time(Timestamp::from_second(500).unwrap()),
        instance_ids: ids.iter().copied().map(id).collect(),
    };
    Ledger { terminations: vec![termination], ..Ledger::default() }
}

pub(super) fn in_context<R>(run: impl FnOnce(&mut PlanContext<'_>) -> R) -> R {
    let mut next = 0;
    let mut nonce = || {
        next += 1;
        next
    };
    run(&mut PlanContext { now: Timestamp::from_second(2_000).unwrap(), holder: "me", nonce: &mut nonce })
}

/// Every running worker whose checks pass is ready and available.
pub(super) fn at_once(desired: &Desired, observed: &Observed) -> State {
    let health = observed.instances.shown.values().map(|worker| {
        let ready = worker.instance.state == InstanceState::Running
            && (desired.readiness.criteria.check == ReadinessCheck::Running || worker.checks_passed);
        (worker.instance.id.clone(), Health { ready, available: ready, was_ready: ready, ..Health::default() })
    });
    State { health: health.collect(), ..State::default() }
}

pub(super) fn planned(desired: &Desired, observed: &Observed, ledger: &Ledger) -> Plan {
    in_context(|context| plan(desired, &at_once(desired, observed), observed, ledger, context))
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
