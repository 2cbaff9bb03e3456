//! Each missing worker is replaced once and each surplus worker is terminated once, whenever the controller is killed.

use futures::{FutureExt, future::BoxFuture};
use kube::api::DeleteParams;
use muster::crd::worker_fleet::WorkerFleet;
use serde_json::json;

use crate::support::{
    crash::{
        Scenario, WORKERS, assert_converged, assert_launched, converges_after_every_kill, start, stepped, wait_recorded,
    },
    fleet::{live, spec},
    scene::{Controller, Scene},
    tap::{DESCRIBE, Moment, Point, SELDOM, Tap},
};

struct Part {
    name: &'static str,
    /// The number of workers that run at the beginning. `None`: there is no fleet yet.
    workers: Option<u32>,
    /// Changes something, and returns the fleet that it concerns.
    act: fn(&Scene) -> BoxFuture<'_, WorkerFleet>,
    end: End,
    /// The number of instances launched in total.
    launched: usize,
    calls: &'static [&'static str],
}

#[derive(Clone, Copy)]
enum End {
    /// The fleet has this number of workers.
    Workers(u32),
    /// The fleet and all of its workers are gone.
    Gone,
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
        // If workers ran before, these calls were made already, and the clock determines when they are repeated.
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
        wait_recorded(scene, workers, self.name).await;
        tap.begin(stop);
        // Otherwise the clock would determine whether there is a sweep before the change.
        tap.until(|points| points.iter().any(|point| point.operation == DESCRIBE)).await;
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
async fn killed_at_every_call_of_a_launch_there_are_exactly_five() {
    converges_after_every_kill(&LAUNCH).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_call_of_a_replacement_each_loss_is_replaced_once() {
    converges_after_every_kill(&REPLACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_call_of_a_scale_down_exactly_the_surplus_is_terminated() {
    converges_after_every_kill(&SCALE_DOWN).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_call_of_an_update_each_worker_is_replaced_once() {
    converges_after_every_kill(&UPDATE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_call_of_a_deletion_no_instance_remains() {
    converges_after_every_kill(&DELETE).await;
}
