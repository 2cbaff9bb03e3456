//! The controller is killed before and after every call of a job's life, whichever calls these are: each index is launched
//! as often as its results ask for, and no more.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, stream};
use muster::worker_job::WorkerJob;
use serde_json::json;

use crate::{
    crash::{laggard, start},
    fleet::live,
    job::{self, Deed, Workers},
    scene::Scene,
    tap::{Moment, Point, Tap},
};

const SIDE_BY_SIDE: usize = 6;

/// Index 1 fails once, and what index 2 has done it does not end by itself.
async fn begin() -> (Scene, Workers) {
    let scene = Scene::with(laggard()).await;
    let workers = Workers::start(&scene, |index, before| match (index, before) {
        (1, 0) => Deed::Exits(3),
        (2, _) => Deed::ExitsAndStays(0),
        _ => Deed::Exits(0),
    });
    (scene, workers)
}

async fn create(scene: &Scene) {
    let mut spec = job::spec(scene, 4, 3, json!({"backoffLimitPerIndex": 1}));
    spec["template"]["subnets"]["ids"].as_array_mut().unwrap().truncate(1);
    scene.create::<WorkerJob>("work", spec).await;
}

async fn assert_done(scene: &Scene, case: &str) {
    let job = job::wait_ended(scene, "work", "Complete", "CompletionsReached").await;
    assert_eq!(job::status(&job).completed_indexes.to_string(), "0-3", "{case}");
    assert_eq!(job::launched(scene), BTreeMap::from([(0, 1), (1, 2), (2, 1), (3, 1)]), "{case}: launched");
    assert_eq!(live(scene).len(), 0, "{case}: live");
}

async fn points() -> BTreeSet<Point> {
    let (scene, _workers) = begin().await;
    let tap = Tap::new();
    let _controller = start(&scene, &tap).await;
    create(&scene).await;
    assert_done(&scene, "undisturbed").await;
    tap.points().into_iter().collect()
}

/// Whether the point was hit.
async fn run(point: &Point, moment: Moment) -> bool {
    let case = format!("killed {moment:?} {point}");
    let (scene, _workers) = begin().await;
    let tap = Tap::stopping(point.clone(), moment);
    let victim = start(&scene, &tap).await;
    create(&scene).await;
    let hit = tokio::select! {
        () = tap.stopped() => true,
        () = assert_done(&scene, &case) => false,
    };
    victim.kill().await;
    let _successor = start(&scene, &Tap::new()).await;
    assert_done(&scene, &case).await;
    hit
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_and_after_every_call_of_a_job_each_index_is_run_as_often_as_its_results_ask_for() {
    let (one, other) = tokio::join!(points(), points());
    // How often it looks is up to the clock; what it does is not.
    let points: Vec<_> = one
        .intersection(&other)
        .filter(|point| {
            point.ordinal < 6 && !point.operation.contains("workerjobs") || point.operation.contains("status")
        })
        .collect();
    for expected in ["RunInstances", "TerminateInstances", "PUT workerjobs/status"] {
        assert!(points.iter().any(|point| point.operation == expected), "{expected} is not in {points:?}");
    }
    let runs: Vec<_> =
        points.iter().flat_map(|point| [Moment::Before, Moment::After].map(|moment| (*point, moment))).collect();
    let total = runs.len();
    let hit: usize = stream::iter(runs)
        .map(|(point, moment)| async move { usize::from(run(point, moment).await) })
        .buffer_unordered(SIDE_BY_SIDE)
        .fold(0, async |all, one| all + one)
        .await;
    println!("{hit} of {total} kills hit");
    // Which page or object comes in which order is up to the clock, so a few points are met in some runs only.
    assert!(hit * 2 >= total, "{hit} of {total} kills hit");
}
