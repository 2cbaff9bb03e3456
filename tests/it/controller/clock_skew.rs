//! Controllers whose clocks differ: the next leader continues from the record, and nothing is done twice.

use std::time::Duration;

use futures::{FutureExt, future};
use jiff::{SignedDuration, Timestamp};
use muster::{
    clock::{Clock, Timings},
    config::Config,
    crd::worker_fleet::WorkerFleet,
    lease::LeaseName,
};
use serde_json::json;

use crate::support::{
    crash::{self, WORKERS, assert_converged, lagging_ec2, start_with},
    fleet::{live, spec, status},
    scene::Scene,
    tap::{Moment, Point, Tap},
};

/// The offset of a clock.
pub(crate) const OFF: SignedDuration = SignedDuration::from_mins(10);

pub(crate) fn now() -> Timestamp {
    Clock.now()
}

fn config(scene: &Scene, pod: &str) -> Config {
    let lease = LeaseName { namespace: scene.namespace.clone(), name: "muster".into() };
    let usual = crash::config(scene);
    // A lease that is longer than the deadline of a call.
    let timings = Timings { lease: Duration::from_secs(3), call_deadline: Duration::from_secs(2), ..usual.timings };
    Config { lease: Some(lease), pod_name: pod.into(), timings, ..usual }
}

/// The leader stops in the middle of its launches, without releasing its lease, and the standby continues.
async fn standby_continues(leader_ahead: SignedDuration, standby_ahead: SignedDuration) {
    let case = format!("clocks ahead by {leader_ahead} and {standby_ahead}");
    let scene = Scene::with(lagging_ec2()).await;
    let launch = Point { operation: "RunInstances".into(), ordinal: 2 };
    let leading = Tap::stopping(launch, Moment::After).with_clock_ahead(leader_ahead);
    let leader = start_with(config(&scene, "a"), &scene, &leading).await;
    leading.until(|points| !points.is_empty()).await;
    let standby = Tap::new().with_clock_ahead(standby_ahead);
    let _standby = start_with(config(&scene, "b"), &scene, &standby).await;
    scene.create::<WorkerFleet>("web", spec(&scene, WORKERS, json!({}))).await;
    leading.stopped().await;
    assert_eq!(standby.points(), [], "{case}: two lead");
    let launches = status(&scene.api::<WorkerFleet>().get("web").await.unwrap()).workers.launches;
    assert!(!launches.is_empty() && !live(&scene).is_empty(), "{case}");
    for intent in launches {
        let off = intent.started_at.0.duration_since(now()) - leader_ahead;
        assert!(off.abs() < SignedDuration::from_mins(2), "{case}: {off} off what it should be off");
    }
    assert_converged(&scene, &standby, WORKERS, WORKERS as usize, &case).await;
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 2}})).await;
    assert_converged(&scene, &standby, 2, WORKERS as usize, &case).await;
    scene.sandbox.fail_instance(&live(&scene)[0].id).unwrap();
    assert_converged(&scene, &standby, 2, WORKERS as usize + 1, &case).await;
    leader.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_with_a_different_clock_continues_and_repeats_no_launch() {
    let none = SignedDuration::ZERO;
    let cases = [(OFF, none), (-OFF, none), (none, OFF), (none, -OFF)];
    future::join_all(cases.map(|(leader, standby)| standby_continues(leader, standby).boxed_local())).await;
}
