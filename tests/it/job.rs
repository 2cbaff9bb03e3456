//! A WorkerJob from its creation to its end, against the API server, EC2 and S3.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use kube::{ResourceExt, api::DeleteParams};
use muster::{
    clock::Timings,
    config::Config,
    worker_job::{WorkerJob, WorkerJobStatus},
};
use muster_sandbox::{Control, Instance, InstanceEvent, InstanceState, ShutdownBehavior};
use muster_world::KubeApi;
use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::{
    fleet::{calls_at_rest, launches, live, with},
    scene::{Controller, PATIENCE, Scene, condition},
    tap::{Moment, Point, Tap},
};

const BUCKET: &str = "results";
/// How long before it takes a spot instance back EC2 tells it.
const NOTICE: Duration = Duration::from_millis(100);

/// A spec of `completions` indexes, `parallelism` at once, that tells results in S3.
pub(crate) fn spec(scene: &Scene, completions: u32, parallelism: u32, fields: Value) -> Value {
    let account = scene.account.as_str();
    scene.sandbox.s3().ensure_bucket(account, crate::scene::REGION, &bucket(scene)).unwrap();
    let template = crate::fleet::spec(scene, 0, json!({}))["template"].clone();
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
    /// Writes this exit code and stays.
    ExitsAndStays(i32),
    /// Shuts down without a word.
    ShutsDown,
    Hangs,
    /// Somebody ends it.
    IsTerminated,
    /// Somebody stops it.
    IsStopped,
    /// The hardware fails.
    Dies,
    /// EC2 takes it back without a notice, after it has written this exit code if any.
    IsReclaimed(Option<i32>),
    /// EC2 tells it that it will be taken back, and does so.
    IsInterrupted,
}

/// Machines that work as soon as they run: what each does is up to its index and how often that was run before.
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

    /// All that has come to run since does its work.
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

/// A crew that works until it is dropped, each machine the moment it runs.
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

    /// How often each index was begun.
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

/// The index that a machine picks from its tag by its launch index.
pub(crate) fn index(instance: &Instance) -> u32 {
    let all = instance.tags["muster.dev:indexes"].split(',').flat_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        first.parse::<u32>().unwrap()..=last.parse().unwrap()
    });
    all.into_iter().nth(instance.launch_index as usize).expect("an index for each machine")
}

/// How often each index was launched.
pub(crate) fn launched(scene: &Scene) -> BTreeMap<u32, u32> {
    let mut launched = BTreeMap::new();
    let all = scene.sandbox.instances_of(&scene.account);
    all.iter().for_each(|machine| *launched.entry(index(machine)).or_default() += 1);
    launched
}

/// Where a machine writes its result, in the bucket.
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

/// Finished for this reason, and nothing left of it.
pub(crate) fn ended(job: &WorkerJob, type_: &str, reason: &str) -> bool {
    let status = status(job);
    is(job, type_, "True", reason)
        && status.active == 0
        && status.workers.launches.is_empty()
        && status.workers.terminations.is_empty()
}

pub(crate) async fn wait_ended(scene: &Scene, name: &str, type_: &str, reason: &str) -> WorkerJob {
    scene.wait::<WorkerJob>(name, &format!("{type_} {reason}, and nothing left"), |job| ended(job, type_, reason)).await
}

pub(crate) fn lists(job: &WorkerJob) -> (String, String) {
    (status(job).completed_indexes.to_string(), status(job).failed_indexes.to_string())
}

/// A controller that lets workers take their time to end, so that a busy machine changes nothing.
async fn start_patient(scene: &Scene) -> Controller {
    let config = scene.config();
    let timings = Timings { exit_grace: PATIENCE, ..config.timings };
    Controller::start(Config { timings, ..config }, scene.connection(), |client| client).await
}

#[tokio::test]
async fn twenty_indexes_are_run_and_the_one_that_fails_again_is_named() {
    let scene = Scene::new().await;
    let workers = Workers::start(&scene, |index, before| match (index, before) {
        (7, _) | (3, 0) => Deed::Exits(3),
        _ => Deed::Exits(0),
    });
    let _controller = start_patient(&scene).await;
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
    for machine in scene.sandbox.instances_of(&scene.account) {
        assert_eq!(machine.tags["muster.dev:job"], format!("{}/work", scene.namespace));
        assert_eq!(machine.tags["muster.dev:fleet-uid"], uid);
        assert_eq!(machine.tags["muster.dev:result"], format!("s3://{}/nightly/{uid}", bucket(&scene)));
        assert!(machine.client_token.unwrap().starts_with(&uid.replace('-', "")));
        assert_eq!(machine.shutdown_behavior, ShutdownBehavior::Terminate);
    }
    let ended = scene.sandbox.calls(&muster_sandbox::CallQuery::operation("ec2", "TerminateInstances"));
    assert!(ended.is_empty(), "workers end themselves: {ended:#?}");
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
async fn a_worker_that_stays_after_its_result_is_ended() {
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
async fn too_many_failed_indexes_end_the_rest() {
    let scene = Scene::new().await;
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
async fn a_job_that_hangs_fails_at_its_deadline_and_is_deleted_when_its_time_is_over() {
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
async fn a_shutdown_is_the_result_and_is_on_record_before_the_machine_is_ended() {
    let scene = Scene::new().await;
    let workers = Workers::start(&scene, |index, before| match (index, before) {
        (1, 0) => Deed::IsStopped,
        _ => Deed::ShutsDown,
    });
    let point = Point { operation: "TerminateInstances".into(), ordinal: 1 };
    let tap = Tap::stopping(point, Moment::Before);
    let victim = crate::crash::start(&scene, &tap).await;
    scene.create::<WorkerJob>("work", by_shutdown(spec(&scene, 3, 3, json!({})))).await;
    tap.stopped().await;
    let job = scene.api::<WorkerJob>().get("work").await.unwrap();
    let completed = status(&job).completed_indexes;
    let victims: Vec<_> = status(&job).workers.terminations.iter().flat_map(|t| t.instance_ids.clone()).collect();
    assert!(!victims.is_empty());
    for id in victims {
        let machine = scene.sandbox.instance(id.as_str()).unwrap();
        assert_eq!((machine.state, machine.shutdown_behavior), (InstanceState::Stopped, ShutdownBehavior::Stop));
        let itself = machine.state_reason.as_ref().unwrap().code == "Client.InstanceInitiatedShutdown";
        assert_eq!(completed.contains(index(&machine)), itself, "{}", machine.id);
    }
    victim.kill().await;
    let _successor = scene.start().await;
    let job = wait_ended(&scene, "work", "Complete", "CompletionsReached").await;
    assert_eq!(lists(&job).0, "0-2");
    assert_eq!(workers.runs(), [(0, 1), (1, 2), (2, 1)].into(), "none is run again after its result");
    assert_eq!(live(&scene).len(), 0);
}

#[tokio::test]
async fn a_job_that_is_made_again_believes_no_result_of_the_old_one() {
    let scene = Scene::new().await;
    let workers = Workers::start(&scene, |_, _| Deed::Exits(0));
    let _controller = scene.start().await;
    let wish = spec(&scene, 2, 2, json!({}));
    scene.create::<WorkerJob>("work", wish.clone()).await;
    wait_ended(&scene, "work", "Complete", "CompletionsReached").await;
    scene.api::<WorkerJob>().delete("work", &DeleteParams::default()).await.unwrap();
    scene.wait_gone::<WorkerJob>("work").await;
    assert_eq!(scene.sandbox.s3().keys(&bucket(&scene), "nightly/").unwrap().len(), 2, "results stay");
    scene.create::<WorkerJob>("work", wish).await;
    wait_ended(&scene, "work", "Complete", "CompletionsReached").await;
    assert_eq!(workers.runs(), [(0, 2), (1, 2)].into());
}

#[tokio::test]
async fn less_parallelism_ends_the_highest_indexes_and_they_run_again_later() {
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
