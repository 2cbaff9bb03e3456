//! Specs of jobs, functions that read jobs, and workers that behave as a test prescribes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use muster::crd::worker_job::{WorkerJob, WorkerJobStatus};
use muster_sandbox::{Control, Instance, InstanceEvent, InstanceState};
use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::support::{
    fleet::with,
    scene::{Scene, condition},
};

const BUCKET: &str = "results";
/// The time between a spot interruption notice and the interruption.
const NOTICE: Duration = Duration::from_millis(100);

/// A spec with `completions` indexes, `parallelism` at a time, and results in S3.
pub(crate) fn spec(scene: &Scene, completions: u32, parallelism: u32, fields: Value) -> Value {
    let account = scene.account.as_str();
    scene.sandbox.s3().ensure_bucket(account, crate::support::scene::REGION, &bucket(scene)).unwrap();
    let template = crate::support::fleet::spec(scene, 0, json!({}))["template"].clone();
    let spec = json!({
        "completions": completions, "parallelism": parallelism, "backoffLimitPerIndex": 0, "aws": scene.aws(),
        "result": {"s3": {"bucket": bucket(scene), "prefix": "nightly"}}, "template": template,
    });
    with(spec, fields)
}

pub(crate) fn by_shutdown(mut spec: Value) -> Value {
    spec["result"] = json!({"shutdownReason": {}});
    spec
}

pub(crate) fn bucket(scene: &Scene) -> String {
    format!("{BUCKET}-{}", scene.account)
}

/// What a worker does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deed {
    /// Writes this exit code and shuts down.
    Exits(i32),
    /// Writes exit code 0 for each index below this and shuts down.
    ClaimsAll(u32),
    /// Writes this exit code into an archive, from which S3 does not read, and shuts down.
    Archives(i32),
    /// Writes this exit code and stays.
    ExitsAndStays(i32),
    /// Shuts down without writing a result.
    ShutsDown,
    Hangs,
    /// A user terminates it.
    IsTerminated,
    /// A user stops it.
    IsStopped,
    /// The hardware fails.
    Dies,
    /// EC2 reclaims it without a notice, after it has written this exit code, if any.
    IsReclaimed(Option<i32>),
    /// EC2 interrupts it with a notice.
    IsInterrupted,
}

/// Simulates the work of instances: what each does depends on its index and the number of earlier runs of that index.
pub(crate) struct Crew {
    control: Control,
    bucket: String,
    events: broadcast::Receiver<InstanceEvent>,
    deed: Box<dyn Fn(u32, u32) -> Deed + Send>,
    runs: Arc<Mutex<BTreeMap<u32, u32>>>,
}

impl Crew {
    pub(crate) fn new(scene: &Scene, deed: impl Fn(u32, u32) -> Deed + Send + 'static) -> Self {
        let control = scene.sandbox.control();
        let events = control.instance_events();
        Self { control, bucket: bucket(scene), events, deed: Box::new(deed), runs: Arc::default() }
    }

    /// Lets all instances that have entered `running` since do their work.
    pub(crate) fn work(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.hear(&event);
        }
    }

    fn hear(&self, event: &InstanceEvent) {
        if event.state != InstanceState::Running {
            return;
        }
        let instance = self.control.instance(&event.instance_id).unwrap();
        let index = index(&instance);
        let before = {
            let mut counted = self.runs.lock().unwrap();
            let runs = counted.entry(index).or_insert(0);
            *runs += 1;
            *runs - 1
        };
        act(&self.control, &self.bucket, &instance, (self.deed)(index, before));
    }
}

/// A crew that works until it is dropped. Each instance works as soon as it runs.
pub(crate) struct Workers {
    runs: Arc<Mutex<BTreeMap<u32, u32>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Workers {
    pub(crate) fn start(scene: &Scene, deed: impl Fn(u32, u32) -> Deed + Send + 'static) -> Self {
        let mut crew = Crew::new(scene, deed);
        let runs = crew.runs.clone();
        let task = tokio::spawn(async move {
            while let Ok(event) = crew.events.recv().await {
                crew.hear(&event);
            }
        });
        Self { runs, task }
    }

    /// How often each index was started.
    pub(crate) fn runs(&self) -> BTreeMap<u32, u32> {
        self.runs.lock().unwrap().clone()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn act(control: &Control, bucket: &str, instance: &Instance, deed: Deed) {
    let write_for = |index: u32, code: i32| {
        let body = json!({"index": index, "exitCode": code}).to_string();
        control.s3().put(bucket, &key_of(instance, index), body).unwrap();
    };
    let write = |code| write_for(index(instance), code);
    match deed {
        Deed::Exits(code) => {
            write(code);
            control.shut_down_from_inside(&instance.id).unwrap();
        }
        Deed::Archives(code) => {
            let index = index(instance);
            let body = json!({"index": index, "exitCode": code}).to_string();
            control.s3().put_in_class(bucket, &key_of(instance, index), body, "GLACIER").unwrap();
            control.shut_down_from_inside(&instance.id).unwrap();
        }
        Deed::ClaimsAll(indexes) => {
            (0..indexes).for_each(|index| write_for(index, 0));
            control.shut_down_from_inside(&instance.id).unwrap();
        }
        Deed::ExitsAndStays(code) => write(code),
        Deed::ShutsDown => control.shut_down_from_inside(&instance.id).unwrap(),
        Deed::Hangs => {}
        Deed::IsTerminated => control.terminate_instance(&instance.id).unwrap(),
        Deed::IsStopped => control.stop_instance(&instance.id).unwrap(),
        Deed::Dies => control.fail_instance(&instance.id).unwrap(),
        Deed::IsReclaimed(code) => {
            code.into_iter().for_each(write);
            control.reclaim_spot_instance(&instance.id).unwrap();
        }
        Deed::IsInterrupted => control.interrupt_spot_instance(&instance.id, NOTICE).unwrap(),
    }
}

/// The index of an instance: that of its tag at its launch index.
pub(crate) fn index(instance: &Instance) -> u32 {
    let all = instance.tags["muster.dev:indexes"].split(',').flat_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        first.parse::<u32>().unwrap()..=last.parse().unwrap()
    });
    all.into_iter().nth(instance.launch_index as usize).expect("an index for each instance")
}

/// How often each index was launched.
pub(crate) fn launched(scene: &Scene) -> BTreeMap<u32, u32> {
    let mut launched = BTreeMap::new();
    let all = scene.sandbox.instances_of(&scene.account);
    all.iter().for_each(|instance| *launched.entry(index(instance)).or_default() += 1);
    launched
}

/// The key of the result of an instance.
pub(crate) fn key(instance: &Instance) -> String {
    key_of(instance, index(instance))
}

fn key_of(instance: &Instance, index: u32) -> String {
    let place = instance.tags["muster.dev:result"].strip_prefix("s3://").unwrap().split_once('/').unwrap().1;
    format!("{place}/{index}/{}", instance.id)
}

pub(crate) fn status(job: &WorkerJob) -> WorkerJobStatus {
    job.status.clone().unwrap_or_default()
}

pub(crate) fn is(job: &WorkerJob, type_: &str, truth: &str, reason: &str) -> bool {
    condition(&status(job).common.conditions, type_).is_some_and(|(t, r, _)| t == truth && r == reason)
}

/// Finished for this reason, and nothing is left.
pub(crate) fn ended(job: &WorkerJob, type_: &str, reason: &str) -> bool {
    let status = status(job);
    is(job, type_, "True", reason)
        && status.active == 0
        && status.instances.is_empty()
        && status.workers.launches.is_empty()
        && status.workers.terminations.is_empty()
}

pub(crate) async fn wait_ended(scene: &Scene, name: &str, type_: &str, reason: &str) -> WorkerJob {
    scene.wait::<WorkerJob>(name, &format!("{type_} {reason}, and nothing left"), |job| ended(job, type_, reason)).await
}

pub(crate) fn lists(job: &WorkerJob) -> (String, String) {
    (status(job).completed_indexes.to_string(), status(job).failed_indexes.to_string())
}
