//! Two controllers that both believe to lead, as after a pause that outlasted the lease.

use kube::ResourceExt;
use muster::worker_fleet::WorkerFleet;
use serde_json::json;

use crate::{
    crash::{WORKERS, assert_converged, laggard, start},
    fleet::{spec, status, wait_settled},
    scene::{PATIENCE, Scene},
    tap::{LOOK, Moment, Point, Tap},
};

fn point(operation: &str, ordinal: u32) -> Point {
    Point { operation: operation.into(), ordinal }
}

const RECORD: &str = "PUT workerfleets/status";

fn count(points: &[Point], operation: &str) -> usize {
    points.iter().filter(|point| point.operation == operation).count()
}

/// Once the fleet is settled, waits until the controller behind `tap` has looked at it as it is now: between one of its looks
/// and the next it wrote nothing. Until then a look may be under way that began with what was there before. What that one
/// finds the other has written already, so the API server refuses it (409).
async fn wait_until_seen(tap: &Tap) {
    let seen = async {
        loop {
            let before = tap.points().len();
            tap.until(|points| count(&points[before..], LOOK) >= 2).await;
            if count(&tap.points()[before..], RECORD) == 0 {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.expect("a look that has nothing to write");
}

#[derive(Clone, Copy, Debug)]
enum Resumed {
    /// While its intent may still be sent, before the other has taken it over.
    First,
    /// When the other has launched all.
    Last,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_with_a_stale_cache_and_one_paused_after_its_intent_make_exactly_five() {
    for resumed in [Resumed::First, Resumed::Last] {
        let scene = Scene::with(laggard()).await;
        scene.create::<WorkerFleet>("web", spec(&scene, WORKERS, json!({}))).await;
        // With the finalizer on, a stale cache gets as far as the record.
        scene.change::<WorkerFleet>("web", json!({"metadata": {"finalizers": ["muster.dev/workerfleet"]}})).await;
        // It has seen the fleet before anybody recorded anything, is about to record its own launch, and sees nothing more.
        let stale = Tap::pausing(point(RECORD, 1), Moment::Before);
        stale.set_stale(true);
        let _stale_controller = start(&scene, &stale).await;
        stale.paused().await;
        let paused = Tap::pausing(point(RECORD, 1), Moment::After);
        let _paused_controller = start(&scene, &paused).await;
        paused.paused().await;
        let recorded = status(&scene.api::<WorkerFleet>().get("web").await.unwrap()).workers.launches;
        assert!(!recorded.is_empty() && scene.sandbox.instances_of(&scene.account).is_empty());

        stale.resume();
        stale.until(|points| count(points, RECORD) >= 3).await;
        assert_eq!(count(&stale.points(), "RunInstances"), 0, "a stale cache launches nothing, however often it tries");
        let mine = status(&scene.api::<WorkerFleet>().get("web").await.unwrap()).workers.launches;
        assert_eq!(mine, recorded, "and takes nothing over");

        match resumed {
            Resumed::First => {
                paused.resume();
                paused.until(|points| count(points, "RunInstances") > 0).await;
                stale.set_stale(false);
            }
            Resumed::Last => {
                stale.set_stale(false);
                stale.until(|points| count(points, "RunInstances") >= recorded.len()).await;
                assert_converged(&scene, &stale, WORKERS, 5, "the other launches").await;
                paused.resume();
                paused.until(|points| count(points, RECORD) > 1 || count(points, "DescribeInstances") > 1).await;
            }
        }
        let settled = wait_settled(&scene, "web", WORKERS as i32).await;
        for tap in [&paused, &stale] {
            wait_until_seen(tap).await;
        }
        let seen = scene.api::<WorkerFleet>().get("web").await.unwrap();
        assert_eq!(seen.resource_version(), settled.resource_version(), "{resumed:?}: the slower one wrote over it");
        assert_converged(&scene, &paused, WORKERS, 5, &format!("the paused one goes on {resumed:?}")).await;
        assert_converged(&scene, &stale, WORKERS, 5, &format!("the stale one sees again, {resumed:?}")).await;
    }
}
