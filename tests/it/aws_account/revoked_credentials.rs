//! Credentials are revoked during a deletion: the object is kept and reports why, and other objects are not affected.

use std::{num::NonZeroU16, time::Duration};

use kube::{ResourceExt, api::DeleteParams};
use muster::{config::Config, crd::worker_fleet::WorkerFleet};
use muster_sandbox::{AccountId, CallQuery, Instance, InstanceState, Lifecycle, RoleSpec, SandboxConfig};
use serde_json::{Value, json};

use crate::support::{
    fleet::{ready, spec, status, wait_settled, with},
    scene::{Controller, REGION, Scene, condition},
};

const ROLE: &str = "muster";

/// Creates an AWS account with a role, and the AwsAccount that refers to it.
async fn account(scene: &Scene, name: &str, id: &str) -> AccountId {
    let id: AccountId = id.parse().unwrap();
    let role = RoleSpec { allowed_principals: vec![scene.account.to_string()], ..RoleSpec::new(&id, ROLE) };
    let desired = json!({"roleARN": role.arn(), "regions": [REGION], "grants": [scene.full_grant()]});
    scene.sandbox.put_role(role);
    scene.create_account_named(&reference(scene, name), desired).await;
    id
}

fn reference(scene: &Scene, name: &str) -> String {
    format!("{}-{name}", scene.namespace)
}

fn spec_in(scene: &Scene, name: &str, id: &AccountId, replicas: u32) -> Value {
    let subnets: Vec<_> = scene.sandbox.subnets(id, REGION).into_iter().map(|subnet| subnet.id).collect();
    with(
        spec(scene, replicas, json!({"subnets": {"ids": subnets}})),
        json!({"aws": {"accountRef": {"name": reference(scene, name)}}}),
    )
}

fn in_state(scene: &Scene, id: &AccountId, state: InstanceState) -> Vec<Instance> {
    scene.sandbox.instances_of(id).into_iter().filter(|instance| instance.state == state).collect()
}

#[tokio::test]
async fn credentials_revoked_during_a_deletion_block_only_that_object() {
    // The deletion waits for instances that shut down slowly.
    let lifecycle = Lifecycle { shutting_down: Duration::from_secs(3600), ..Lifecycle::default() };
    let config = SandboxConfig { lifecycle, throttling: false, ..SandboxConfig::default() };
    let scene = Scene::without_account(config).await;
    let lost = account(&scene, "lost", "222222222222").await;
    let sound = account(&scene, "sound", "333333333333").await;
    // There is only one reconcile at a time, and the blocked object occupies it only briefly.
    let config = Config { concurrency: NonZeroU16::MIN, ..scene.config() };
    let _controller = Controller::start(config, scene.connection(), |client| client).await;
    scene.create::<WorkerFleet>("lost", spec_in(&scene, "lost", &lost, 2)).await;
    scene.create::<WorkerFleet>("sound", spec_in(&scene, "sound", &sound, 1)).await;
    wait_settled(&scene, "lost", 2).await;
    wait_settled(&scene, "sound", 1).await;

    let fleets = scene.api::<WorkerFleet>();
    fleets.delete("lost", &DeleteParams::default()).await.unwrap();
    scene
        .wait::<WorkerFleet>("lost", "being deleted", |fleet| {
            let (_, reason, message) = ready(fleet).unwrap_or_default();
            reason == "Deleting" && message.starts_with("2 workers are terminating")
        })
        .await;
    scene.sandbox.delete_role(&lost, ROLE);
    let held = |fleet: &WorkerFleet| {
        let (truth, reason, message) = ready(fleet).unwrap_or_default();
        let stalled = condition(&status(fleet).common.conditions, "Stalled").is_some_and(|c| c.0 == "True");
        (truth.as_str(), reason.as_str(), stalled) == ("False", "AwsDenied", true)
            && message.contains("AuthFailure")
            && message.contains("muster.dev/orphan=true")
    };
    scene.wait::<WorkerFleet>("lost", "held with the reason and the way out", held).await;

    // The others continue: an existing one, and a new one.
    scene.change::<WorkerFleet>("sound", json!({"spec": {"replicas": 3}})).await;
    wait_settled(&scene, "sound", 3).await;
    scene.create::<WorkerFleet>("new", spec_in(&scene, "sound", &sound, 2)).await;
    wait_settled(&scene, "new", 2).await;
    assert_eq!(in_state(&scene, &sound, InstanceState::Running).len(), 5);
    let kept = fleets.get("lost").await.unwrap();
    assert!(held(&kept) && kept.finalizers() == ["muster.dev/workerfleet"], "{:?}", kept.metadata.finalizers);

    let calls = scene.sandbox.calls(&CallQuery::operation("ec2", "TerminateInstances")).len();
    scene.change::<WorkerFleet>("lost", json!({"metadata": {"annotations": {"muster.dev/orphan": "true"}}})).await;
    scene.wait_gone::<WorkerFleet>("lost").await;
    assert_eq!(scene.sandbox.calls(&CallQuery::operation("ec2", "TerminateInstances")).len(), calls);
    assert_eq!(in_state(&scene, &lost, InstanceState::ShuttingDown).len(), 2, "AWS is left as it was");
    wait_settled(&scene, "sound", 3).await;
}
