//! A WorkerJob while instances, zones, its status or permissions fail: no index runs twice, and only real failures count.

use std::collections::BTreeSet;

use muster::{
    clock::Timings,
    config::Config,
    crd::worker_job::{WorkerJob, WorkerJobStatus},
};
use muster_sandbox::{CallQuery, Fault, FaultAction, InstanceState, Market};
use serde_json::json;

use crate::support::{
    fleet::{ids, launches, live, with},
    job::{Deed, Workers, bucket, index, is, launched, lists, spec, status, wait_ended},
    scene::{Controller, PATIENCE, REGION, Scene, condition},
};

#[tokio::test]
async fn failures_of_the_infrastructure_are_retried_and_do_not_count() {
    let scene = Scene::new().await;
    let workers = Workers::start(&scene, |index, before| match (index, before) {
        (0, 0) => Deed::IsTerminated,
        (1, 0) => Deed::IsStopped,
        (2, 0 | 1) => Deed::Dies,
        _ => Deed::Exits(0),
    });
    let _controller = scene.start().await;
    scene.create::<WorkerJob>("work", spec(&scene, 3, 3, json!({}))).await;
    let job = wait_ended(&scene, "work", "Complete", "CompletionsReached").await;
    assert_eq!(lists(&job), ("0-2".into(), String::new()));
    assert_eq!(workers.runs(), [(0, 2), (1, 2), (2, 3)].into());
}

#[tokio::test]
async fn a_spot_interruption_is_not_a_failure_and_an_earlier_result_counts() {
    let scene = Scene::new().await;
    let workers = Workers::start(&scene, |index, before| match (index, before) {
        (0, 0 | 1) => Deed::IsReclaimed(None),
        (1, 0 | 1) => Deed::IsInterrupted,
        (2, _) => Deed::IsReclaimed(Some(0)),
        (3, _) => Deed::IsReclaimed(Some(7)),
        _ => Deed::Exits(0),
    });
    let _controller = scene.start().await;
    let mut desired = spec(&scene, 4, 4, json!({}));
    desired["template"]["capacityType"] = json!("Spot");
    scene.create::<WorkerJob>("work", desired).await;
    let job = wait_ended(&scene, "work", "Failed", "FailedIndexes").await;
    assert_eq!(lists(&job), ("0-2".into(), "3".into()), "with backoffLimitPerIndex 0");
    assert_eq!(workers.runs(), [(0, 3), (1, 3), (2, 1), (3, 1)].into());
    let instances = scene.sandbox.instances_of(&scene.account);
    assert!(instances.iter().all(|instance| instance.market == Market::Spot));
    let reclaimed = instances.iter().filter(|instance| {
        instance.state_reason.as_ref().is_some_and(|reason| reason.code == "Server.SpotInstanceTermination")
    });
    assert_eq!(reclaimed.count(), 6, "EC2 terminated them, not the workers and not muster");
}

#[tokio::test]
async fn while_results_are_unreadable_no_index_is_retried_and_the_deadline_applies() {
    let scene = Scene::new().await;
    let _workers = Workers::start(&scene, |_, _| Deed::Hangs);
    let _controller = scene.start().await;
    scene.create::<WorkerJob>("work", spec(&scene, 3, 2, json!({"activeDeadlineSeconds": 6}))).await;
    scene.wait::<WorkerJob>("work", "two at work", two_are_listed).await;
    let denied = FaultAction::Error { code: "AccessDenied".into(), message: None, status: None };
    let fault = scene.sandbox.add_fault(Fault::always("s3", "ListObjectsV2", denied));
    let instances = live(&scene);
    let first = instances.iter().find(|instance| index(instance) == 0).unwrap();
    scene.sandbox.shut_down_from_inside(&first.id).unwrap();
    let unread = |job: &WorkerJob| is(job, "Stalled", "True", "AwsDenied") && is(job, "Degraded", "True", "AwsDenied");
    let job = scene.wait::<WorkerJob>("work", "denied", unread).await;
    let (_, _, message) = condition(&status(&job).common.conditions, "Ready").unwrap();
    assert!(message.contains("s3:ListBucket") && message.contains("nothing is launched"), "{message}");
    let job = wait_ended(&scene, "work", "Failed", "DeadlineExceeded").await;
    assert_eq!((lists(&job).1.as_str(), launched(&scene)), ("", [(0, 1), (1, 1)].into()));
    assert_eq!(live(&scene).len(), 0);
    scene.sandbox.remove_fault(fault);
}

/// A job with two workers that hang, and no controller.
async fn two_workers_and_no_controller(scene: &Scene) -> Workers {
    let workers = Workers::start(scene, |_, _| Deed::Hangs);
    let controller = scene.start().await;
    scene.create::<WorkerJob>("work", spec(scene, 3, 2, json!({}))).await;
    scene.wait::<WorkerJob>("work", "two at work", two_are_listed).await;
    controller.kill().await;
    workers
}

fn two_are_listed(job: &WorkerJob) -> bool {
    two_are_listed_as(job, [0, 1])
}

fn two_are_listed_as(job: &WorkerJob, expected: [i32; 2]) -> bool {
    let status = status(job);
    let indexes: BTreeSet<_> = status.instances.iter().filter_map(|holder| holder.index).collect();
    status.workers.launches.is_empty() && status.active == 2 && indexes == expected.into()
}

#[tokio::test]
async fn a_controller_started_while_a_zone_is_not_shown_runs_no_index_twice() {
    let scene = Scene::new().await;
    let _workers = two_workers_and_no_controller(&scene).await;
    let (instances, launched) = (live(&scene), launches(&scene));
    let darken = |dark| {
        for instance in &instances {
            scene.sandbox.set_zone_dark(&scene.account, REGION, &instance.zone, dark);
        }
    };
    darken(true);
    let swept = |n: usize| {
        let query = CallQuery { operation: Some("DescribeInstances".into()), ..CallQuery::default() };
        let scene = &scene;
        async move { scene.sandbox.wait_for_calls(&query, |calls| calls.len() >= n).await.len() }
    };
    let before = swept(1).await;
    let timings = Timings { describe_grace: PATIENCE, ..scene.config().timings };
    let config = Config { timings, ..scene.config() };
    let _successor = Controller::start(config, scene.connection(), |client| client).await;
    // At least three sweeps, each with its search by ID.
    swept(before + 6).await;
    let job = scene.api::<WorkerJob>().get("work").await.unwrap();
    let told = condition(&status(&job).common.conditions, "Ready").unwrap().2;
    assert!(instances.iter().all(|instance| told.contains(&instance.id)), "{told}");
    assert_eq!(launches(&scene), launched);
    darken(false);
    let shown = |job: &WorkerJob| {
        let ready = condition(&status(job).common.conditions, "Ready").unwrap().2;
        two_are_listed(job) && !ready.contains("missing from")
    };
    scene.wait::<WorkerJob>("work", "the same two", shown).await;
    assert_eq!((launches(&scene), ids(&live(&scene))), (launched, ids(&instances)));
}

#[tokio::test]
async fn a_termination_without_a_running_controller_counts_once() {
    let scene = Scene::new().await;
    let _workers = two_workers_and_no_controller(&scene).await;
    for instance in live(&scene) {
        match index(&instance) {
            0 => scene.sandbox.shut_down_from_inside(&instance.id).unwrap(),
            _ => scene.sandbox.terminate_instance(&instance.id).unwrap(),
        }
    }
    let mut events = scene.sandbox.instance_events();
    while scene.sandbox.instances_of(&scene.account).iter().any(|m| m.state != InstanceState::Terminated) {
        events.recv().await.unwrap();
    }
    let _successor = scene.start().await;
    let again = |job: &WorkerJob| two_are_listed_as(job, [1, 2]) && lists(job).1 == "0";
    scene.wait::<WorkerJob>("work", "index 0 failed and index 1 runs again", again).await;
    assert_eq!(launched(&scene), [(0, 1), (1, 2), (2, 1)].into());
}

#[tokio::test]
async fn a_job_whose_status_was_lost_repeats_no_finished_index() {
    let scene = Scene::new().await;
    let _workers = Workers::start(&scene, |index, _| if index == 2 { Deed::Hangs } else { Deed::Exits(0) });
    let controller = scene.start().await;
    scene.create::<WorkerJob>("work", spec(&scene, 3, 3, json!({}))).await;
    let rested =
        |job: &WorkerJob| lists(job).0 == "0,1" && status(job).active == 1 && status(job).workers.launches.is_empty();
    scene.wait::<WorkerJob>("work", "one that hangs", rested).await;
    controller.kill().await;
    let mut job = scene.api::<WorkerJob>().get("work").await.unwrap();
    job.status = Some(WorkerJobStatus::default());
    scene.api::<WorkerJob>().replace_status("work", &Default::default(), &job).await.unwrap();
    let _successor = scene.start().await;
    scene.wait::<WorkerJob>("work", "the same again", rested).await;
    assert_eq!(launched(&scene), [(0, 1), (1, 1), (2, 1)].into());
}

#[tokio::test]
async fn a_bucket_that_is_not_granted_is_not_read_and_nothing_is_launched() {
    let scene = Scene::without_account(muster_sandbox::SandboxConfig::default()).await;
    let grant = with(scene.full_grant(), json!({"buckets": [{"name": "another", "uses": ["Results"]}]}));
    scene.create_account(json!({"regions": [REGION], "grants": [grant]})).await;
    let _controller = scene.start().await;
    scene.create::<WorkerJob>("work", spec(&scene, 1, 1, json!({}))).await;
    let job = scene.wait::<WorkerJob>("work", "refused", |job| is(job, "Stalled", "True", "NotGranted")).await;
    let (_, _, message) = condition(&status(&job).common.conditions, "Stalled").unwrap();
    assert!(
        message.contains(&format!("buckets: [{{name: {}, prefix: nightly/, uses: [Results]}}]", bucket(&scene))),
        "{message}"
    );
    assert_eq!(launches(&scene), 0);
}
