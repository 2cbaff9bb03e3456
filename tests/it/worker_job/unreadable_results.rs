//! A result that S3 lists and refuses to read holds its index, and nothing else.

use muster::crd::worker_job::WorkerJob;
use muster_sandbox::Instance;
use serde_json::json;

use crate::support::{
    job::{Deed, Workers, bucket, index, is, key, launched, lists, spec, status, wait_ended},
    scene::{Controller, Scene, condition},
};

/// A job of three indexes, one at a time, of which the first has written its result into an archive. Returns the worker
/// that wrote it.
async fn archived(scene: &Scene, fields: serde_json::Value) -> (Workers, Controller, Instance) {
    let workers = Workers::start(scene, |index, before| match (index, before) {
        (0, 0) => Deed::Archives(0),
        _ => Deed::Exits(0),
    });
    let controller = scene.start().await;
    scene.create::<WorkerJob>("work", spec(scene, 3, 1, fields)).await;
    let job = scene.wait::<WorkerJob>("work", "the others counted, and one held", is_held).await;
    let worker = scene.sandbox.instances_of(&scene.account).into_iter().find(|worker| index(worker) == 0).unwrap();
    let (_, _, message) = condition(&status(&job).common.conditions, "Degraded").unwrap();
    for part in [key(&worker).as_str(), "InvalidObjectState", "make the object readable", "delete the object"] {
        assert!(message.contains(part), "{message}");
    }
    let (_, _, message) = condition(&status(&job).common.conditions, "Ready").unwrap();
    assert!(message.contains("1 wait for a result that cannot be read"), "{message}");
    assert!(condition(&status(&job).common.conditions, "Stalled").is_some(), "a user must act");
    assert_eq!((lists(&job).1.as_str(), launched(scene)), ("", [(0, 1), (1, 1), (2, 1)].into()));
    (workers, controller, worker)
}

/// Its instance has ended, which no list of instances shows any more.
fn is_held(job: &WorkerJob) -> bool {
    let ended = status(job).active == 0 && status(job).instances.is_empty();
    lists(job).0 == "1,2" && is(job, "Degraded", "True", "SomeObjectsUnreadable") && ended
}

#[tokio::test]
async fn an_archived_result_counts_once_it_can_be_read_also_by_another_process() {
    let scene = Scene::new().await;
    let (_workers, controller, worker) = archived(&scene, json!({})).await;
    controller.kill().await;
    let _successor = scene.start().await;
    scene.sandbox.clear_calls();
    let reads = muster_sandbox::CallQuery::operation("s3", "GetObject");
    scene.sandbox.wait_for_calls(&reads, |calls| calls.len() > 2).await;
    assert_eq!(launched(&scene), [(0, 1), (1, 1), (2, 1)].into(), "it is not run again");
    let result = json!({"index": 0, "exitCode": 0}).to_string();
    scene.sandbox.s3().put(&bucket(&scene), &key(&worker), result).unwrap();
    let job = wait_ended(&scene, "work", "Complete", "CompletionsReached").await;
    assert_eq!((lists(&job).0.as_str(), launched(&scene)), ("0-2", [(0, 1), (1, 1), (2, 1)].into()));
    assert!(is(&job, "Degraded", "False", "ResultsReadable"), "{:#?}", status(&job));
}

#[tokio::test]
async fn an_archived_failure_counts_once_when_it_can_be_read() {
    let scene = Scene::new().await;
    let (_workers, _controller, worker) = archived(&scene, json!({"backoffLimitPerIndex": 1})).await;
    let result = json!({"index": 0, "exitCode": 1}).to_string();
    scene.sandbox.s3().put(&bucket(&scene), &key(&worker), result).unwrap();
    let job = wait_ended(&scene, "work", "Complete", "CompletionsReached").await;
    assert_eq!((lists(&job).0.as_str(), launched(&scene)), ("0-2", [(0, 2), (1, 1), (2, 1)].into()));
}

#[tokio::test]
async fn the_index_of_an_archived_result_that_is_deleted_runs_again() {
    let scene = Scene::new().await;
    let (_workers, _controller, worker) = archived(&scene, json!({})).await;
    scene.sandbox.s3().remove(&bucket(&scene), &key(&worker)).unwrap();
    let job = wait_ended(&scene, "work", "Complete", "CompletionsReached").await;
    assert_eq!((lists(&job).0.as_str(), launched(&scene)), ("0-2", [(0, 2), (1, 1), (2, 1)].into()));
}
