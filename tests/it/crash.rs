//! The controller is killed before and after every single call of a launch, whichever calls these are.

use std::{collections::BTreeSet, time::Duration};

use futures::{StreamExt, stream};
use kube::ResourceExt;
use muster::{aws::Connection, clock::Timings, config::Config, worker_fleet::WorkerFleet};
use muster_sandbox::SandboxConfig;
use serde_json::json;

use crate::{
    fleet::{live, settled, spec, wait_settled},
    scene::{self, Controller, Scene},
    tap::{LOOK, Moment, PROOF, Point, Tap},
};

pub(crate) const WORKERS: u32 = 5;
const SIDE_BY_SIDE: usize = 8;

/// EC2 shows a launch only after a while, so that looking again is no substitute for having recorded it.
pub(crate) fn laggard() -> SandboxConfig {
    let describe_lag = Duration::from_millis(150);
    SandboxConfig { throttling: false, describe_lag, ..SandboxConfig::default() }
}

fn config(scene: &Scene) -> Config {
    let timings = Timings {
        sweep: Duration::from_millis(300),
        progress: Duration::from_millis(60),
        describe_grace: Duration::from_millis(400),
        ..scene::timings()
    };
    Config { timings, ..scene.config() }
}

pub(crate) async fn start(scene: &Scene, tap: &Tap) -> Controller {
    let connection = Connection { http_client: Some(tap.aws()), ..scene.connection() };
    let tap = tap.clone();
    Controller::start(config(scene), connection, move |client| tap.kube(client)).await
}

/// Waits until the tap has seen the controller look twice more, and returns what else it has seen meanwhile.
async fn calls_at_rest(tap: &Tap) -> BTreeSet<String> {
    let before = tap.points().len();
    let since = || tap.points().split_off(before);
    let looks = |points: &[Point]| points.iter().filter(|point| point.operation == LOOK).count();
    tap.until(|points| looks(&points[before..]) >= 2).await;
    since().into_iter().map(|point| point.operation).collect()
}

/// Exactly the wanted workers, each owned, none ever launched beside them, and no write any more.
pub(crate) async fn assert_converged(scene: &Scene, tap: &Tap, case: &str) {
    tap.until(|points| points.iter().any(|point| point.operation == LOOK)).await;
    let fleet = wait_settled(scene, "web", WORKERS as i32).await;
    let ever = scene.sandbox.instances_of(&scene.account);
    assert_eq!(ever.len(), WORKERS as usize, "{case}: launched in all");
    assert_eq!(live(scene).len(), WORKERS as usize, "{case}: live");
    let uid = fleet.uid().unwrap();
    for worker in &ever {
        assert_eq!(worker.tags["muster.dev:fleet-uid"], uid, "{case}");
        assert!(worker.client_token.as_ref().unwrap().starts_with(&uid.replace('-', "")), "{case}");
    }
    let mut calls = calls_at_rest(tap).await;
    // Once in a while the account is proven anew.
    calls.remove(PROOF);
    assert_eq!(calls, BTreeSet::from([LOOK.to_owned()]), "{case}: calls at rest");
    let later = scene.api::<WorkerFleet>().get("web").await.unwrap();
    assert_eq!(later.resource_version(), fleet.resource_version(), "{case}: written at rest");
}

/// The calls of one launch that nobody disturbs.
async fn points() -> BTreeSet<Point> {
    let scene = Scene::with(laggard()).await;
    let tap = Tap::new();
    let _controller = start(&scene, &tap).await;
    scene.create::<WorkerFleet>("web", spec(&scene, WORKERS, json!({}))).await;
    scene.wait::<WorkerFleet>("web", "settled", |fleet| settled(fleet, WORKERS as i32)).await;
    let points = tap.points().into_iter().collect();
    assert_converged(&scene, &tap, "undisturbed").await;
    points
}

/// Whether the point was hit.
async fn run(point: &Point, moment: Moment) -> bool {
    let case = format!("killed {moment:?} {point}");
    let scene = Scene::with(laggard()).await;
    let tap = Tap::stopping(point.clone(), moment);
    let victim = start(&scene, &tap).await;
    scene.create::<WorkerFleet>("web", spec(&scene, WORKERS, json!({}))).await;
    let hit = tokio::select! {
        () = tap.stopped() => true,
        // Settled and at rest: a call that has not come by now will not come.
        () = async { assert_converged(&scene, &tap, &case).await } => false,
    };
    victim.kill().await;
    let tap = Tap::new();
    let _successor = start(&scene, &tap).await;
    assert_converged(&scene, &tap, &case).await;
    hit
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_and_after_every_call_of_a_launch_there_are_exactly_five() {
    // What is seen of five starting machines between two looks is up to the clock, and with it whether there is a status to
    // write; so the points are those that come every time.
    let undisturbed = futures::future::join_all((0..4).map(|_| points())).await;
    let every_time = undisturbed.iter().skip(1).fold(undisturbed[0].clone(), |all, one| &all & one);
    let points: Vec<_> = every_time.iter().collect();
    for expected in ["RunInstances", "PUT workerfleets/status", "PATCH controllerrevisions", LOOK] {
        assert!(points.iter().any(|point| point.operation == expected), "{expected} is not in {points:?}");
    }
    let named: Vec<_> = points.iter().map(ToString::to_string).collect();
    println!("{} points, each killed before and after: {}", points.len(), named.join(", "));
    let runs: Vec<_> =
        points.iter().flat_map(|point| [Moment::Before, Moment::After].map(|moment| (point, moment))).collect();
    let missed: Vec<_> = stream::iter(runs)
        .map(|(point, moment)| async move {
            for _ in 0..5 {
                if run(point, moment).await {
                    return None;
                }
            }
            Some(format!("{moment:?} {point}"))
        })
        .buffer_unordered(SIDE_BY_SIDE)
        .filter_map(async |missed| missed)
        .collect()
        .await;
    assert_eq!(missed, Vec::<String>::new(), "points that were never hit, of {}", points.len());
}
