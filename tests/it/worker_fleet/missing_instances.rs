//! Instances that EC2 no longer returns are not replaced at once, even if the controller restarts.

use std::time::Duration;

use muster::{clock::Timings, config::Config, crd::worker_fleet::WorkerFleet};
use muster_sandbox::CallQuery;
use serde_json::json;

use crate::support::{
    fleet::{calls_at_rest, ids, launches, live, ready, spec, status, wait_settled},
    scene::{Controller, REGION, Scene, condition},
};

fn darken(scene: &Scene, zone: &str, dark: bool) {
    scene.sandbox.set_zone_dark(&scene.account, REGION, zone, dark);
}

/// Whether the condition reports that EC2 does not return `count` instances.
fn hides(fleet: &WorkerFleet, count: usize) -> bool {
    let healthy = condition(&status(fleet).common.conditions, "Healthy");
    healthy.is_some_and(|(truth, reason, message)| {
        (truth.as_str(), reason.as_str()) == ("False", "WorkersMissing")
            && message
                .contains(&format!("{count} of {} workers are missing from DescribeInstances", status(fleet).replicas))
    })
}

/// More workers than a status lists, so that a new process knows only the number of some of them.
#[tokio::test]
async fn workers_of_a_zone_that_is_not_shown_are_not_replaced_by_any_controller() {
    let scene = Scene::new().await;
    let first = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 60, json!({}))).await;
    wait_settled(&scene, "web", 60).await;
    let (workers, launched) = (ids(&live(&scene)), launches(&scene));
    let zone = live(&scene)[0].zone.clone();
    first.kill().await;
    darken(&scene, &zone, true);
    for start in 0..2 {
        let controller = scene.start().await;
        let fleet = scene.wait::<WorkerFleet>("web", "20 hidden", |fleet| hides(fleet, 20)).await;
        for _ in 0..2 {
            calls_at_rest(&scene).await;
        }
        assert_eq!((ids(&live(&scene)), launches(&scene)), (workers.clone(), launched), "start {start}");
        let (_, reason, _) = ready(&fleet).unwrap();
        assert_eq!((reason.as_str(), status(&fleet).replicas), ("WorkersMissing", 60));
        controller.kill().await;
    }
    darken(&scene, &zone, false);
    let _controller = scene.start().await;
    wait_settled(&scene, "web", 60).await;
    assert_eq!((ids(&live(&scene)), launches(&scene)), (workers, launched));
    assert!(scene.sandbox.calls(&CallQuery::operation("ec2", "TerminateInstances")).is_empty());
}

#[tokio::test]
async fn a_missing_instance_finally_counts_as_gone_and_is_terminated_when_it_reappears() {
    let scene = Scene::new().await;
    let timings = Timings { overdue: Duration::from_secs(4), ..scene.config().timings };
    let config = Config { timings, ..scene.config() };
    let _controller = Controller::start(config, scene.connection(), |client| client).await;
    scene.create::<WorkerFleet>("web", spec(&scene, 9, json!({}))).await;
    wait_settled(&scene, "web", 9).await;
    let workers = live(&scene);
    let zone = &workers[0].zone;
    darken(&scene, zone, true);
    let fleet = scene.wait::<WorkerFleet>("web", "3 hidden", |fleet| hides(fleet, 3)).await;
    let hidden: Vec<_> = status(&fleet).instances.into_iter().filter(|listed| listed.reason == "Missing").collect();
    assert!(hidden.len() == 3 && hidden.iter().all(|listed| &listed.zone == zone && !listed.ready), "{hidden:?}");
    let more = |_: &WorkerFleet| live(&scene).len() > 9;
    scene.wait::<WorkerFleet>("web", "others in their place", more).await;
    darken(&scene, zone, false);
    let nine = |fleet: &WorkerFleet| status(fleet).replicas == 9 && live(&scene).len() == 9;
    scene.wait::<WorkerFleet>("web", "nine in all", nine).await;
}
