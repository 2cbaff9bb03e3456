//! Two controllers that both act as leader, as after a pause that outlasted the lease, launch and terminate nothing twice.

use std::{collections::BTreeSet, time::Duration};

use futures::{FutureExt, future};
use kube::ResourceExt;
use muster::crd::worker_fleet::WorkerFleet;
use muster_sandbox::CallQuery;
use serde_json::json;

use crate::support::{
    crash::{WORKERS, assert_converged, lagging_ec2, start},
    fleet::{ids, live, spec, status, victims, wait_settled, with},
    scene::{PATIENCE, Scene},
    tap::{DESCRIBE, Moment, Point, Tap},
};

fn point(operation: &str, ordinal: u32) -> Point {
    Point { operation: operation.into(), ordinal }
}

const RECORD: &str = "PUT workerfleets/status";

fn count(points: &[Point], operation: &str) -> usize {
    points.iter().filter(|point| point.operation == operation).count()
}

/// Once the fleet is settled, waits until the controller behind `tap` has seen its current state: it wrote nothing between
/// two sweeps. Until then, a reconcile may be in progress that began with the previous state. The API server rejects its
/// status update (409), because the other controller has written already.
async fn wait_until_seen(tap: &Tap) {
    let seen = async {
        loop {
            let before = tap.points().len();
            tap.until(|points| count(&points[before..], DESCRIBE) >= 2).await;
            if count(&tap.points()[before..], RECORD) == 0 {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.expect("a sweep without a write");
}

#[derive(Clone, Copy, Debug)]
enum Resumed {
    /// While its recorded launch may still be sent, before the other controller repeats it.
    First,
    /// When the other controller has launched all workers.
    Last,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_with_a_stale_cache_and_a_paused_one_launch_exactly_five() {
    for resumed in [Resumed::First, Resumed::Last] {
        let scene = Scene::with(lagging_ec2()).await;
        // Because the finalizer is set and the revision is stored, a controller with a stale cache records a launch first.
        let before = start(&scene, &Tap::new()).await;
        scene.create::<WorkerFleet>("web", spec(&scene, 0, json!({}))).await;
        wait_settled(&scene, "web", 0).await;
        before.kill().await;
        scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": WORKERS}})).await;
        // It has seen the fleet before anything was recorded, is about to record its own launch, and receives no more events.
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

/// All instances for which TerminateInstances was called.
fn termination_requests(scene: &Scene) -> BTreeSet<String> {
    let calls = scene.sandbox.calls(&CallQuery::operation("ec2", "TerminateInstances"));
    let named = calls.into_iter().flat_map(|call| call.parameters);
    named.filter(|(name, _)| name.starts_with("InstanceId.")).map(|(_, id)| id).collect()
}

async fn two_choose_victims(moment: Moment, resumed: Resumed) {
    let case = format!("paused {moment:?} its intent, goes on {resumed:?}");
    let scene = Scene::with(lagging_ec2()).await;
    let paused = Tap::new();
    let _paused_controller = start(&scene, &paused).await;
    let oldest_first = json!({"scaleDownPolicy": "Oldest"});
    scene.create::<WorkerFleet>("web", with(spec(&scene, 3, json!({})), oldest_first)).await;
    wait_settled(&scene, "web", 3).await;
    let oldest = ids(&live(&scene));
    // Launch times have a resolution of one second.
    scene.sandbox.step(Duration::from_secs(5));
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": WORKERS}})).await;
    wait_settled(&scene, "web", WORKERS as i32).await;
    let all = ids(&live(&scene));

    paused.pause_at(point(RECORD, 1), moment);
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 2}})).await;
    paused.paused().await;
    let chosen = victims(&scene, "web").await;
    match moment {
        Moment::Before => assert_eq!(chosen, BTreeSet::new(), "{case}"),
        Moment::After => assert_eq!(chosen, oldest, "{case}"),
    }
    assert_eq!(termination_requests(&scene), BTreeSet::new(), "{case}");

    // A controller that chooses now chooses other instances.
    scene.change::<WorkerFleet>("web", json!({"spec": {"scaleDownPolicy": "Newest"}})).await;
    let other = Tap::new();
    match resumed {
        Resumed::First => paused.resume(),
        Resumed::Last => {}
    }
    let _other_controller = start(&scene, &other).await;
    match resumed {
        Resumed::First => {}
        Resumed::Last => {
            assert_converged(&scene, &other, 2, 5, &case).await;
            paused.resume();
        }
    }
    wait_settled(&scene, "web", 2).await;
    for tap in [&paused, &other] {
        wait_until_seen(tap).await;
    }
    for tap in [&paused, &other] {
        assert_converged(&scene, tap, 2, 5, &case).await;
    }
    let left = ids(&live(&scene));
    let ended: BTreeSet<_> = all.difference(&left).cloned().collect();
    assert_eq!(termination_requests(&scene), ended, "{case}: nobody else was asked for");
    match moment {
        Moment::Before => assert!(left.is_subset(&oldest), "{case}: the other chose the newest"),
        Moment::After => assert_eq!(ended, oldest, "{case}: what is on record counts"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_controllers_that_select_victims_terminate_only_the_surplus() {
    let cases = [(Moment::Before, Resumed::Last), (Moment::After, Resumed::First), (Moment::After, Resumed::Last)];
    future::join_all(cases.map(|(moment, resumed)| two_choose_victims(moment, resumed).boxed_local())).await;
}
