//! Watches that end: whatever changed meanwhile is seen, by going on or by listing anew.

use muster::worker_fleet::WorkerFleet;
use serde_json::json;

use crate::{
    crash::{assert_converged, laggard, start},
    fleet::{spec, status, wait_settled},
    scene::Scene,
    tap::{End, LOOK, Tap},
};

const FLEETS: &str = "workerfleets";

fn looks(tap: &Tap) -> usize {
    tap.points().iter().filter(|point| point.operation == LOOK).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_watch_was_dropped_or_expired_what_changed_meanwhile_is_seen() {
    let scene = Scene::with(laggard()).await;
    let tap = Tap::new();
    let _controller = start(&scene, &tap).await;
    scene.create::<WorkerFleet>("web", spec(&scene, 1, json!({}))).await;
    wait_settled(&scene, "web", 1).await;
    // Cut in the middle; told by an event that it cannot go on; or cut, and told when it would go on from where it was.
    let ends = [(End::Dropped, false), (End::Expired, false), (End::Dropped, true)];
    for (replicas, (end, forgotten)) in (2..).zip(ends) {
        let case = format!("{end:?}, forgotten: {forgotten}");
        tap.set_stale(true);
        tap.end_watches(end);
        scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": replicas}})).await;
        let changed = scene.api::<WorkerFleet>().get("web").await.unwrap();
        if forgotten {
            tap.forget_before(FLEETS, changed.metadata.resource_version.as_deref().unwrap().parse().unwrap());
        }
        // It goes on to look after what it knew, and does not know of the change.
        let before = looks(&tap);
        tap.until(|_| looks(&tap) >= before + 3).await;
        let unseen = scene.api::<WorkerFleet>().get("web").await.unwrap();
        assert!(status(&unseen).common.observed_generation < unseen.metadata.generation, "{case}");
        tap.set_stale(false);
        assert_converged(&scene, &tap, replicas, replicas as usize, &case).await;
    }
    // Deleted while nobody watches.
    tap.set_stale(true);
    tap.end_watches(End::Dropped);
    scene.api::<WorkerFleet>().delete("web", &Default::default()).await.unwrap();
    tap.set_stale(false);
    scene.wait_gone::<WorkerFleet>("web").await;
}
