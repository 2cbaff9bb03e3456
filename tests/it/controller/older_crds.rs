//! With CRDs older than the controller, the API server prunes unknown fields from a record and still returns 200. A call is
//! not sent unless it is recorded completely, and the condition says which CRDs to apply.

use futures::{FutureExt, future};
use muster::crd::{worker_fleet::WorkerFleet, worker_job::WorkerJob};
use muster_sandbox::CallQuery;
use serde_json::json;

use crate::support::{
    crash::{lagging_ec2, start},
    fleet::{ever, ids, launches, live, ready, spec, wait_settled, with},
    job::{self, Deed, Workers, is},
    scene::{Namespaced, Scene, condition},
    tap::{Moment, Point, Tap},
};

/// Waits for two further attempts to record something, because one may have been in progress.
async fn attempts(tap: &Tap, record: &str) {
    let count = |points: &[Point]| points.iter().filter(|point| point.operation == record).count();
    let before = count(&tap.points());
    tap.until(|points| count(points) >= before + 2).await;
}

async fn request_reconcile<K: Namespaced>(scene: &Scene, name: &str, request: u32) {
    let annotation = json!({"muster.dev/requested-at": request.to_string()});
    scene.change::<K>(name, json!({"metadata": {"annotations": annotation}})).await;
}

fn names_crd(message: &str, kind: &str) -> bool {
    message.contains("no AWS call was made") && message.contains(&format!("the CRD of {kind} is of another version"))
}

async fn fleet_without(path: &'static str) {
    let scene = Scene::with(lagging_ec2()).await;
    let tap = Tap::new();
    tap.prune(Some(path));
    let _controller = start(&scene, &tap).await;
    let roles = json!({"roles": [{"name": "leader", "replicas": 1}]});
    scene.create::<WorkerFleet>("web", with(spec(&scene, 0, json!({})), roles)).await;
    let told = |fleet: &WorkerFleet| {
        let (truth, _, message) = ready(fleet).unwrap_or_default();
        truth == "False" && names_crd(&message, "WorkerFleet")
    };
    scene.wait::<WorkerFleet>("web", &format!("{path}: told what to apply"), told).await;
    // Nor when it reconciles again and reads the incomplete record.
    for request in 1..=3 {
        request_reconcile::<WorkerFleet>(&scene, "web", request).await;
        attempts(&tap, "PUT workerfleets/status").await;
    }
    assert_eq!((launches(&scene), ever(&scene)), (0, 0), "{path}");

    tap.prune(None);
    request_reconcile::<WorkerFleet>(&scene, "web", 4).await;
    // `replicas` counts the main role only.
    wait_settled(&scene, "web", 0).await;
    assert_eq!(ever(&scene), 1, "{path}");
    assert_eq!(live(&scene)[0].tags["muster.dev:role"], "leader", "{path}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_launch_that_is_not_recorded_completely_is_never_sent() {
    let paths = ["launches", "launches/role", "provisioned/existing", "revisions"];
    future::join_all(paths.map(|path| fleet_without(path).boxed_local())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn victims_that_are_not_recorded_are_never_terminated() {
    let scene = Scene::with(lagging_ec2()).await;
    let tap = Tap::new();
    let _controller = start(&scene, &tap).await;
    scene.create::<WorkerFleet>("web", spec(&scene, 3, json!({}))).await;
    wait_settled(&scene, "web", 3).await;
    let workers = ids(&live(&scene));
    tap.prune(Some("terminations"));
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 1}})).await;
    let told = |fleet: &WorkerFleet| ready(fleet).is_some_and(|(_, _, message)| names_crd(&message, "WorkerFleet"));
    scene.wait::<WorkerFleet>("web", "told what to apply", told).await;
    assert_eq!(scene.sandbox.calls(&CallQuery::operation("ec2", "TerminateInstances")), []);
    assert_eq!(ids(&live(&scene)), workers);
    tap.prune(None);
    request_reconcile::<WorkerFleet>(&scene, "web", 1).await;
    wait_settled(&scene, "web", 1).await;
    assert_eq!(ever(&scene), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_indexes_are_not_recorded_launches_none_of_them() {
    let scene = Scene::with(lagging_ec2()).await;
    let _workers = Workers::start(&scene, |_, _| Deed::Exits(0));
    let tap = Tap::new();
    tap.prune(Some("launches/indexes"));
    let _controller = start(&scene, &tap).await;
    scene.create::<WorkerJob>("work", job::spec(&scene, 3, 3, json!({}))).await;
    let told = |job: &WorkerJob| {
        let ready = condition(&job::status(job).common.conditions, "Ready").unwrap_or_default();
        names_crd(&ready.2, "WorkerJob")
    };
    scene.wait::<WorkerJob>("work", "told what to apply", told).await;
    for request in 1..=3 {
        request_reconcile::<WorkerJob>(&scene, "work", request).await;
        attempts(&tap, "PUT workerjobs/status").await;
    }
    assert_eq!((launches(&scene), ever(&scene)), (0, 0));
    tap.prune(None);
    request_reconcile::<WorkerJob>(&scene, "work", 4).await;
    scene.wait::<WorkerJob>("work", "complete", |job| is(job, "Complete", "True", "CompletionsReached")).await;
    assert_eq!(job::launched(&scene), [(0, 1), (1, 1), (2, 1)].into());
}

/// Kills the controller when it has recorded the first launch of an object that is no longer suspended. An older CRD pruned
/// what is at `path` from the record.
async fn killed_with_a_record_without<K: Namespaced>(
    scene: &Scene,
    (name, record): (&str, &str),
    (path, whole): (&'static str, &str),
) {
    let tap = Tap::new();
    let victim = start(scene, &tap).await;
    // The first status update of an object that is no longer suspended records the launch.
    let suspended = |object: &K| {
        let object = serde_json::to_value(object).unwrap();
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|condition| condition["reason"] == "Suspended")
    };
    scene.wait::<K>(name, "suspended", suspended).await;
    tap.prune(Some(path));
    tap.begin(Some((Point { operation: record.into(), ordinal: 1 }, Moment::After)));
    scene.change::<K>(name, json!({"spec": {"suspend": false}})).await;
    tap.stopped().await;
    victim.kill().await;
    let object = serde_json::to_value(scene.api::<K>().get(name).await.unwrap()).unwrap();
    let launch = &object["status"]["launches"][0];
    let (_, field) = path.split_once('/').unwrap();
    assert!(launch["token"].is_string() && launch[field] != *whole, "{launch}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_launch_of_a_role_with_a_pruned_record_is_not_repeated_by_another_controller() {
    let scene = Scene::with(lagging_ec2()).await;
    let roles = json!({"suspend": true, "roles": [{"name": "leader", "replicas": 1}]});
    scene.create::<WorkerFleet>("web", with(spec(&scene, 0, json!({})), roles)).await;
    let record = ("web", "PUT workerfleets/status");
    killed_with_a_record_without::<WorkerFleet>(&scene, record, ("launches/role", "leader")).await;
    let _successor = start(&scene, &Tap::new()).await;
    wait_settled(&scene, "web", 0).await;
    assert_eq!(ever(&scene), 1);
    assert_eq!(live(&scene)[0].tags["muster.dev:role"], "leader");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_launch_of_indexes_with_a_pruned_record_is_not_repeated_by_another_controller() {
    let scene = Scene::with(lagging_ec2()).await;
    let _workers = Workers::start(&scene, |_, _| Deed::Exits(0));
    scene.create::<WorkerJob>("work", job::spec(&scene, 3, 3, json!({"suspend": true}))).await;
    let record = ("work", "PUT workerjobs/status");
    killed_with_a_record_without::<WorkerJob>(&scene, record, ("launches/indexes", "0-2")).await;
    let _successor = start(&scene, &Tap::new()).await;
    scene.wait::<WorkerJob>("work", "complete", |job| is(job, "Complete", "True", "CompletionsReached")).await;
    assert_eq!(job::launched(&scene), [(0, 1), (1, 1), (2, 1)].into());
}
