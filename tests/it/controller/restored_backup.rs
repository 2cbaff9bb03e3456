//! The record of a fleet is older than its instances, as after etcd is restored from a backup: the instances are found by
//! their tags, and no others are launched.

use std::{collections::BTreeSet, time::Duration};

use futures::{FutureExt, future};
use kube::{
    ResourceExt,
    api::{DeleteParams, PostParams},
};
use muster::{
    clock::Timings,
    config::Config,
    crd::worker_fleet::{WorkerFleet, WorkerFleetStatus},
};
use serde_json::json;

use crate::support::{
    crash::{self, assert_at_rest, lagging_ec2, start_with},
    fleet::{ever, ids, live, ready, settled, spec, status, wait_settled},
    scene::{Controller, Scene, condition},
    tap::{DESCRIBE, Moment, Point, Tap},
};

const WORKERS: u32 = 3;

/// When the backup was made.
#[derive(Clone, Copy, Debug)]
enum Backup {
    /// Before muster reconciled the fleet.
    NotReconciled,
    /// When its launches were recorded and none had been sent.
    Recorded,
    /// When they had been sent and their outcome was not recorded.
    Launched,
    /// When the fleet was smaller.
    Smaller,
}

const BACKUPS: [Backup; 4] = [Backup::NotReconciled, Backup::Recorded, Backup::Launched, Backup::Smaller];

impl Backup {
    /// Creates a settled fleet of three workers without a controller, and returns its status at the time of the backup.
    async fn make(self, scene: &Scene) -> WorkerFleetStatus {
        let now = async || status(&scene.api::<WorkerFleet>().get("web").await.unwrap());
        let replicas = if matches!(self, Self::Smaller) { 1 } else { WORKERS };
        scene.create::<WorkerFleet>("web", spec(scene, replicas, json!({}))).await;
        let point = |operation: &str| Point { operation: operation.into(), ordinal: 1 };
        let tap = match self {
            Self::NotReconciled | Self::Smaller => Tap::new(),
            Self::Recorded => Tap::stopping(point("RunInstances"), Moment::Before),
            Self::Launched => Tap::stopping(point("RunInstances"), Moment::After),
        };
        let mut controller = start(scene, &tap).await;
        let backup = match self {
            Self::NotReconciled => WorkerFleetStatus::default(),
            Self::Recorded | Self::Launched => {
                tap.stopped().await;
                controller.kill().await;
                let backup = now().await;
                assert!(!backup.workers.launches.is_empty());
                assert!(backup.workers.launches.iter().all(|intent| intent.instance_ids.is_empty()));
                controller = scene.start().await;
                backup
            }
            Self::Smaller => {
                wait_settled(scene, "web", 1).await;
                let backup = now().await;
                scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": WORKERS}})).await;
                backup
            }
        };
        wait_settled(scene, "web", WORKERS as i32).await;
        controller.kill().await;
        backup
    }
}

async fn restore(scene: &Scene, backup: WorkerFleetStatus) {
    let mut fleet = scene.api::<WorkerFleet>().get("web").await.unwrap();
    fleet.status = Some(backup);
    scene.api::<WorkerFleet>().replace_status("web", &PostParams::default(), &fleet).await.unwrap();
}

/// Waits until the fleet has been reconciled, and asserts that it is settled and at rest with exactly these instances.
async fn assert_unchanged(scene: &Scene, tap: &Tap, instances: &BTreeSet<String>, case: &str) {
    tap.until(|points| points.iter().any(|point| point.operation == DESCRIBE)).await;
    let known = |fleet: &WorkerFleet| {
        let listed: BTreeSet<_> = status(fleet).instances.iter().map(|worker| worker.id.to_string()).collect();
        settled(fleet, WORKERS as i32) && &listed == instances
    };
    scene.wait::<WorkerFleet>("web", &format!("{case}: all known again"), known).await;
    assert_at_rest(tap, case).await;
    assert_eq!((&ids(&live(scene)), ever(scene)), (instances, WORKERS as usize), "{case}");
}

/// Starts a controller that waits only a few seconds before it searches for a launch that cannot be repeated.
async fn start(scene: &Scene, tap: &Tap) -> Controller {
    let usual = crash::config(scene);
    let timings = Timings { call_deadline: Duration::from_secs(2), lease: Duration::from_secs(1), ..usual.timings };
    start_with(Config { timings, ..usual }, scene, tap).await
}

async fn is_restored(backup: Backup) {
    let scene = Scene::with(lagging_ec2()).await;
    let older = backup.make(&scene).await;
    let instances = ids(&live(&scene));
    assert_eq!((instances.len(), ever(&scene)), (WORKERS as usize, WORKERS as usize), "{backup:?}");
    restore(&scene, older.clone()).await;
    let tap = Tap::new();
    let _controller = start(&scene, &tap).await;
    assert_unchanged(&scene, &tap, &instances, &format!("{backup:?}, before a start")).await;
    // And while a controller runs.
    restore(&scene, older).await;
    assert_unchanged(&scene, &tap, &instances, &format!("{backup:?}, behind its back")).await;
}

async fn recreate_from_backup(backup: Backup) {
    let scene = Scene::with(lagging_ec2()).await;
    let older = backup.make(&scene).await;
    let instances = ids(&live(&scene));
    let fleets = scene.api::<WorkerFleet>();
    let before = fleets.get("web").await.unwrap();
    scene.change::<WorkerFleet>("web", json!({"metadata": {"finalizers": null}})).await;
    fleets.delete("web", &DeleteParams::default()).await.unwrap();
    scene.wait_gone::<WorkerFleet>("web").await;
    // A backup tool creates it again, with another UID and otherwise unchanged.
    let again = scene.create::<WorkerFleet>("web", json!(before.spec)).await;
    assert_ne!(again.uid(), before.uid());
    restore(&scene, older).await;
    let tap = Tap::new();
    let _controller = start(&scene, &tap).await;
    let held = |fleet: &WorkerFleet| {
        let orphans = condition(&status(fleet).common.conditions, "OrphansFound").unwrap_or_default().2;
        ready(fleet).is_some_and(|(truth, reason, _)| (truth.as_str(), reason.as_str()) == ("False", "OrphansFound"))
            && instances.iter().all(|id| orphans.contains(id))
            && status(fleet).workers.launches.is_empty()
    };
    scene.wait::<WorkerFleet>("web", &format!("{backup:?}: held back, and the instances are named"), held).await;
    // It continues to describe the recorded instances, which belong to another owner, and does nothing else.
    let held_at = tap.points().len();
    let sweeps = |points: &[Point]| points.iter().filter(|point| point.operation == DESCRIBE).count();
    tap.until(|points| sweeps(&points[held_at..]) >= 3).await;
    let mut since = tap.points().split_off(held_at);
    since.retain(|point| !point.is_read() && !point.operation.contains("awsaccounts"));
    assert_eq!(since, [], "{backup:?}");
    assert_eq!((ids(&live(&scene)), ever(&scene)), (instances, WORKERS as usize), "{backup:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_worker_is_launched_while_unrecorded_instances_run() {
    future::join_all(BACKUPS.map(|backup| is_restored(backup).boxed_local())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recreated_fleet_with_its_old_record_launches_nothing_while_its_instances_run() {
    future::join_all(BACKUPS.map(|backup| recreate_from_backup(backup).boxed_local())).await;
}
