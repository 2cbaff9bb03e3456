//! `muster.dev/plan-only`: the plan is in the status, and nothing is done.

use std::collections::BTreeSet;

use muster::crd::worker_fleet::WorkerFleet;
use muster_sandbox::CallQuery;
use serde_json::json;

use crate::support::{
    fleet::{calls_at_rest, ids, live, spec, status, wait_settled},
    scene::Scene,
};

#[tokio::test]
async fn a_plan_is_shown_and_nothing_is_changed() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 2, json!({}))).await;
    wait_settled(&scene, "web", 2).await;
    let before = ids(&live(&scene));
    let last = scene.sandbox.calls(&CallQuery::default()).last().unwrap().number;
    let only = json!({"metadata": {"annotations": {"muster.dev/plan-only": "true"}}});
    scene.change::<WorkerFleet>("web", only).await;
    scene
        .wait::<WorkerFleet>("web", "an empty plan", |f| status(f).workers.plan.is_some_and(|p| p.steps.is_empty()))
        .await;
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 0}})).await;
    let steps = |wanted: &'static str| {
        move |fleet: &WorkerFleet| {
            status(fleet)
                .workers
                .plan
                .is_some_and(|plan| !plan.steps.is_empty() && plan.steps.iter().all(|s| s.starts_with(wanted)))
        }
    };
    let plan = status(&scene.wait::<WorkerFleet>("web", "ends", steps("terminate ")).await).workers.plan.unwrap();
    assert!(before.iter().all(|id| plan.steps[0].contains(id)), "{plan:?}");
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 5}})).await;
    scene.wait::<WorkerFleet>("web", "launches", steps("launch ")).await;
    calls_at_rest(&scene).await;
    let query = CallQuery { service: Some("ec2".into()), after: Some(last), ..CallQuery::default() };
    let called: BTreeSet<_> = scene.sandbox.calls(&query).into_iter().map(|call| call.operation).collect();
    assert!(called.iter().all(|operation| operation.starts_with("Describe")), "{called:?}");
    assert_eq!(ids(&live(&scene)), before);
    scene.change::<WorkerFleet>("web", json!({"metadata": {"annotations": {"muster.dev/plan-only": null}}})).await;
    let done = wait_settled(&scene, "web", 5).await;
    assert_eq!(status(&done).workers.plan, None);
}
