//! Reconciles that a namespace requests.

use std::time::Instant;

use muster::crd::worker_fleet::WorkerFleet;
use muster_sandbox::CallQuery;
use serde_json::{Value, json};

use crate::support::{
    fleet::{spec, status, wait_settled},
    scene::{Scene, timings},
};

#[tokio::test]
async fn requests_in_a_loop_do_not_use_up_the_rate_of_the_account() {
    let request = |n: u32| json!({"metadata": {"annotations": {"muster.dev/requested-at": n.to_string()}}});
    let handled =
        |fleet: &WorkerFleet, last: u32| status(fleet).common.last_handled_requested_at == Some(last.to_string());
    change_in_a_loop(request, handled).await;
}

#[tokio::test]
async fn edits_in_a_loop_do_not_use_up_the_rate_of_the_account() {
    let edit = |n: u32| json!({"spec": {"revisionHistoryLimit": 5 + n % 2}});
    let handled = |fleet: &WorkerFleet, _| status(fleet).common.observed_generation == fleet.metadata.generation;
    change_in_a_loop(edit, handled).await;
}

async fn change_in_a_loop(change: impl Fn(u32) -> Value, is_handled: impl Fn(&WorkerFleet, u32) -> bool + Send + Sync) {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 1, json!({}))).await;
    wait_settled(&scene, "web", 1).await;
    scene.sandbox.clear_calls();
    let begun = Instant::now();
    let last = 150;
    for n in 1..=last {
        scene.change::<WorkerFleet>("web", change(n)).await;
    }
    scene.wait::<WorkerFleet>("web", "the last change", |fleet: &WorkerFleet| is_handled(fleet, last)).await;
    let sweeps = scene.sandbox.calls(&CallQuery::operation("ec2", "DescribeInstances")).len();
    let periods = |period: std::time::Duration| begun.elapsed().as_millis() / period.as_millis();
    // Ten at once, then one a period, and the usual sweeps.
    let most = 10 + periods(timings().progress) + periods(timings().sweep) + 2;
    assert!((sweeps as u128) <= most, "{sweeps} sweeps, and at most {most} are expected");
}
