//! A WorkerJob from its creation to its end, against the API server, EC2 and S3.

use std::time::Duration;

use kube::{ResourceExt, api::DeleteParams};
use muster::{clock::Timings, config::Config, crd::worker_job::WorkerJob};
use muster_sandbox::{InstanceState, Lifecycle, ShutdownBehavior};
use muster_world::KubeApi;
use serde_json::json;

use crate::support::{
    fleet::{calls_at_rest, launches, live, set_lifecycle},
    job::{Deed, Workers, bucket, by_shutdown, index, is, launched, lists, spec, status, wait_ended},
    scene::{Controller, PATIENCE, Scene},
    tap::{Moment, Point, Tap},
};

/// A controller that waits long for workers to shut down, so that a slow computer changes nothing.
async fn start_with_long_grace(scene: &Scene) -> Controller {
    let config = scene.config();
    let timings = Timings { exit_grace: PATIENCE, ..config.timings };
    Controller::start(Config { timings, ..config }, scene.connection(), |client| client).await
}

#[tokio::test]
async fn twenty_indexes_run_and_the_one_that_fails_repeatedly_is_named() {
    let scene = Scene::new().await;
    let workers = Workers::start(&scene, |index, before| match (index, before) {
        (7, _) | (3, 0) => Deed::Exits(3),
        _ => Deed::Exits(0),
    });
    let _controller = start_with_long_grace(&scene).await;
    scene.create::<WorkerJob>("work", spec(&scene, 20, 6, json!({"backoffLimitPerIndex": 1}))).await;
    let job = wait_ended(&scene, "work", "Failed", "FailedIndexes").await;
    assert_eq!(lists(&job), ("0-6,8-19".into(), "7".into()));
    let status = status(&job);
    assert_eq!((status.succeeded, status.failed, status.active), (19, 1, 0));
    assert!(status.index_failures.is_empty() && status.completion_time.is_some() && status.duration.is_some());
    let expected = (0..20).map(|index| (index, if matches!(index, 3 | 7) { 2 } else { 1 })).collect();
    assert_eq!(workers.runs(), expected);
    assert_eq!(live(&scene).len(), 0);
    let uid = job.uid().unwrap();
    for instance in scene.sandbox.instances_of(&scene.account) {
        assert_eq!(instance.tags["muster.dev:job"], format!("{}/work", scene.namespace));
        assert_eq!(instance.tags["muster.dev:owner-uid"], uid);
        assert_eq!(instance.tags["muster.dev:result"], format!("s3://{}/nightly/{uid}", bucket(&scene)));
        assert!(instance.client_token.unwrap().starts_with(&uid.replace('-', "")));
        assert_eq!(instance.shutdown_behavior, ShutdownBehavior::Terminate);
    }
    let ended = scene.sandbox.calls(&muster_sandbox::CallQuery::operation("ec2", "TerminateInstances"));
    assert!(ended.is_empty(), "workers shut down themselves: {ended:#?}");
    assert_eq!(calls_at_rest(&scene).await, ["DescribeInstances".to_owned()].into());
    let later = scene.api::<WorkerJob>().get("work").await.unwrap();
    assert_eq!(later.resource_version(), job.resource_version(), "nothing is written at rest");
}

#[tokio::test]
async fn kubectl_waits_for_a_job_and_shows_it() {
    let scene = Scene::new().await;
    let _workers = Workers::start(&scene, |_, _| Deed::Exits(0));
    let _controller = scene.start().await;
    scene.create::<WorkerJob>("work", spec(&scene, 3, 3, json!({}))).await;
    let kube = KubeApi::shared().await;
    let waited = ["wait", "--for=condition=Complete", "--timeout=60s", "workerjob/work", "-n", &scene.namespace];
    kube.kubectl(&waited).await.expect("kubectl wait");
    let shown = kube.kubectl(&["get", "wj", "work", "-n", &scene.namespace]).await.expect("kubectl get");
    let words: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        words[0],
        ["NAME", "READY", "REASON", "COMPLETIONS", "SUCCEEDED", "FAILED", "DURATION", "SUSPEND", "AGE"]
    );
    assert_eq!(words[1][..6], ["work", "True", "CompletionsReached", "3", "3", "0"]);
    assert_eq!(launches(&scene), 3, "one call a zone");
}

#[tokio::test]
async fn a_worker_that_still_runs_after_its_result_is_terminated() {
    let scene = Scene::new().await;
    let workers = Workers::start(&scene, |_, _| Deed::ExitsAndStays(0));
    let _controller = scene.start().await;
    scene.create::<WorkerJob>("work", spec(&scene, 4, 2, json!({}))).await;
    let job = wait_ended(&scene, "work", "Complete", "CompletionsReached").await;
    assert_eq!(lists(&job), ("0-3".into(), String::new()));
    assert_eq!(workers.runs(), (0..4).map(|index| (index, 1)).collect());
    assert_eq!(live(&scene).len(), 0);
}

#[tokio::test]
async fn too_many_failed_indexes_terminate_the_other_workers() {
    let scene = Scene::new().await;
    // While the failed worker is shutting down, the next index may start.
    set_lifecycle(&scene, Lifecycle { shutting_down: Duration::from_millis(1), ..Lifecycle::default() });
    let _workers = Workers::start(&scene, |index, _| if index == 1 { Deed::ShutsDown } else { Deed::Hangs });
    let _controller = scene.start().await;
    scene.create::<WorkerJob>("work", spec(&scene, 9, 3, json!({"maxFailedIndexes": 0}))).await;
    let job = wait_ended(&scene, "work", "Failed", "MaxFailedIndexesExceeded").await;
    assert_eq!(lists(&job), (String::new(), "1".into()));
    assert!(
        is(&job, "Ready", "False", "MaxFailedIndexesExceeded")
            && is(&job, "Stalled", "True", "MaxFailedIndexesExceeded")
    );
    assert_eq!(scene.sandbox.instances_of(&scene.account).len(), 3, "none is launched any more");
    assert_eq!(live(&scene).len(), 0);
}

#[tokio::test]
async fn a_job_that_hangs_fails_at_its_deadline_and_is_deleted_after_its_ttl() {
    let scene = Scene::new().await;
    let _workers = Workers::start(&scene, |index, _| if index == 0 { Deed::Exits(0) } else { Deed::Hangs });
    let _controller = scene.start().await;
    let fields = json!({"activeDeadlineSeconds": 4, "ttlSecondsAfterFinished": 3});
    scene.create::<WorkerJob>("work", spec(&scene, 3, 3, fields)).await;
    let job = scene.wait::<WorkerJob>("work", "overdue", |job| is(job, "Failed", "True", "DeadlineExceeded")).await;
    assert_eq!(lists(&job), ("0".into(), String::new()));
    scene.wait_gone::<WorkerJob>("work").await;
    assert_eq!(live(&scene).len(), 0);
}

#[tokio::test]
async fn a_shutdown_is_the_result_and_is_recorded_before_the_termination() {
    let scene = Scene::new().await;
    let workers = Workers::start(&scene, |index, before| match (index, before) {
        (1, 0) => Deed::IsStopped,
        _ => Deed::ShutsDown,
    });
    let point = Point { operation: "TerminateInstances".into(), ordinal: 1 };
    let tap = Tap::stopping(point, Moment::Before);
    let victim = crate::support::crash::start(&scene, &tap).await;
    scene.create::<WorkerJob>("work", by_shutdown(spec(&scene, 3, 3, json!({})))).await;
    tap.stopped().await;
    let job = scene.api::<WorkerJob>().get("work").await.unwrap();
    let completed = status(&job).completed_indexes;
    let victims: Vec<_> = status(&job).workers.terminations.iter().flat_map(|t| t.instance_ids.clone()).collect();
    assert!(!victims.is_empty());
    for id in victims {
        let instance = scene.sandbox.instance(id.as_str()).unwrap();
        assert_eq!((instance.state, instance.shutdown_behavior), (InstanceState::Stopped, ShutdownBehavior::Stop));
        let itself = instance.state_reason.as_ref().unwrap().code == "Client.InstanceInitiatedShutdown";
        assert_eq!(completed.contains(index(&instance)), itself, "{}", instance.id);
    }
    victim.kill().await;
    let _successor = scene.start().await;
    let job = wait_ended(&scene, "work", "Complete", "CompletionsReached").await;
    assert_eq!(lists(&job).0, "0-2");
    assert_eq!(workers.runs(), [(0, 1), (1, 2), (2, 1)].into(), "none is run again after its result");
    assert_eq!(live(&scene).len(), 0);
}

#[tokio::test]
async fn a_recreated_job_ignores_the_results_of_the_earlier_job() {
    let scene = Scene::new().await;
    let workers = Workers::start(&scene, |_, _| Deed::Exits(0));
    let _controller = scene.start().await;
    let desired = spec(&scene, 2, 2, json!({}));
    scene.create::<WorkerJob>("work", desired.clone()).await;
    wait_ended(&scene, "work", "Complete", "CompletionsReached").await;
    scene.api::<WorkerJob>().delete("work", &DeleteParams::default()).await.unwrap();
    scene.wait_gone::<WorkerJob>("work").await;
    assert_eq!(scene.sandbox.s3().keys(&bucket(&scene), "nightly/").unwrap().len(), 2, "results stay");
    scene.create::<WorkerJob>("work", desired).await;
    wait_ended(&scene, "work", "Complete", "CompletionsReached").await;
    assert_eq!(workers.runs(), [(0, 2), (1, 2)].into());
}

#[tokio::test]
async fn lower_parallelism_terminates_the_highest_indexes_and_they_run_again_later() {
    let scene = Scene::new().await;
    let _workers = Workers::start(&scene, |_, _| Deed::Hangs);
    let _controller = scene.start().await;
    scene.create::<WorkerJob>("work", spec(&scene, 3, 3, json!({}))).await;
    let active = |n: i32| move |job: &WorkerJob| status(job).active == n && status(job).workers.launches.is_empty();
    scene.wait::<WorkerJob>("work", "three at work", active(3)).await;
    scene.change::<WorkerJob>("work", json!({"spec": {"parallelism": 1}})).await;
    scene
        .wait::<WorkerJob>("work", "one at work", |job| active(1)(job) && status(job).workers.terminations.is_empty())
        .await;
    assert_eq!(live(&scene).iter().map(index).collect::<Vec<_>>(), [0]);
    scene.change::<WorkerJob>("work", json!({"spec": {"parallelism": 3}})).await;
    let again = |job: &WorkerJob| active(3)(job) && status(job).workers.terminations.is_empty();
    let job = scene.wait::<WorkerJob>("work", "three again", again).await;
    assert_eq!(launched(&scene), [(0, 1), (1, 2), (2, 2)].into());
    assert_eq!((status(&job).failed, status(&job).index_failures), (0, vec![]));
    scene.api::<WorkerJob>().delete("work", &DeleteParams::default()).await.unwrap();
    scene.wait_gone::<WorkerJob>("work").await;
    assert_eq!(live(&scene).len(), 0);
}
