//! Kills the controller before and after every call of a scenario.
//!
//! EC2's clock stands still, and advances by a step whenever the controller has swept and found nothing to do. So the calls
//! and their order do not depend on the speed of this computer: two undisturbed runs make the same calls, and each of these
//! calls occurs again in the run that it ends.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{FutureExt, StreamExt, stream};
use kube::ResourceExt;
use muster::{aws::Connection, clock::Timings, config::Config, crd::worker_fleet::WorkerFleet};
use muster_sandbox::{ClockMode, Lifecycle, SandboxConfig};

use crate::support::{
    fleet::{ids, live, settled, status},
    scene::{self, Controller, Scene},
    tap::{DESCRIBE, LISTING, Moment, Point, SELDOM, Tap},
};

const SIDE_BY_SIDE: usize = 8;

/// The size of a fleet that several controllers work on.
pub(crate) const WORKERS: u32 = 5;

/// The step of EC2's clock.
pub(crate) const STEP: Duration = Duration::from_secs(1);

/// EC2 shows a write only after a while, so that describing again cannot replace a record.
pub(crate) fn stepped() -> SandboxConfig {
    let lifecycle =
        Lifecycle { pending: STEP * 2, stopping: STEP * 2, shutting_down: STEP * 2, ..Lifecycle::default() };
    SandboxConfig {
        clock: ClockMode::Manual,
        lifecycle,
        throttling: false,
        describe_lag: STEP,
        ..SandboxConfig::default()
    }
}

/// The same with a running clock.
pub(crate) fn lagging_ec2() -> SandboxConfig {
    let describe_lag = Duration::from_millis(150);
    SandboxConfig { throttling: false, describe_lag, ..SandboxConfig::default() }
}

pub(crate) fn config(scene: &Scene) -> Config {
    let usual = scene::timings();
    let (describe_grace, send_window) = match scene.sandbox.clock().mode() {
        ClockMode::Real => (Duration::from_millis(400), usual.send_window),
        // However long a step takes here, it is within EC2's lag, and no record is too old to be sent.
        ClockMode::Manual => (scene::PATIENCE, scene::PATIENCE),
    };
    let timings = Timings {
        sweep: Duration::from_millis(400),
        progress: Duration::from_millis(60),
        describe_grace,
        send_window,
        ..usual
    };
    Config { timings, ..scene.config() }
}

pub(crate) async fn start(scene: &Scene, tap: &Tap) -> Controller {
    start_with(config(scene), scene, tap).await
}

pub(crate) async fn start_with(config: Config, scene: &Scene, tap: &Tap) -> Controller {
    let connection = Connection { http_client: Some(tap.aws()), ..scene.connection() };
    let tap = tap.clone();
    Controller::start(config, connection, move |client| tap.kube(client)).await
}

/// Waits for two further sweeps of the controller, and asserts that it calls nothing else, except for rare periodic calls.
pub(crate) async fn assert_at_rest(tap: &Tap, case: &str) {
    let before = tap.points().len();
    let since = || tap.points().split_off(before);
    let sweeps = |points: &[Point]| points.iter().filter(|point| point.operation == DESCRIBE).count();
    tap.until(|points| sweeps(&points[before..]) >= 2).await;
    let mut calls: BTreeSet<_> = since().into_iter().map(|point| point.operation).collect();
    calls.retain(|operation| operation != LISTING && !SELDOM.contains(&operation.as_str()));
    assert_eq!(calls, BTreeSet::from([DESCRIBE.to_owned()]), "{case}: calls at rest");
}

/// Waits until the fleet is settled with this number of workers, and its status lists exactly the existing instances.
pub(crate) async fn wait_recorded(scene: &Scene, workers: u32, case: &str) -> WorkerFleet {
    let told = |fleet: &WorkerFleet| {
        let status = status(fleet);
        let told: BTreeSet<_> = status.instances.iter().map(|worker| worker.id.to_string()).collect();
        settled(fleet, workers as i32) && status.updated_replicas == workers as i32 && told == ids(&live(scene))
    };
    scene.wait("web", &format!("{case}: {workers} workers, settled"), told).await
}

/// Asserts that exactly the desired workers exist, each owned by the fleet, that `launched` instances were launched in total,
/// and that nothing more is written.
pub(crate) async fn assert_converged(scene: &Scene, tap: &Tap, workers: u32, launched: usize, case: &str) {
    tap.until(|points| points.iter().any(|point| point.operation == DESCRIBE)).await;
    let fleet = wait_recorded(scene, workers, case).await;
    assert_eq!(live(scene).len(), workers as usize, "{case}: live");
    assert_launched(scene, &fleet, launched, case);
    assert_at_rest(tap, case).await;
    let later = scene.api::<WorkerFleet>().get("web").await.unwrap();
    assert_eq!(later.resource_version(), fleet.resource_version(), "{case}: written at rest");
}

pub(crate) fn assert_launched(scene: &Scene, fleet: &WorkerFleet, launched: usize, case: &str) {
    let ever = scene.sandbox.instances_of(&scene.account);
    assert_eq!(ever.len(), launched, "{case}: launched in all");
    let uid = fleet.uid().unwrap();
    for worker in &ever {
        assert_eq!(worker.tags["muster.dev:owner-uid"], uid, "{case}");
        assert!(worker.client_token.as_ref().unwrap().starts_with(&uid.replace('-', "")), "{case}");
    }
}

/// What others than the controller do in each step of EC2's clock.
pub(crate) type Bystanders = Arc<Mutex<dyn FnMut() + Send>>;

/// A tap that advances EC2's clock whenever the controller is at rest.
fn tap(scene: &Scene, bystanders: &Bystanders, sweep: &'static str) -> Tap {
    let (control, bystanders) = (scene.sandbox.control(), bystanders.clone());
    Tap::new().sweeping(sweep).with_rest(move || {
        control.step(STEP);
        (*bystanders.lock().unwrap())();
    })
}

/// A part of the lifecycle of an object.
pub(crate) trait Scenario {
    /// The object, or what must be known of it from the beginning.
    type Object;

    fn name(&self) -> String;

    /// Calls that must occur in the scenario.
    fn calls(&self) -> &[&str];

    /// When the controller is killed. A read changes nothing, so it makes no difference whether the controller is killed
    /// before or after it.
    fn moments(&self, point: &Point) -> &'static [Moment] {
        if point.is_read() { &[Moment::Before] } else { &[Moment::Before, Moment::After] }
    }

    /// Calls that occur at any time in this scenario.
    fn unpredictable(&self) -> &[&str];

    async fn scene(&self) -> Scene;

    fn bystanders(&self, _: &Scene) -> Bystanders {
        Arc::new(Mutex::new(|| {}))
    }

    /// The call of a sweep, which controllers repeat at rest.
    fn sweep(&self) -> &'static str {
        DESCRIBE
    }

    /// The configuration of its controllers.
    fn config(&self, scene: &Scene) -> Config {
        config(scene)
    }

    /// Starts a controller and prepares the scenario. From there on `tap` counts calls, and with `stop` it stops the
    /// controller at that point.
    async fn begin(&self, scene: &Scene, tap: &Tap, stop: Option<(Point, Moment)>) -> Controller;

    /// The change that the controller reacts to.
    async fn act(&self, scene: &Scene) -> Self::Object;

    /// Waits for the expected final state.
    async fn assert_ended(&self, scene: &Scene, tap: &Tap, object: &Self::Object, case: &str);
}

/// The calls of an undisturbed run.
async fn points<S: Scenario>(scenario: &S) -> BTreeSet<Point> {
    let scene = scenario.scene().await;
    let tap = tap(&scene, &scenario.bystanders(&scene), scenario.sweep());
    let _controller = scenario.begin(&scene, &tap, None).await;
    let object = scenario.act(&scene).await;
    scenario.assert_ended(&scene, &tap, &object, &scenario.name()).await;
    let mut points: BTreeSet<_> = tap.points().into_iter().collect();
    points.retain(|point| !scenario.unpredictable().contains(&point.operation.as_str()));
    points
}

/// On a busy computer, EC2's clock may advance at another moment of a sweep, and then another call is made.
const ATTEMPTS: usize = 3;

async fn run<S: Scenario>(scenario: &S, point: &Point, moment: Moment) {
    for _ in 0..ATTEMPTS {
        if is_survived(scenario, point, moment).await {
            return;
        }
    }
    panic!("{}: {point} was not reached in {ATTEMPTS} runs", scenario.name());
}

/// False if the scenario ended without reaching the point.
async fn is_survived<S: Scenario>(scenario: &S, point: &Point, moment: Moment) -> bool {
    let case = format!("{}, killed {moment:?} {point}", scenario.name());
    let scene = scenario.scene().await;
    let bystanders = scenario.bystanders(&scene);
    let victims_tap = tap(&scene, &bystanders, scenario.sweep());
    let victim = scenario.begin(&scene, &victims_tap, Some((point.clone(), moment))).await;
    let object = scenario.act(&scene).await;
    tokio::select! {
        () = victims_tap.stopped() => {}
        // In the final state and at rest, no further call occurs. The last call may have led to this state.
        () = scenario.assert_ended(&scene, &victims_tap, &object, &case) => {
            if !victims_tap.points().contains(point) {
                return false;
            }
            victims_tap.stopped().await;
        }
    }
    victim.kill().await;
    let tap = tap(&scene, &bystanders, scenario.sweep());
    let _successor = start_with(scenario.config(&scene), &scene, &tap).await;
    scenario.assert_ended(&scene, &tap, &object, &case).await;
    true
}

/// The calls of two undisturbed runs, which must be the same.
async fn agreed<S: Scenario>(scenario: &S) -> BTreeSet<Point> {
    let mut differ = Vec::new();
    for _ in 0..ATTEMPTS {
        let (once, again) = futures::join!(points(scenario).boxed_local(), points(scenario).boxed_local());
        if once == again {
            return once;
        }
        differ.push(once.symmetric_difference(&again).map(ToString::to_string).collect::<Vec<_>>());
    }
    panic!("{}: of two undisturbed runs only one made {differ:?}", scenario.name());
}

/// Kills the controller before and after each call of `scenario`.
pub(crate) async fn converges_after_every_kill<S: Scenario>(scenario: &S) {
    let (once, name) = (agreed(scenario).await, scenario.name());
    for expected in scenario.calls() {
        assert!(once.iter().any(|point| point.operation == *expected), "{expected} is not in {once:?}");
    }
    let named: Vec<_> = once.iter().map(ToString::to_string).collect();
    let kills = once.iter().flat_map(|point| scenario.moments(point).iter().map(move |moment| (point, *moment)));
    let kills: Vec<_> = kills.collect();
    println!("{name}: {} points, {} kills: {}", once.len(), kills.len(), named.join(", "));
    let runs = kills.into_iter().map(|(point, moment)| run(scenario, point, moment).boxed_local());
    stream::iter(runs).buffer_unordered(SIDE_BY_SIDE).collect::<()>().await;
}
