//! A fleet's life: each loss is made good once, and each surplus ended once, whenever the controller dies.

use std::collections::BTreeSet;

use futures::{FutureExt, future::BoxFuture};
use kube::{ResourceExt, api::DeleteParams};
use muster::worker_fleet::WorkerFleet;
use serde_json::json;

use super::{Scenario, assert_at_rest, start, stepped, survives_every_kill};
use crate::{
    fleet::{ids, live, settled, spec, status},
    scene::{Controller, Scene},
    tap::{LOOK, Moment, Point, SELDOM, Tap},
};

pub(crate) const WORKERS: u32 = 5;

struct Part {
    name: &'static str,
    /// So many workers run before it begins, or there is no fleet yet.
    workers: Option<u32>,
    /// What happens. Returns the fleet that it happens to.
    act: fn(&Scene) -> BoxFuture<'_, WorkerFleet>,
    end: End,
    /// How many machines there were in all, from the beginning.
    launched: usize,
    calls: &'static [&'static str],
}

#[derive(Clone, Copy)]
enum End {
    /// So many workers.
    Workers(u32),
    /// No fleet, and none of its workers.
    Gone,
}

/// Waits until the fleet is settled, runs what is wished, and tells of the very machines that there are.
async fn wait_told(scene: &Scene, workers: u32, case: &str) -> WorkerFleet {
    let told = |fleet: &WorkerFleet| {
        let status = status(fleet);
        let told: BTreeSet<_> = status.instances.iter().map(|worker| worker.id.to_string()).collect();
        settled(fleet, workers as i32) && status.updated_replicas == workers as i32 && told == ids(&live(scene))
    };
    scene.wait("web", &format!("{case}: {workers} workers, settled"), told).await
}

/// Exactly the wanted workers, each owned, and no write any more. `launched` are all that there ever were.
pub(crate) async fn assert_converged(scene: &Scene, tap: &Tap, workers: u32, launched: usize, case: &str) {
    tap.until(|points| points.iter().any(|point| point.operation == LOOK)).await;
    let fleet = wait_told(scene, workers, case).await;
    assert_eq!(live(scene).len(), workers as usize, "{case}: live");
    assert_launched(scene, &fleet, launched, case);
    assert_at_rest(tap, case).await;
    let later = scene.api::<WorkerFleet>().get("web").await.unwrap();
    assert_eq!(later.resource_version(), fleet.resource_version(), "{case}: written at rest");
}

fn assert_launched(scene: &Scene, fleet: &WorkerFleet, launched: usize, case: &str) {
    let ever = scene.sandbox.instances_of(&scene.account);
    assert_eq!(ever.len(), launched, "{case}: launched in all");
    let uid = fleet.uid().unwrap();
    for worker in &ever {
        assert_eq!(worker.tags["muster.dev:fleet-uid"], uid, "{case}");
        assert!(worker.client_token.as_ref().unwrap().starts_with(&uid.replace('-', "")), "{case}");
    }
}

impl Scenario for Part {
    type Object = WorkerFleet;

    fn moments(&self, _: &Point) -> &'static [Moment] {
        &[Moment::Before, Moment::After]
    }

    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn calls(&self) -> &[&str] {
        self.calls
    }

    fn unpredictable(&self) -> &[&str] {
        // Where there were workers before, these were made, and when again is up to the clock.
        if self.workers.is_some() { SELDOM } else { &[] }
    }

    async fn scene(&self) -> Scene {
        Scene::with(stepped()).await
    }

    async fn begin(&self, scene: &Scene, tap: &Tap, stop: Option<(Point, Moment)>) -> Controller {
        let Some(workers) = self.workers else {
            tap.begin(stop);
            return start(scene, tap).await;
        };
        let controller = start(scene, tap).await;
        scene.create::<WorkerFleet>("web", spec(scene, workers, json!({}))).await;
        wait_told(scene, workers, self.name).await;
        tap.begin(stop);
        // Otherwise it would be up to the clock whether there is a look before the act.
        tap.until(|points| points.iter().any(|point| point.operation == LOOK)).await;
        controller
    }

    async fn act(&self, scene: &Scene) -> WorkerFleet {
        (self.act)(scene).await
    }

    async fn assert_ended(&self, scene: &Scene, tap: &Tap, fleet: &WorkerFleet, case: &str) {
        match self.end {
            End::Workers(workers) => assert_converged(scene, tap, workers, self.launched, case).await,
            End::Gone => {
                scene.wait_gone::<WorkerFleet>("web").await;
                assert_eq!(live(scene), [], "{case}: left");
                assert_launched(scene, fleet, self.launched, case);
            }
        }
    }
}

async fn fleet(scene: &Scene) -> WorkerFleet {
    scene.api().get("web").await.unwrap()
}

const LAUNCH: Part = Part {
    name: "launch",
    workers: None,
    act: |scene| async { scene.create("web", spec(scene, WORKERS, json!({}))).await }.boxed(),
    end: End::Workers(WORKERS),
    launched: WORKERS as usize,
    calls: &["RunInstances", "PUT workerfleets/status", "PATCH controllerrevisions", "PATCH workerfleets"],
};

const REPLACE: Part = Part {
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

const SCALE_DOWN: Part = Part {
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

const UPDATE: Part = Part {
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

const DELETE: Part = Part {
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
    survives_every_kill(&LAUNCH).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_and_after_every_call_of_a_replacement_each_loss_is_made_good_once() {
    survives_every_kill(&REPLACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_and_after_every_call_of_a_scale_down_exactly_the_surplus_ends() {
    survives_every_kill(&SCALE_DOWN).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_and_after_every_call_of_an_update_each_worker_is_replaced_once() {
    survives_every_kill(&UPDATE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_and_after_every_call_of_a_deletion_nothing_is_left() {
    survives_every_kill(&DELETE).await;
}
