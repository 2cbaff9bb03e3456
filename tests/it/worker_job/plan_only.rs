//! `muster.dev/plan-only`: the status of a job shows its plan and its AMI, and nothing is done.

use muster::crd::worker_job::{WorkerJob, WorkerJobStatus};
use muster_sandbox::{CallQuery, ImageSpec};
use serde_json::json;

use crate::support::{
    fleet::{calls_at_rest, live},
    job::{Deed, Workers, is, launched, spec, status, wait_ended},
    scene::{REGION, Scene, condition},
};

fn steps(status: &WorkerJobStatus) -> Option<Vec<String>> {
    status.workers.plan.as_ref().map(|plan| plan.steps.clone())
}

#[tokio::test]
async fn the_plan_of_a_job_is_shown_and_nothing_is_changed() {
    let scene = Scene::new().await;
    let _workers = Workers::start(&scene, |_, _| Deed::Hangs);
    let _controller = scene.start().await;
    let mut desired = spec(&scene, 4, 2, json!({"activeDeadlineSeconds": 1}));
    desired["template"]["subnets"]["ids"].as_array_mut().unwrap().truncate(1);
    scene.create_plan_only::<WorkerJob>("work", desired).await;
    let told = |count: usize, wanted: &'static str| {
        move |job: &WorkerJob| {
            steps(&status(job)).is_some_and(|steps| steps.len() == count && steps.iter().all(|s| s.contains(wanted)))
        }
    };
    let planned = scene.wait::<WorkerJob>("work", "a launch", told(1, "for the indexes 0,1 in ")).await;
    assert!(steps(&status(&planned)).unwrap()[0].starts_with("launch 2 "), "{planned:#?}");
    let (truth, reason, message) = condition(&status(&planned).common.conditions, "Ready").unwrap();
    assert_eq!((&*truth, &*reason), ("False", "PlanOnly"));
    assert!(message.contains("while muster.dev/plan-only is true"), "{message}");
    assert_eq!(status(&planned).start_time, None, "nor does its deadline pass");
    assert!(is(&planned, "AmiResolved", "True", "AmiFound"));
    calls_at_rest(&scene).await;
    let query = CallQuery { service: Some("ec2".into()), ..CallQuery::default() };
    let called = scene.sandbox.calls(&query);
    assert!(called.iter().all(|call| call.operation.starts_with("Describe")), "{called:#?}");
    let free = json!({"metadata": {"annotations": {"muster.dev/plan-only": null}}});
    scene.change::<WorkerJob>("work", free).await;
    let job = wait_ended(&scene, "work", "Failed", "DeadlineExceeded").await;
    assert_eq!((steps(&status(&job)), launched(&scene)), (None, [(0, 1), (1, 1)].into()));
}

#[tokio::test]
async fn the_plan_contains_the_terminations() {
    let scene = Scene::new().await;
    let _workers = Workers::start(&scene, |_, _| Deed::Hangs);
    let _controller = scene.start().await;
    scene.create::<WorkerJob>("work", spec(&scene, 3, 3, json!({}))).await;
    let at_work = |job: &WorkerJob| status(job).active == 3 && status(job).workers.launches.is_empty();
    scene.wait::<WorkerJob>("work", "three at work", at_work).await;
    let only = json!({"metadata": {"annotations": {"muster.dev/plan-only": "true"}}, "spec": {"parallelism": 1}});
    scene.change::<WorkerJob>("work", only).await;
    let job = scene
        .wait::<WorkerJob>("work", "an end", |job| steps(&status(job)).is_some_and(|steps| !steps.is_empty()))
        .await;
    let steps = steps(&status(&job)).unwrap();
    let last: Vec<_> = status(&job).instances.into_iter().filter(|holder| holder.index != Some(0)).collect();
    assert!(steps.len() == 1 && steps[0].starts_with("terminate ") && steps[0].ends_with("(ScaleDown)"), "{steps:?}");
    assert!(last.len() == 2 && last.iter().all(|holder| steps[0].contains(holder.id.as_str())), "{steps:?}");
    assert_eq!(live(&scene).len(), 3);
}

#[tokio::test]
async fn the_image_of_a_job_is_resolved_from_its_parameter_or_the_reason_is_shown() {
    let scene = Scene::new().await;
    let _workers = Workers::start(&scene, |_, _| Deed::Exits(0));
    let _controller = scene.start().await;
    let mut desired = spec(&scene, 1, 1, json!({}));
    desired["template"]["ami"] = json!({"ssmParameter": "/aws/service/app/latest"});
    scene.create::<WorkerJob>("work", desired).await;
    let missing = |job: &WorkerJob| {
        condition(&status(job).common.conditions, "AmiResolved").is_some_and(|(truth, _, _)| truth == "False")
    };
    let job = scene.wait::<WorkerJob>("work", "no image", missing).await;
    let (_, _, message) = condition(&status(&job).common.conditions, "AmiResolved").unwrap();
    assert!(message.contains("/aws/service/app/latest") && message.contains("no worker is launched"), "{message}");
    assert_eq!(live(&scene), []);
    let image = scene.sandbox.add_image(ImageSpec { public: true, ..ImageSpec::new(&scene.account, REGION, "app") });
    scene.sandbox.put_public_parameter(REGION, "/aws/service/app/latest", &image.id);
    let job = wait_ended(&scene, "work", "Complete", "CompletionsReached").await;
    assert!(is(&job, "AmiResolved", "True", "AmiFound"));
    assert_eq!(status(&job).workers.ami.unwrap().id.as_str(), image.id);
}
