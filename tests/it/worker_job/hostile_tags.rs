//! Somebody who may tag instances changes the tags of a job's workers.

use std::collections::{BTreeMap, BTreeSet};

use muster::crd::worker_job::WorkerJob;
use serde_json::json;

use crate::support::{
    fleet::{calls_at_rest, ids, live, terminations},
    job::{bucket, index, is, key, spec, status},
    scene::Scene,
};

#[tokio::test]
async fn workers_with_changed_indexes_are_kept_and_their_own_results_count() {
    let scene = Scene::new().await;
    let controller = scene.start().await;
    scene.create::<WorkerJob>("work", spec(&scene, 2, 2, json!({}))).await;
    let runs = |job: &WorkerJob| status(job).active == 2 && status(job).workers.launches.is_empty();
    scene.wait::<WorkerJob>("work", "both run", runs).await;
    let workers = live(&scene);
    for (tag, value) in [("muster.dev:indexes", "0"), ("muster.dev:role", "nope"), ("muster.dev:revision", "../x")] {
        let change = BTreeMap::from([(tag.to_owned(), value.to_owned())]);
        workers.iter().for_each(|worker| scene.sandbox.tag_instance(&worker.id, &change).unwrap());
    }
    scene.wait::<WorkerJob>("work", "a warning", |job| is(job, "OrphansFound", "True", "TagsChanged")).await;
    // A process that has not seen the launches knows the indexes from the status.
    controller.kill().await;
    let _controller = scene.start().await;
    calls_at_rest(&scene).await;
    let at_rest = BTreeSet::from(["DescribeInstances", "ListObjectsV2"].map(String::from));
    assert!(calls_at_rest(&scene).await.is_subset(&at_rest));
    assert_eq!((ids(&live(&scene)), terminations(&scene)), (ids(&workers), 0));

    assert_eq!(workers.iter().map(index).collect::<BTreeSet<_>>(), BTreeSet::from([0, 1]));
    for worker in &workers {
        let body = json!({"index": index(worker), "exitCode": 0}).to_string();
        scene.sandbox.s3().put(&bucket(&scene), &key(worker), body).unwrap();
        scene.sandbox.shut_down_from_inside(&worker.id).unwrap();
    }
    let job =
        scene.wait::<WorkerJob>("work", "complete", |job| is(job, "Complete", "True", "CompletionsReached")).await;
    assert_eq!((status(&job).succeeded, scene.sandbox.instances_of(&scene.account).len()), (2, 2));
}
