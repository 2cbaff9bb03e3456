//! Jobs, instances and their indexes for tests.

use std::collections::BTreeMap;

use serde_json::json;

pub(super) use crate::workers::sample::*;
use crate::{
    aws::ec2::instance::{Instance, InstanceState},
    crd::{template::Placement, worker_job::WorkerJobSpec},
    ids::ClientToken,
    inventory::ownership::Owner,
    kinds::worker_job::{
        desired::Desired,
        observation::{End, JobObservation},
        results::ResultKey,
    },
    tags::{INDEXES_TAG, JOB_TAG},
    workers::{
        launch_spec::Resolved,
        observe::{instances::ObservedInstance, observed::Observed},
        parameters::Synced,
    },
};

/// The code of EC2 for an instance that was shut down from inside.
pub(super) const ITSELF: &str = "Client.InstanceInitiatedShutdown";
pub(super) const RUNNING: InstanceState = InstanceState::Running;

/// A job of 5 indexes, 2 at a time, with results in S3, overridden by `fields`.
pub(super) fn desired(fields: serde_json::Value) -> Desired {
    let job = json!({
        "completions": 5,
        "parallelism": 2,
        "backoffLimitPerIndex": 1,
        "result": {"s3": {"bucket": "results", "prefix": "nightly"}},
    });
    let mut spec: WorkerJobSpec = spec(job, fields);
    spec.template.placement = Some(Placement::Ordered);
    let owner = Owner { tag: JOB_TAG, name: "work".into(), ..Owner::sample(UID) };
    let mut desired = Desired::parse(&spec, owner.clone(), Synced::default(), |_| None).unwrap();
    desired.role.resolved = Resolved::of_ids(&owner, &desired.role.role, &spec.template);
    desired
}

/// The observation of instances that run the index equal to their number.
pub(super) fn world(shown: &[(u32, InstanceState, &str)]) -> (Observed, JobObservation) {
    let mut observed = Observed { zones: zones(), ..Observed::default() };
    let mut observation = JobObservation::default();
    for (n, state, reason) in shown {
        let instance = Instance {
            subnet: Some(subnet('a')),
            launched_at: Some(at(1000)),
            client_token: ClientToken::new(&uid(UID), 7).to_string(),
            tags: BTreeMap::from([(INDEXES_TAG.into(), "0-4".into())]),
            launch_index: *n,
            state_reason: (*reason).into(),
            ..Instance::sample(*n, *state)
        };
        observed.instances.shown.insert(id(*n), ObservedInstance::sample(instance));
        observation.holders.insert(id(*n), Some(*n));
    }
    observation.before.started = Some(at(0));
    (observed, observation)
}

/// The end of the `n`th instance.
pub(super) fn ended(n: u32, index: u32, reason: &str) -> End {
    End { id: id(n), index: Some(index), reason: reason.into() }
}

/// The key of the result of the `n`th instance.
pub(super) fn result(index: u32, n: u32) -> ResultKey {
    ResultKey { index, instance: id(n) }
}
