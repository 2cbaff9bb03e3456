//! Workers may write any object below the prefix of their job. Only results of instances that were launched for their
//! index count, however many others there are and however long nobody looked.

use std::collections::BTreeSet;

use muster::crd::worker_job::WorkerJob;
use muster_sandbox::{CallQuery, InstanceState};
use serde_json::json;

use crate::support::{
    fleet::live,
    job::{Deed, Workers, bucket, index, is, key, launched, lists, spec, status, wait_ended},
    scene::{REGION, Scene, condition},
};

fn done(index: usize) -> String {
    json!({"index": index, "exitCode": 0}).to_string()
}

fn degraded(job: &WorkerJob) -> String {
    let (truth, reason, message) = condition(&status(job).common.conditions, "Degraded").unwrap_or_default();
    if truth == "True" && reason == "SomeObjectsUnreadable" { message } else { String::new() }
}

/// The part of the keys of a job's results that precedes the index.
fn folder(scene: &Scene) -> String {
    let worker = live(scene).into_iter().next().unwrap();
    key(&worker).strip_suffix(&format!("{}/{}", index(&worker), worker.id)).unwrap().to_owned()
}

#[tokio::test]
async fn results_in_the_name_of_instances_that_never_were_change_nothing_and_are_named() {
    let scene = Scene::new().await;
    let _workers = Workers::start(&scene, |index, _| if index == 0 { Deed::Hangs } else { Deed::Exits(0) });
    let _controller = scene.start().await;
    scene.create::<WorkerJob>("work", spec(&scene, 3, 1, json!({}))).await;
    let at_work = |job: &WorkerJob| status(job).active == 1 && status(job).workers.launches.is_empty();
    scene.wait::<WorkerJob>("work", "the first at work", at_work).await;
    let (s3, bucket, folder) = (scene.sandbox.s3(), bucket(&scene), folder(&scene));
    for index in 0..3 {
        s3.put(&bucket, &format!("{folder}{index}/i-00000000000000bad"), done(index)).unwrap();
    }
    // And one that the terminal of whoever reads the status would obey.
    s3.put(&bucket, &format!("{folder}\u{1b}[2J\u{202e}gpj"), "x").unwrap();
    let told = |job: &WorkerJob| degraded(job).matches("i-00000000000000bad").count() == 3;
    let job = scene.wait::<WorkerJob>("work", "three named", told).await;
    let message = degraded(&job);
    assert!(message.contains("not known to have been launched for this index"), "{message}");
    assert!(message.contains(r"\u{1b}[2J\u{202e}gpj: the key does not end in"), "{message}");
    assert_eq!((lists(&job), launched(&scene)), ((String::new(), String::new()), [(0, 1)].into()));
    let first = live(&scene).remove(0);
    s3.put(&bucket, &key(&first), done(0)).unwrap();
    scene.sandbox.shut_down_from_inside(&first.id).unwrap();
    let job = wait_ended(&scene, "work", "Complete", "CompletionsReached").await;
    assert_eq!((lists(&job).0.as_str(), launched(&scene)), ("0-2", [(0, 1), (1, 1), (2, 1)].into()));
}

#[tokio::test]
async fn results_of_workers_that_vanished_while_no_controller_ran_count() {
    let scene = Scene::new().await;
    let _workers = Workers::start(&scene, |index, _| if index < 2 { Deed::Hangs } else { Deed::Exits(0) });
    let controller = scene.start().await;
    scene.create::<WorkerJob>("work", spec(&scene, 3, 2, json!({}))).await;
    let listed = |job: &WorkerJob| status(job).instances.len() == 2 && status(job).workers.launches.is_empty();
    scene.wait::<WorkerJob>("work", "two at work", listed).await;
    controller.kill().await;
    let (s3, bucket, folder) = (scene.sandbox.s3(), bucket(&scene), folder(&scene));
    s3.put(&bucket, &format!("{folder}2/i-00000000000000bad"), done(2)).unwrap();
    let mut events = scene.sandbox.instance_events();
    let workers = live(&scene);
    for worker in &workers {
        s3.put(&bucket, &key(worker), done(index(worker) as usize)).unwrap();
        scene.sandbox.shut_down_from_inside(&worker.id).unwrap();
    }
    while scene.sandbox.instances_of(&scene.account).iter().any(|i| i.state != InstanceState::Terminated) {
        events.recv().await.unwrap();
    }
    // EC2 forgets them, as it does after an hour.
    let zones: BTreeSet<_> = workers.iter().map(|worker| worker.zone.clone()).collect();
    let darken = |dark| zones.iter().for_each(|zone| scene.sandbox.set_zone_dark(&scene.account, REGION, zone, dark));
    darken(true);
    let _successor = scene.start().await;
    scene.wait::<WorkerJob>("work", "two counted", |job| lists(job).0 == "0,1" && !degraded(job).is_empty()).await;
    darken(false);
    wait_ended(&scene, "work", "Complete", "CompletionsReached").await;
    assert_eq!(launched(&scene), [(0, 1), (1, 1), (2, 1)].into());
}

#[tokio::test]
async fn more_forged_results_than_are_listed_do_not_hold_up_a_job() {
    const PAGES: usize = 20;
    let scene = Scene::new().await;
    let _workers = Workers::start(&scene, |_, _| Deed::Hangs);
    let _controller = scene.start().await;
    scene.create::<WorkerJob>("work", spec(&scene, 3, 2, json!({}))).await;
    let at_work = |job: &WorkerJob| status(job).active == 2 && status(job).workers.launches.is_empty();
    scene.wait::<WorkerJob>("work", "two at work", at_work).await;
    let (s3, bucket, folder) = (scene.sandbox.s3(), bucket(&scene), folder(&scene));
    let forged = (0..25_000).map(|n| (format!("{folder}0/i-{n:017x}"), done(0).into()));
    s3.fill(&bucket, forged).unwrap();
    let told = |job: &WorkerJob| degraded(job).contains("there are more objects than are looked at");
    scene.wait::<WorkerJob>("work", "told", told).await;
    scene.sandbox.clear_calls();
    let calls = |operation: &str| scene.sandbox.calls(&CallQuery::operation("s3", operation)).len();
    let query = CallQuery::operation("s3", "ListObjectsV2");
    scene.sandbox.wait_for_calls(&query, |calls| calls.len() >= 2 * PAGES).await;
    // Two results are awaited, and nothing else is read.
    let passes = calls("ListObjectsV2") / PAGES + 1;
    assert!(calls("GetObject") <= 2 * passes, "{} in {passes} passes", calls("GetObject"));
    let mut done_so_far = 0;
    while done_so_far < 3 {
        for worker in live(&scene) {
            s3.put(&bucket, &key(&worker), done(index(&worker) as usize)).unwrap();
            scene.sandbox.shut_down_from_inside(&worker.id).unwrap();
            done_so_far += 1;
        }
        let counted = |job: &WorkerJob| {
            let (status, done) = (status(job), status(job).succeeded);
            done == done_so_far && (done == 3 || status.active == 1 && status.workers.launches.is_empty())
        };
        scene.wait::<WorkerJob>("work", "counted", counted).await;
    }
    let job = wait_ended(&scene, "work", "Complete", "CompletionsReached").await;
    assert!(is(&job, "Complete", "True", "CompletionsReached"));
    assert_eq!(launched(&scene), [(0, 1), (1, 1), (2, 1)].into());
}

/// Who may copy objects could try to read parameters in the messages about a result.
#[tokio::test]
async fn a_document_of_parameters_in_the_place_of_a_result_is_not_read() {
    const VALUE: &str = "hunter2-of-the-job";
    let scene = Scene::new().await;
    let _workers = Workers::start(&scene, |_, _| Deed::Hangs);
    let _controller = scene.start().await;
    let parameters = json!({
        "store": {"s3": {"bucket": bucket(&scene), "prefix": "parameters"}},
        "values": [{"name": "password", "value": VALUE}],
    });
    scene.create::<WorkerJob>("work", spec(&scene, 1, 1, json!({"parameters": parameters}))).await;
    let at_work = |job: &WorkerJob| status(job).active == 1 && status(job).workers.launches.is_empty();
    scene.wait::<WorkerJob>("work", "at work", at_work).await;
    let (s3, bucket, worker) = (scene.sandbox.s3(), bucket(&scene), live(&scene).remove(0));
    let document = s3.keys(&bucket, "parameters/").unwrap().remove(0);
    s3.copy(&bucket, &document, &key(&worker)).unwrap();
    let told = |job: &WorkerJob| degraded(job).contains("a document with parameters that muster wrote");
    let job = scene.wait::<WorkerJob>("work", "rejected by name", told).await;
    assert!(degraded(&job).contains(&key(&worker)), "{}", degraded(&job));
    assert_eq!(lists(&job), (String::new(), String::new()));
    assert!(!serde_json::to_string(&job.status).unwrap().contains(VALUE), "{:#?}", job.status);
    s3.put(&bucket, &key(&worker), done(0)).unwrap();
    scene.sandbox.shut_down_from_inside(&worker.id).unwrap();
    wait_ended(&scene, "work", "Complete", "CompletionsReached").await;
}
