//! With `muster.dev/plan-only` no parameter is written; without it, parameters are written before the first launch.

use kube::ResourceExt;
use muster::crd::{fields::Preview, worker_fleet::WorkerFleet, worker_job::WorkerJob};
use muster_sandbox::CallQuery;
use serde_json::{Value, json};

use super::{
    BUCKET, documents, fleet_spec, in_s3, newest, parameters, read_on_worker, scene, start, synced, values_of,
};
use crate::support::{
    fleet::{launches, live, settled, status, wait_settled, with},
    job,
    scene::{REGION, Scene, condition},
};

fn plan_only(value: Option<&str>) -> Value {
    json!({"metadata": {"annotations": {"muster.dev/plan-only": value}}})
}

fn threads(count: &str) -> Value {
    parameters(in_s3(), json!([{"name": "threads", "value": count}]))
}

/// The plan writes the value and then launches a worker.
fn plans_a_launch(plan: Option<&Preview>) -> bool {
    let [write, rest @ ..] = plan.map_or(&[][..], |plan| &plan.steps) else { return false };
    write == "write parameters: 1 value for main" && rest.iter().any(|step| step.starts_with("launch "))
}

/// The number of the first call of `operation`.
fn first(scene: &Scene, service: &str, operation: &str) -> u64 {
    scene.sandbox.calls(&CallQuery::operation(service, operation)).first().expect(operation).number
}

#[tokio::test]
async fn a_fleets_parameters_are_written_before_its_first_launch_after_plan_only() {
    let scene = scene().await;
    let _controller = start(&scene).await;
    scene.create_plan_only::<WorkerFleet>("web", fleet_spec(&scene, 1, threads("4"))).await;
    let planned = |fleet: &WorkerFleet| plans_a_launch(status(fleet).workers.plan.as_ref());
    let fleet = scene.wait::<WorkerFleet>("web", "a plan", planned).await;
    assert!(synced(&fleet, "False", "PlanOnly"), "{fleet:#?}");
    assert_eq!((documents(&scene).len(), launches(&scene)), (0, 0));
    scene.change::<WorkerFleet>("web", plan_only(None)).await;
    wait_settled(&scene, "web", 1).await;
    assert!(first(&scene, "s3", "PutObject") < first(&scene, "ec2", "RunInstances"));
    assert_eq!(read_on_worker(&scene, &newest(&scene)).await.0, json!({"threads": "4"}));
}

#[tokio::test]
async fn a_jobs_parameters_are_written_before_its_first_launch_after_plan_only() {
    let scene = Scene::new().await;
    scene.sandbox.s3().ensure_bucket(scene.account.as_str(), REGION, BUCKET).unwrap();
    let _controller = start(&scene).await;
    scene.create_plan_only::<WorkerJob>("work", with(job::spec(&scene, 1, 1, json!({})), threads("4"))).await;
    let planned = |job: &WorkerJob| plans_a_launch(job::status(job).workers.plan.as_ref());
    let job = scene.wait::<WorkerJob>("work", "a plan", planned).await;
    let told = condition(&job::status(&job).common.conditions, "ParametersSynced").unwrap();
    assert_eq!((&*told.0, &*told.1), ("False", "PlanOnly"));
    let uid = job.uid().unwrap();
    assert_eq!((documents(&scene).len(), launches(&scene)), (0, 0));
    scene.change::<WorkerJob>("work", plan_only(None)).await;
    scene.wait::<WorkerJob>("work", "one at work", |job| job::status(job).active == 1).await;
    assert!(first(&scene, "s3", "PutObject") < first(&scene, "ec2", "RunInstances"));
    let (key, document) = documents(&scene).pop_first().unwrap();
    assert_eq!((key.starts_with(&format!("app/{uid}/")), values_of(&document)), (true, json!({"threads": "4"})));
    let fetch = String::from_utf8(live(&scene)[0].decoded_user_data().unwrap()).unwrap();
    assert!(fetch.contains(&format!("{BUCKET}/{key}")), "{fetch}");
}

#[tokio::test]
async fn a_value_edited_during_plan_only_is_written_immediately_afterwards() {
    let scene = scene().await;
    let _controller = start(&scene).await;
    let replace = json!({"parameters": {"onChange": "Replace"}});
    let spec = with(with(fleet_spec(&scene, 1, threads("4")), replace), json!({"update": {"maxUnavailable": 1}}));
    scene.create::<WorkerFleet>("web", spec).await;
    let before = wait_settled(&scene, "web", 1).await;
    let worker = newest(&scene);
    scene.change::<WorkerFleet>("web", plan_only(Some("true"))).await;
    let steps = |fleet: &WorkerFleet| status(fleet).workers.plan.map(|plan| plan.steps.len());
    let fleet = scene.wait::<WorkerFleet>("web", "an empty plan", |fleet| steps(fleet) == Some(0)).await;
    assert!(synced(&fleet, "True", "ParametersWritten"), "{fleet:#?}");
    scene.change::<WorkerFleet>("web", json!({"spec": threads("8")})).await;
    let planned = |fleet: &WorkerFleet| plans_a_launch(status(fleet).workers.plan.as_ref());
    let fleet = scene.wait::<WorkerFleet>("web", "what follows", planned).await;
    assert!(synced(&fleet, "False", "PlanOnly"), "{fleet:#?}");
    let (_, _, message) = condition(&status(&fleet).common.conditions, "ParametersSynced").unwrap();
    assert!(message.contains("(1 value for main), because the annotation muster.dev/plan-only is true"), "{message}");
    let hash = |fleet: &WorkerFleet| status(fleet).workers.parameters.parameters_hash;
    assert_eq!(hash(&fleet), hash(&before), "it is what workers read now");
    scene.change::<WorkerFleet>("web", json!({"spec": {"suspend": true}})).await;
    let held = |fleet: &WorkerFleet| synced(fleet, "False", "Suspended") && steps(fleet).is_none();
    scene.wait::<WorkerFleet>("web", "told of the other reason", held).await;
    scene.change::<WorkerFleet>("web", plan_only(None)).await;
    let written = |value: &str| documents(&scene).into_values().any(|text| text.contains(&format!("\"{value}\"")));
    assert!(written("4") && !written("8"));
    assert_eq!((newest(&scene), launches(&scene)), (worker.clone(), 1));
    scene.change::<WorkerFleet>("web", json!({"spec": {"suspend": false}})).await;
    scene.wait::<WorkerFleet>("web", "another", |fleet| settled(fleet, 1) && newest(&scene) != worker).await;
    assert!(written("8"));
    assert_eq!(read_on_worker(&scene, &newest(&scene)).await.0, json!({"threads": "8"}));
}
