//! The controller is killed before and after every single call of a scenario, whichever calls these are.
//!
//! EC2's time stands still, and moves on by a step whenever the controller has looked and found nothing to do. So which calls
//! are made, and in which order, is not up to how fast this machine is: two undisturbed runs make the same calls, and each
//! of these is met again in the run that it is the end of.

mod scenarios;

use std::{collections::BTreeSet, time::Duration};

use futures::{FutureExt, StreamExt, stream};
use kube::ResourceExt;
use muster::{aws::Connection, clock::Timings, config::Config, worker_fleet::WorkerFleet};
use muster_sandbox::{ClockMode, Lifecycle, SandboxConfig};
use serde_json::json;

use self::scenarios::{End, Scenario};
use crate::{
    fleet::{ids, live, settled, spec, status},
    scene::{self, Controller, Scene},
    tap::{IMAGE, LOOK, Moment, PROOF, Point, Tap},
};

pub(crate) const WORKERS: u32 = 5;
const SIDE_BY_SIDE: usize = 8;

/// EC2's time moves on by so much at once.
const STEP: Duration = Duration::from_secs(1);

/// EC2 shows a write only after a while, so that looking again is no substitute for having recorded it.
fn stepped() -> SandboxConfig {
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

fn config(scene: &Scene) -> Config {
    let describe_grace = match scene.sandbox.clock().mode() {
        ClockMode::Real => Duration::from_millis(400),
        // However long a step takes here, it is within EC2's lag.
        ClockMode::Manual => scene::PATIENCE,
    };
    let timings = Timings {
        sweep: Duration::from_millis(150),
        progress: Duration::from_millis(60),
        describe_grace,
        ..scene::timings()
    };
    Config { timings, ..scene.config() }
}

pub(crate) async fn start(scene: &Scene, tap: &Tap) -> Controller {
    let connection = Connection { http_client: Some(tap.aws()), ..scene.connection() };
    let tap = tap.clone();
    Controller::start(config(scene), connection, move |client| tap.kube(client)).await
}

/// Waits until the tap has seen the controller look twice more, and returns what else it has seen meanwhile.
async fn calls_at_rest(tap: &Tap) -> BTreeSet<String> {
    let before = tap.points().len();
    let since = || tap.points().split_off(before);
    let looks = |points: &[Point]| points.iter().filter(|point| point.operation == LOOK).count();
    tap.until(|points| looks(&points[before..]) >= 2).await;
    since().into_iter().map(|point| point.operation).collect()
}

/// Waits until the fleet is settled, runs what is wished, and tells of the very machines that there are.
async fn wait_told(scene: &Scene, workers: u32, case: &str) -> WorkerFleet {
    let told = |fleet: &WorkerFleet| {
        let status = status(fleet);
        let told: BTreeSet<_> = status.instances.iter().map(|worker| worker.id.to_string()).collect();
        settled(fleet, workers as i32) && status.updated_replicas == workers as i32 && told == ids(&live(scene))
    };
    scene.wait("web", &format!("{case}: {workers} workers, settled"), told).await
}

/// Exactly the wanted workers, each owned, and no write any more. `launched` are all that there ever were.
pub(crate) async fn assert_converged(scene: &Scene, tap: &Tap, workers: u32, launched: usize, case: &str) {
    tap.until(|points| points.iter().any(|point| point.operation == LOOK)).await;
    let fleet = wait_told(scene, workers, case).await;
    assert_eq!(live(scene).len(), workers as usize, "{case}: live");
    assert_launched(scene, &fleet, launched, case);
    let mut calls = calls_at_rest(tap).await;
    // Once in a while the account is proven and the image looked at anew.
    calls.remove(PROOF);
    calls.remove(IMAGE);
    assert_eq!(calls, BTreeSet::from([LOOK.to_owned()]), "{case}: calls at rest");
    let later = scene.api::<WorkerFleet>().get("web").await.unwrap();
    assert_eq!(later.resource_version(), fleet.resource_version(), "{case}: written at rest");
}

fn assert_launched(scene: &Scene, fleet: &WorkerFleet, launched: usize, case: &str) {
    let ever = scene.sandbox.instances_of(&scene.account);
    assert_eq!(ever.len(), launched, "{case}: launched in all");
    let uid = fleet.uid().unwrap();
    for worker in &ever {
        assert_eq!(worker.tags["muster.dev:fleet-uid"], uid, "{case}");
        assert!(worker.client_token.as_ref().unwrap().starts_with(&uid.replace('-', "")), "{case}");
    }
}

/// A tap on a controller in whose rests EC2's time goes on.
fn tap(scene: &Scene) -> Tap {
    let control = scene.sandbox.control();
    Tap::new().with_rest(move || control.step(STEP))
}

impl Scenario {
    /// Starts a controller and brings the scenario to where it begins. From there on `tap` counts, and with `stop` it ends
    /// the controller at that point.
    async fn begin(&self, scene: &Scene, tap: &Tap, stop: Option<(Point, Moment)>) -> Controller {
        let Some(workers) = self.workers else {
            tap.begin(stop);
            return start(scene, tap).await;
        };
        let controller = start(scene, tap).await;
        scene.create::<WorkerFleet>("web", spec(scene, workers, json!({}))).await;
        wait_told(scene, workers, self.name).await;
        tap.begin(stop);
        // Otherwise it would be up to the clock whether there is a look before the act.
        tap.until(|points| points.iter().any(|point| point.operation == LOOK)).await;
        controller
    }

    async fn assert_ended(&self, scene: &Scene, tap: &Tap, fleet: &WorkerFleet, case: &str) {
        match self.end {
            End::Workers(workers) => assert_converged(scene, tap, workers, self.launched, case).await,
            End::Gone => {
                scene.wait_gone::<WorkerFleet>("web").await;
                assert_eq!(live(scene), [], "{case}: left");
                assert_launched(scene, fleet, self.launched, case);
            }
        }
    }

    /// The calls when nobody disturbs.
    async fn points(&self) -> BTreeSet<Point> {
        let scene = Scene::with(stepped()).await;
        let tap = tap(&scene);
        let _controller = self.begin(&scene, &tap, None).await;
        let fleet = (self.act)(&scene).await;
        self.assert_ended(&scene, &tap, &fleet, self.name).await;
        let mut points: BTreeSet<_> = tap.points().into_iter().collect();
        if self.workers.is_some() {
            // Proven before; when again is up to the clock.
            points.retain(|point| point.operation != PROOF && point.operation != IMAGE);
        }
        points
    }

    async fn run(&self, point: &Point, moment: Moment) {
        let case = format!("{}, killed {moment:?} {point}", self.name);
        let scene = Scene::with(stepped()).await;
        let victims_tap = tap(&scene);
        let victim = self.begin(&scene, &victims_tap, Some((point.clone(), moment))).await;
        let fleet = (self.act)(&scene).await;
        tokio::select! {
            () = victims_tap.stopped() => {}
            // At its end and at rest: a call that has not come by now will not come. The last one may be what ended it.
            () = self.assert_ended(&scene, &victims_tap, &fleet, &case) => {
                assert!(victims_tap.points().contains(point), "{case}: not met, but {:?}", victims_tap.points());
                victims_tap.stopped().await;
            }
        }
        victim.kill().await;
        let tap = tap(&scene);
        let _successor = start(&scene, &tap).await;
        self.assert_ended(&scene, &tap, &fleet, &case).await;
    }

    async fn survives_every_kill(&self) {
        let (points, again) = futures::join!(self.points().boxed_local(), self.points().boxed_local());
        assert_eq!(points, again, "{}: the calls of two undisturbed runs", self.name);
        for expected in self.calls {
            assert!(points.iter().any(|point| point.operation == *expected), "{expected} is not in {points:?}");
        }
        let named: Vec<_> = points.iter().map(ToString::to_string).collect();
        println!("{}: {} points, each killed before and after: {}", self.name, points.len(), named.join(", "));
        let runs = points
            .iter()
            .flat_map(|point| [Moment::Before, Moment::After].map(|moment| self.run(point, moment).boxed_local()));
        stream::iter(runs).buffer_unordered(SIDE_BY_SIDE).collect::<()>().await;
    }
}
