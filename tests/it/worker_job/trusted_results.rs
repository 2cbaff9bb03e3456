//! Only a result that the worker of an index wrote itself counts.

use std::collections::BTreeMap;

use muster::crd::worker_job::WorkerJob;
use muster_sandbox::CallQuery;
use serde_json::json;

use crate::support::{
    fleet::live,
    job::{Deed, Workers, bucket, index, is, key, lists, spec, status, wait_ended},
    scene::{REGION, Scene, condition},
};

#[tokio::test]
async fn invalid_results_do_not_count_and_are_named() {
    let scene = Scene::new().await;
    let _workers = Workers::start(&scene, |_, _| Deed::Hangs);
    let _controller = scene.start().await;
    scene.create::<WorkerJob>("work", spec(&scene, 4, 4, json!({}))).await;
    scene
        .wait::<WorkerJob>("work", "four at work", |job| {
            status(job).active == 4 && status(job).workers.launches.is_empty()
        })
        .await;
    let instances: BTreeMap<_, _> = live(&scene).into_iter().map(|instance| (index(&instance), instance)).collect();
    let (s3, bucket) = (scene.sandbox.s3(), bucket(&scene));
    s3.put(&bucket, &key(&instances[&0]), "{\"index\": 0, ").unwrap();
    s3.put(&bucket, &key(&instances[&1]), "{\"index\": 2, \"exitCode\": 0}").unwrap();
    s3.put_generated(&bucket, &key(&instances[&2]), "{".into(), 2 << 30).unwrap();
    let place = key(&instances[&3]).rsplit_once("/3/").unwrap().0.to_owned();
    // The worker of index 3 also writes a result for index 0.
    s3.put(&bucket, &format!("{place}/0/{}", instances[&3].id), "{\"index\": 0, \"exitCode\": 0}").unwrap();
    s3.put(&bucket, &format!("{place}/notes\u{1}.txt"), "x").unwrap();
    let told = scene
        .wait::<WorkerJob>("work", "five named", |job| {
            condition(&status(job).common.conditions, "Degraded")
                .is_some_and(|(truth, _, message)| truth == "True" && message.matches(&place).count() == 5)
        })
        .await;
    let (_, reason, message) = condition(&status(&told).common.conditions, "Degraded").unwrap();
    assert_eq!(reason, "SomeObjectsUnreadable");
    for part in ["the body names index 2", "larger than 4096 bytes", "launched for index 3", "does not end in <index>"]
    {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(lists(&told), (String::new(), String::new()));
    let read = |call: &muster_sandbox::Call| call.operation == "GetObject";
    let bytes = scene.sandbox.calls(&Default::default()).iter().filter(|call| read(call)).count();
    assert!(bytes > 0);
    instances.values().for_each(|instance| scene.sandbox.shut_down_from_inside(&instance.id).unwrap());
    let job = wait_ended(&scene, "work", "Failed", "FailedIndexes").await;
    assert_eq!(lists(&job), (String::new(), "0-3".into()));
}

#[tokio::test]
async fn a_result_for_another_index_does_not_count_after_its_instance_is_gone() {
    let scene = Scene::new().await;
    let _workers = Workers::start(&scene, |index, _| if index == 0 { Deed::ClaimsAll(3) } else { Deed::Hangs });
    let controller = scene.start().await;
    scene.create::<WorkerJob>("work", spec(&scene, 3, 1, json!({}))).await;
    let second = |job: &WorkerJob| {
        let status = status(job);
        let holders: Vec<_> = status.instances.iter().map(|holder| holder.index).collect();
        status.workers.launches.is_empty() && holders == [Some(1)]
    };
    let told = |job: &WorkerJob| is(job, "Degraded", "True", "SomeObjectsUnreadable");
    let job = scene.wait::<WorkerJob>("work", "the second at work", |job| second(job) && told(job)).await;
    assert_eq!(lists(&job).0, "0");
    controller.kill().await;
    // EC2 no longer returns the instance whose result must not count.
    let gone = scene.sandbox.instances_of(&scene.account).into_iter().find(|instance| index(instance) == 0).unwrap();
    scene.sandbox.set_zone_dark(&scene.account, REGION, &gone.zone, true);
    let _successor = scene.start().await;
    scene.sandbox.clear_calls();
    let listings = CallQuery { operation: Some("ListObjectsV2".into()), ..CallQuery::default() };
    scene.sandbox.wait_for_calls(&listings, |calls| calls.len() > 2).await;
    let job = scene.api::<WorkerJob>().get("work").await.unwrap();
    assert_eq!(lists(&job).0, "0");
    assert!(told(&job), "{:#?}", status(&job));
}
