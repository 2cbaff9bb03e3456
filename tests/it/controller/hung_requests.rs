//! A call without a response is abandoned at its deadline, and its outcome is determined afterwards.

use std::{collections::BTreeSet, time::Duration};

use futures::{FutureExt, StreamExt, stream};
use muster::{clock::Timings, config::Config, crd::worker_fleet::WorkerFleet};
use muster_sandbox::CallQuery;
use serde_json::json;

use crate::support::{
    crash::{self, WORKERS, assert_converged, lagging_ec2, start_with},
    fleet::{events, spec},
    scene::Scene,
    tap::{Moment, Point, Tap},
};

const SIDE_BY_SIDE: usize = 6;
const RUN: &str = "RunInstances";

/// The calls for a fleet from its creation until it is settled.
const CALLS: &[&str] = &[
    "PATCH workerfleets",
    "PATCH controllerrevisions",
    "PUT workerfleets/status",
    "DescribeImages",
    "DescribeSubnets",
    "DescribeInstances",
    RUN,
];

fn config(scene: &Scene) -> Config {
    let usual = crash::config(scene);
    Config { timings: Timings { call_deadline: Duration::from_millis(1500), ..usual.timings }, ..usual }
}

/// The first call of `operation` hangs forever, before it arrives or before its response does.
async fn run(operation: &str, moment: Moment) {
    let case = format!("{operation} hangs {moment:?} it is carried out");
    let scene = Scene::with(lagging_ec2()).await;
    let tap = Tap::pausing(Point { operation: operation.into(), ordinal: 1 }, moment);
    let _controller = start_with(config(&scene), &scene, &tap).await;
    scene.create::<WorkerFleet>("web", spec(&scene, WORKERS, json!({}))).await;
    tap.paused().await;
    assert_converged(&scene, &tap, WORKERS, WORKERS as usize, &case).await;

    // The deadline of the call expired, not that of the whole reconcile.
    let notes = [events(&scene, "KubernetesError").await, events(&scene, "AwsUnavailable").await].concat();
    match (moment, operation) {
        // The user sees no error, because the token makes it safe to repeat the call.
        (_, RUN) => {
            let calls = scene.sandbox.calls(&CallQuery::operation("ec2", RUN));
            let tokens: BTreeSet<_> = calls.iter().map(|call| call.parameters["ClientToken"].clone()).collect();
            assert_eq!(tokens.len(), 3, "{case}: one a zone");
            let asked = tap.points().iter().filter(|point| point.operation == RUN).count();
            match moment {
                Moment::Before => assert_eq!(asked, 4, "{case}: one is repeated"),
                // Its instances may be visible before it is repeated.
                Moment::After => assert!(asked <= 4, "{case}: {asked} calls"),
            }
        }
        (Moment::Before, _) => {
            assert!(notes.iter().any(|note| note.contains("did not answer")), "{case}: {notes:?}");
        }
        // The write makes the reconcile that wrote it outdated.
        (Moment::After, _) => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_without_a_response_times_out_and_the_fleet_converges() {
    let runs = CALLS.iter().flat_map(|operation| {
        let moments: &[Moment] =
            if operation.starts_with("Describe") { &[Moment::Before] } else { &[Moment::Before, Moment::After] };
        moments.iter().map(|moment| run(operation, *moment).boxed_local())
    });
    stream::iter(runs.collect::<Vec<_>>()).buffer_unordered(SIDE_BY_SIDE).collect::<()>().await;
}
