//! The controller is killed before and after every single call of a scenario, whichever calls these are.
//!
//! EC2's time stands still, and moves on by a step whenever the controller has looked and found nothing to do. So which calls
//! are made, and in which order, is not up to how fast this machine is: two undisturbed runs make the same calls, and each
//! of these is met again in the run that it is the end of.

mod fleet;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{FutureExt, StreamExt, stream};
use muster::{aws::Connection, clock::Timings, config::Config};
use muster_sandbox::{ClockMode, Lifecycle, SandboxConfig};

pub(crate) use self::fleet::{WORKERS, assert_converged};
use crate::{
    scene::{self, Controller, Scene},
    tap::{LISTING, LOOK, Moment, Point, SELDOM, Tap},
};

const SIDE_BY_SIDE: usize = 8;

/// EC2's time moves on by so much at once.
pub(crate) const STEP: Duration = Duration::from_secs(1);

/// EC2 shows a write only after a while, so that looking again is no substitute for having recorded it.
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

/// The same on a clock that runs.
pub(crate) fn laggard() -> SandboxConfig {
    let describe_lag = Duration::from_millis(150);
    SandboxConfig { throttling: false, describe_lag, ..SandboxConfig::default() }
}

pub(crate) fn config(scene: &Scene) -> Config {
    let usual = scene::timings();
    let (describe_grace, send_window) = match scene.sandbox.clock().mode() {
        ClockMode::Real => (Duration::from_millis(400), usual.send_window),
        // However long a step takes here, it is within EC2's lag, and no record is too old to be acted on.
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

/// Waits until the tap has seen the controller look twice more, and demands that it does nothing else, but for what it does
/// once in a while.
pub(crate) async fn assert_at_rest(tap: &Tap, case: &str) {
    let before = tap.points().len();
    let since = || tap.points().split_off(before);
    let looks = |points: &[Point]| points.iter().filter(|point| point.operation == LOOK).count();
    tap.until(|points| looks(&points[before..]) >= 2).await;
    let mut calls: BTreeSet<_> = since().into_iter().map(|point| point.operation).collect();
    calls.retain(|operation| operation != LISTING && !SELDOM.contains(&operation.as_str()));
    assert_eq!(calls, BTreeSet::from([LOOK.to_owned()]), "{case}: calls at rest");
}

/// What others than the controller do in each step of EC2's time.
pub(crate) type Bystanders = Arc<Mutex<dyn FnMut() + Send>>;

/// A tap on a controller in whose rests EC2's time goes on.
fn tap(scene: &Scene, bystanders: &Bystanders) -> Tap {
    let (control, bystanders) = (scene.sandbox.control(), bystanders.clone());
    Tap::new().with_rest(move || {
        control.step(STEP);
        (*bystanders.lock().unwrap())();
    })
}

/// A part of an object's life.
pub(crate) trait Scenario {
    /// What it happens to, as it was at the beginning.
    type Object;

    fn name(&self) -> String;

    /// Calls without which it is not the scenario that it is meant to be.
    fn calls(&self) -> &[&str];

    /// When the controller is killed. A read changes nothing, so before it and after it the world is the same, and what the
    /// process knew of it is gone.
    fn moments(&self, point: &Point) -> &'static [Moment] {
        if point.is_read() { &[Moment::Before] } else { &[Moment::Before, Moment::After] }
    }

    /// Calls that come when they like in this scenario.
    fn unpredictable(&self) -> &[&str];

    async fn scene(&self) -> Scene;

    fn bystanders(&self, _: &Scene) -> Bystanders {
        Arc::new(Mutex::new(|| {}))
    }

    /// What its controllers run with.
    fn config(&self, scene: &Scene) -> Config {
        config(scene)
    }

    /// Starts a controller and brings the scenario to where it begins. From there on `tap` counts, and with `stop` it ends
    /// the controller at that point.
    async fn begin(&self, scene: &Scene, tap: &Tap, stop: Option<(Point, Moment)>) -> Controller;

    /// What happens.
    async fn act(&self, scene: &Scene) -> Self::Object;

    /// Waits until all is as it is to be in the end.
    async fn assert_ended(&self, scene: &Scene, tap: &Tap, object: &Self::Object, case: &str);
}

/// The calls when nobody disturbs.
async fn points<S: Scenario>(scenario: &S) -> BTreeSet<Point> {
    let scene = scenario.scene().await;
    let tap = tap(&scene, &scenario.bystanders(&scene));
    let _controller = scenario.begin(&scene, &tap, None).await;
    let object = scenario.act(&scene).await;
    scenario.assert_ended(&scene, &tap, &object, &scenario.name()).await;
    let mut points: BTreeSet<_> = tap.points().into_iter().collect();
    points.retain(|point| !scenario.unpredictable().contains(&point.operation.as_str()));
    points
}

/// On a busy machine EC2's time may go on at another moment of a look, and then another call is made.
const ATTEMPTS: usize = 3;

async fn run<S: Scenario>(scenario: &S, point: &Point, moment: Moment) {
    for _ in 0..ATTEMPTS {
        if is_survived(scenario, point, moment).await {
            return;
        }
    }
    panic!("{}: {point} was not met in {ATTEMPTS} runs", scenario.name());
}

/// False when the controller ended without having met the point.
async fn is_survived<S: Scenario>(scenario: &S, point: &Point, moment: Moment) -> bool {
    let case = format!("{}, killed {moment:?} {point}", scenario.name());
    let scene = scenario.scene().await;
    let bystanders = scenario.bystanders(&scene);
    let victims_tap = tap(&scene, &bystanders);
    let victim = scenario.begin(&scene, &victims_tap, Some((point.clone(), moment))).await;
    let object = scenario.act(&scene).await;
    tokio::select! {
        () = victims_tap.stopped() => {}
        // At its end and at rest: a call that has not come by now will not come. The last one may be what ended it.
        () = scenario.assert_ended(&scene, &victims_tap, &object, &case) => {
            if !victims_tap.points().contains(point) {
                return false;
            }
            victims_tap.stopped().await;
        }
    }
    victim.kill().await;
    let tap = tap(&scene, &bystanders);
    let _successor = start_with(scenario.config(&scene), &scene, &tap).await;
    scenario.assert_ended(&scene, &tap, &object, &case).await;
    true
}

/// The calls in which two undisturbed runs agree.
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
pub(crate) async fn survives_every_kill<S: Scenario>(scenario: &S) {
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
