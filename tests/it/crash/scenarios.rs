//! What the controller is killed in the midst of.

use futures::{FutureExt, future::BoxFuture};
use kube::api::DeleteParams;
use muster::worker_fleet::WorkerFleet;
use serde_json::json;

use super::WORKERS;
use crate::{
    fleet::{live, spec},
    scene::Scene,
};

pub(super) struct Scenario {
    pub name: &'static str,
    /// So many workers run before it begins, or there is no fleet yet.
    pub workers: Option<u32>,
    /// What happens. Returns the fleet that it happens to.
    pub act: fn(&Scene) -> BoxFuture<'_, WorkerFleet>,
    pub end: End,
    /// How many machines there were in all, from the beginning.
    pub launched: usize,
    /// Calls without which it is not the scenario that it is meant to be.
    pub calls: &'static [&'static str],
}

#[derive(Clone, Copy)]
pub(super) enum End {
    /// So many workers.
    Workers(u32),
    /// No fleet, and none of its workers.
    Gone,
}

async fn fleet(scene: &Scene) -> WorkerFleet {
    scene.api().get("web").await.unwrap()
}

const LAUNCH: Scenario = Scenario {
    name: "launch",
    workers: None,
    act: |scene| async { scene.create("web", spec(scene, WORKERS, json!({}))).await }.boxed(),
    end: End::Workers(WORKERS),
    launched: WORKERS as usize,
    calls: &["RunInstances", "PUT workerfleets/status", "PATCH controllerrevisions", "PATCH workerfleets"],
};

const REPLACE: Scenario = Scenario {
    name: "replace one that dies and one that is stopped",
    workers: Some(3),
    act: |scene| {
        async {
            let workers = live(scene);
            scene.sandbox.fail_instance(&workers[0].id).unwrap();
            scene.sandbox.stop_instance(&workers[1].id).unwrap();
            fleet(scene).await
        }
        .boxed()
    },
    end: End::Workers(3),
    launched: 5,
    calls: &["RunInstances", "TerminateInstances", "PUT workerfleets/status"],
};

const SCALE_DOWN: Scenario = Scenario {
    name: "scale down",
    workers: Some(5),
    act: |scene| {
        async {
            scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 2}})).await;
            fleet(scene).await
        }
        .boxed()
    },
    end: End::Workers(2),
    launched: 5,
    calls: &["TerminateInstances", "PUT workerfleets/status"],
};

const UPDATE: Scenario = Scenario {
    name: "update",
    workers: Some(2),
    act: |scene| {
        async {
            scene.change::<WorkerFleet>("web", json!({"spec": {"template": {"tags": {"edit": "1"}}}})).await;
            fleet(scene).await
        }
        .boxed()
    },
    end: End::Workers(2),
    launched: 4,
    calls: &["PATCH controllerrevisions", "RunInstances", "TerminateInstances", "PUT workerfleets/status"],
};

const DELETE: Scenario = Scenario {
    name: "delete",
    workers: Some(3),
    act: |scene| {
        async {
            let fleet = fleet(scene).await;
            scene.api::<WorkerFleet>().delete("web", &DeleteParams::default()).await.unwrap();
            fleet
        }
        .boxed()
    },
    end: End::Gone,
    launched: 3,
    calls: &["TerminateInstances", "PUT workerfleets/status", "PATCH workerfleets"],
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_and_after_every_call_of_a_launch_there_are_exactly_five() {
    LAUNCH.survives_every_kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_and_after_every_call_of_a_replacement_each_loss_is_made_good_once() {
    REPLACE.survives_every_kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_and_after_every_call_of_a_scale_down_exactly_the_surplus_ends() {
    SCALE_DOWN.survives_every_kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_and_after_every_call_of_an_update_each_worker_is_replaced_once() {
    UPDATE.survives_every_kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_and_after_every_call_of_a_deletion_nothing_is_left() {
    DELETE.survives_every_kill().await;
}
