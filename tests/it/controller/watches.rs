//! After a watch ends, changes in the meantime are seen, by continuing the watch or by a new list.

use muster::crd::worker_fleet::WorkerFleet;
use serde_json::json;

use crate::support::{
    crash::{assert_converged, lagging_ec2, start},
    fleet::{spec, status, wait_settled},
    scene::Scene,
    tap::{DESCRIBE, End, Tap},
};

const FLEETS: &str = "workerfleets";

fn sweeps(tap: &Tap) -> usize {
    tap.points().iter().filter(|point| point.operation == DESCRIBE).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_during_an_interrupted_or_expired_watch_are_observed() {
    let scene = Scene::with(lagging_ec2()).await;
    let tap = Tap::new();
    let _controller = start(&scene, &tap).await;
    scene.create::<WorkerFleet>("web", spec(&scene, 1, json!({}))).await;
    wait_settled(&scene, "web", 1).await;
    // The connection breaks; an event reports 410 Gone; or the connection breaks and the new watch gets 410 Gone.
    let ends = [(End::Dropped, false), (End::Expired, false), (End::Dropped, true)];
    for (replicas, (end, forgotten)) in (2..).zip(ends) {
        let case = format!("{end:?}, forgotten: {forgotten}");
        tap.interrupt_watches(end).await;
        scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": replicas}})).await;
        let changed = scene.api::<WorkerFleet>().get("web").await.unwrap();
        if forgotten {
            tap.forget_before(FLEETS, changed.metadata.resource_version.as_deref().unwrap().parse().unwrap());
        }
        // It continues with the fleet that it knows, without the change.
        let before = sweeps(&tap);
        tap.until(|_| sweeps(&tap) >= before + 3).await;
        let outdated = scene.api::<WorkerFleet>().get("web").await.unwrap();
        assert!(status(&outdated).common.observed_generation < outdated.metadata.generation, "{case}");
        tap.set_stale(false);
        assert_converged(&scene, &tap, replicas, replicas as usize, &case).await;
    }
    // Deleted while no watch is open.
    tap.interrupt_watches(End::Dropped).await;
    scene.api::<WorkerFleet>().delete("web", &Default::default()).await.unwrap();
    tap.set_stale(false);
    scene.wait_gone::<WorkerFleet>("web").await;
}
