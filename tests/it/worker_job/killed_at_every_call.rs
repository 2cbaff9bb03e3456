//! Each index is launched as often as its results require, and no more, at whichever call the controller is killed.
//!
//! Instances do their work in the step of EC2's clock in which they enter `running`. So what they have done before a sweep
//! does not depend on the speed of this computer.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use kube::{ResourceExt, api::DeleteParams};
use muster::{clock::Timings, config::Config, crd::worker_job::WorkerJob};
use muster_sandbox::{Instance, InstanceState, Lifecycle, SandboxConfig};
use serde_json::{Value, json};

use crate::support::{
    crash::{Bystanders, STEP, Scenario, assert_at_rest, config, converges_after_every_kill, start_with, stepped},
    fleet::live,
    job::{self, Crew, Deed},
    scene::{Controller, PATIENCE, Scene},
    tap::{DESCRIBE, LISTING, Moment, Point, SELDOM, Tap},
};

/// How often a job at rest is reconciled.
const SWEEP: Duration = Duration::from_millis(250);
/// The key of an object that workers wait for.
const BEGIN: &str = "begin";
/// After these, EC2's clock has advanced by more than its lag.
const SWEEPS_UNTIL_SEEN: usize = 4;

struct Part {
    name: &'static str,
    completions: u32,
    parallelism: u32,
    /// Additional fields of the spec.
    fields: fn() -> Value,
    by_shutdown: bool,
    /// Workers do not shut down by themselves, and the controller does not wait for it.
    lingers: bool,
    /// What a worker does, by its index and the number of earlier runs of that index.
    deed: fn(u32, u32) -> Deed,
    act: Act,
    end: End,
    /// How often each index is launched in total.
    launched: &'static [(u32, u32)],
    calls: &'static [&'static str],
}

#[derive(Clone, Copy)]
enum Act {
    IsCreated,
    /// All of its workers run, then they begin to work.
    Works,
    /// All of its workers run, then the job is deleted.
    IsDeleted,
    /// All of its workers run, then `parallelism` becomes this.
    Runs(u32),
}

#[derive(Clone, Copy)]
enum End {
    /// Condition, reason, completed indexes and failed indexes.
    Finished(&'static str, &'static str, &'static str, &'static str),
    /// This number of workers continues.
    Running(usize),
    Gone,
}

/// Lets workers begin their work.
fn start_work(scene: &Scene) {
    scene.sandbox.s3().put(&job::bucket(scene), BEGIN, "").unwrap();
}

fn is_settled(instance: &Instance) -> bool {
    matches!(instance.state, InstanceState::Running | InstanceState::Terminated)
}

fn sweeps(points: &[Point]) -> usize {
    points.iter().filter(|point| point.operation == DESCRIBE).count()
}

impl Part {
    async fn create(&self, scene: &Scene) {
        let mut spec = job::spec(scene, self.completions, self.parallelism, (self.fields)());
        if self.by_shutdown {
            spec = job::by_shutdown(spec);
        }
        // One call launches all free indexes, so that the order of the instances does not matter.
        spec["template"]["subnets"]["ids"].as_array_mut().unwrap().truncate(1);
        scene.create::<WorkerJob>("work", spec).await;
    }

    async fn wait_running(&self, scene: &Scene, workers: usize, case: &str) -> WorkerJob {
        let runs = |job: &WorkerJob| {
            let status = job::status(job);
            let open = !status.workers.launches.is_empty() || !status.workers.terminations.is_empty();
            status.active as usize == workers && !open && live(scene).len() == workers
        };
        scene.wait("work", &format!("{case}: {workers} workers"), runs).await
    }

    fn assert_launched(&self, scene: &Scene, case: &str) {
        assert_eq!(job::launched(scene), BTreeMap::from_iter(self.launched.iter().copied()), "{case}: launched");
    }

    /// Further sweeps change nothing.
    async fn assert_at_rest(&self, scene: &Scene, tap: &Tap, job: &WorkerJob, case: &str) {
        // An instance that is shutting down is polled until it is terminated.
        tap.until(|_| scene.sandbox.instances_of(&scene.account).iter().all(is_settled)).await;
        let so_far = sweeps(&tap.points());
        tap.until(|points| sweeps(points) >= so_far + SWEEPS_UNTIL_SEEN).await;
        assert_at_rest(tap, case).await;
        let later = scene.api::<WorkerJob>().get("work").await.unwrap();
        assert_eq!(later.resource_version(), job.resource_version(), "{case}: written at rest");
        self.assert_launched(scene, case);
    }
}

impl Scenario for Part {
    type Object = ();

    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn calls(&self) -> &[&str] {
        self.calls
    }

    /// If workers ran before, these calls were made already, and the clock determines when they are repeated.
    fn unpredictable(&self) -> &[&str] {
        match self.act {
            Act::IsCreated => &[],
            Act::Works | Act::IsDeleted | Act::Runs(_) => SELDOM,
        }
    }

    async fn scene(&self) -> Scene {
        let lifecycle = Lifecycle { pending: STEP, shutting_down: STEP, ..stepped().lifecycle };
        Scene::with(SandboxConfig { lifecycle, ..stepped() }).await
    }

    fn bystanders(&self, scene: &Scene) -> Bystanders {
        let (s3, bucket) = (scene.sandbox.s3(), job::bucket(scene));
        let mut crew = Crew::new(scene, self.deed);
        Arc::new(Mutex::new(move || {
            if s3.keys(&bucket, BEGIN).is_ok_and(|keys| !keys.is_empty()) {
                crew.work();
            }
        }))
    }

    fn config(&self, scene: &Scene) -> Config {
        let config = config(scene);
        // Whether a worker shuts down in time must not depend on the speed of this computer.
        let exit_grace = if self.lingers { SWEEP } else { PATIENCE };
        Config { timings: Timings { sweep: SWEEP, exit_grace, ..config.timings }, ..config }
    }

    async fn begin(&self, scene: &Scene, tap: &Tap, stop: Option<(Point, Moment)>) -> Controller {
        match self.act {
            Act::IsCreated => {
                tap.begin(stop);
                start_with(self.config(scene), scene, tap).await
            }
            Act::Works | Act::IsDeleted | Act::Runs(_) => {
                let controller = start_with(self.config(scene), scene, tap).await;
                self.create(scene).await;
                self.wait_running(scene, self.parallelism as usize, self.name).await;
                tap.begin(stop);
                // Otherwise the clock would determine whether there is a sweep before the change.
                tokio::select! {
                    () = tap.until(|points| sweeps(points) > 0) => {}
                    () = tap.stopped() => {}
                }
                controller
            }
        }
    }

    async fn act(&self, scene: &Scene) {
        match self.act {
            Act::IsCreated => {
                self.create(scene).await;
                start_work(scene);
            }
            Act::Works => start_work(scene),
            Act::IsDeleted => {
                scene.api::<WorkerJob>().delete("work", &DeleteParams::default()).await.unwrap();
            }
            Act::Runs(workers) => {
                scene.change::<WorkerJob>("work", json!({"spec": {"parallelism": workers}})).await;
            }
        }
    }

    async fn assert_ended(&self, scene: &Scene, tap: &Tap, (): &(), case: &str) {
        match self.end {
            End::Finished(condition, reason, completed, failed) => {
                tap.until(|points| sweeps(points) > 0).await;
                let what = format!("{case}: {condition} {reason}, and nothing left");
                let job = scene.wait("work", &what, |job| job::ended(job, condition, reason)).await;
                assert_eq!(job::lists(&job), (completed.to_owned(), failed.to_owned()), "{case}");
                assert_eq!(live(scene), [], "{case}: live");
                self.assert_at_rest(scene, tap, &job, case).await;
            }
            End::Running(workers) => {
                tap.until(|points| sweeps(points) > 0).await;
                let job = self.wait_running(scene, workers, case).await;
                self.assert_at_rest(scene, tap, &job, case).await;
            }
            End::Gone => {
                scene.wait_gone::<WorkerJob>("work").await;
                assert_eq!(live(scene), [], "{case}: live");
                self.assert_launched(scene, case);
            }
        }
    }
}

const RUN: Part = Part {
    name: "a job of three indexes, one of which fails at first",
    completions: 3,
    parallelism: 2,
    fields: || json!({"backoffLimitPerIndex": 1}),
    by_shutdown: false,
    lingers: false,
    deed: |index, before| Deed::Exits(i32::from((index, before) == (1, 0))),
    act: Act::IsCreated,
    end: End::Finished("Complete", "CompletionsReached", "0-2", ""),
    launched: &[(0, 1), (1, 2), (2, 1)],
    calls: &[LISTING, "GET object", "RunInstances", "PUT workerjobs/status", "PATCH controllerrevisions"],
};

/// The worker that is done is terminated after a while.
const LINGER: Part = Part {
    name: "a worker that stays after its result",
    completions: 1,
    parallelism: 1,
    fields: || json!({}),
    by_shutdown: false,
    lingers: true,
    deed: |_, _| Deed::ExitsAndStays(0),
    act: Act::Works,
    end: End::Finished("Complete", "CompletionsReached", "0", ""),
    launched: &[(0, 1)],
    calls: &["GET object", "TerminateInstances", "PUT workerjobs/status"],
};

const GIVE_UP: Part = Part {
    name: "a job that fails with a worker at work",
    completions: 3,
    parallelism: 2,
    fields: || json!({"maxFailedIndexes": 0}),
    by_shutdown: false,
    lingers: false,
    deed: |index, _| if index == 0 { Deed::Exits(1) } else { Deed::Hangs },
    act: Act::Works,
    end: End::Finished("Failed", "MaxFailedIndexesExceeded", "", "0"),
    launched: &[(0, 1), (1, 1)],
    calls: &["GET object", "TerminateInstances", "PUT workerjobs/status"],
};

const SHUTDOWN: Part = Part {
    name: "a job whose workers tell by their shutdown",
    completions: 2,
    parallelism: 2,
    fields: || json!({}),
    by_shutdown: true,
    lingers: false,
    deed: |index, before| if (index, before) == (0, 0) { Deed::IsTerminated } else { Deed::ShutsDown },
    act: Act::Works,
    end: End::Finished("Complete", "CompletionsReached", "0,1", ""),
    launched: &[(0, 2), (1, 1)],
    calls: &["RunInstances", "TerminateInstances", "PUT workerjobs/status"],
};

const FEWER: Part = Part {
    name: "less parallelism",
    completions: 3,
    parallelism: 3,
    fields: || json!({}),
    by_shutdown: false,
    lingers: false,
    deed: |_, _| Deed::Hangs,
    act: Act::Runs(1),
    end: End::Running(1),
    launched: &[(0, 1), (1, 1), (2, 1)],
    calls: &["TerminateInstances", "PUT workerjobs/status"],
};

const DELETION: Part = Part {
    name: "deletion of a job at work",
    completions: 3,
    parallelism: 2,
    fields: || json!({}),
    by_shutdown: false,
    lingers: false,
    deed: |_, _| Deed::Hangs,
    act: Act::IsDeleted,
    end: End::Gone,
    launched: &[(0, 1), (1, 1)],
    calls: &["TerminateInstances", "PUT workerjobs/status", "PATCH workerjobs"],
};

const TTL: Part = Part {
    name: "a job that is deleted once it has finished",
    completions: 1,
    parallelism: 1,
    fields: || json!({"ttlSecondsAfterFinished": 0}),
    by_shutdown: false,
    lingers: false,
    deed: |_, _| Deed::Exits(0),
    act: Act::Works,
    end: End::Gone,
    launched: &[(0, 1)],
    calls: &["GET object", "DELETE workerjobs", "PATCH workerjobs"],
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_call_of_a_job_each_index_runs_as_often_as_its_results_require() {
    converges_after_every_kill(&RUN).await;
    converges_after_every_kill(&SHUTDOWN).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_call_of_a_job_unneeded_workers_are_terminated_once() {
    converges_after_every_kill(&LINGER).await;
    converges_after_every_kill(&GIVE_UP).await;
    converges_after_every_kill(&FEWER).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_call_of_a_jobs_deletion_no_instance_remains() {
    converges_after_every_kill(&DELETION).await;
    converges_after_every_kill(&TTL).await;
}
