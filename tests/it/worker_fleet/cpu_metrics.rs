//! CPU utilization of workers: read from CloudWatch, shown in the status and in /metrics, and used by scale-down.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use muster::crd::worker_fleet::WorkerFleet;
use muster_sandbox::{Call, CallQuery, Fault, FaultAction};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::support::{
    fleet::{live, ready, spec, status, wait_settled, with},
    scene::{self, Controller, Scene, condition},
};

/// A fleet with `metrics.cpu`. Five minutes are one and a half seconds here.
fn measured(scene: &Scene, replicas: u32, fields: Value) -> Value {
    with(with(spec(scene, replicas, json!({})), json!({"metrics": {"cpu": {"period": "5m"}}})), fields)
}

/// Sets the CPU utilization of the past hour.
fn busy(scene: &Scene, id: &str, percent: f64) {
    let since = scene.sandbox.now() - SignedDuration::from_hours(1);
    scene.sandbox.set_cpu(id, Some(percent), Some(since)).unwrap();
}

fn ids(scene: &Scene) -> Vec<String> {
    live(scene).into_iter().map(|instance| instance.id).collect()
}

fn requests(scene: &Scene) -> Vec<Call> {
    scene.sandbox.calls(&CallQuery::operation("cloudwatch", "GetMetricData"))
}

/// Waits for `count` further calls to CloudWatch.
async fn further_requests(scene: &Scene, count: usize) -> Vec<Call> {
    let after = scene.sandbox.calls(&CallQuery::default()).last().map(|call| call.number);
    let query = CallQuery { after, ..CallQuery::operation("cloudwatch", "GetMetricData") };
    let calls = scene.sandbox.wait_for_calls(&query, |calls| calls.len() >= count);
    tokio::time::timeout(scene::PATIENCE, calls).await.expect("calls to CloudWatch")
}

fn percents(fleet: &WorkerFleet) -> Vec<(String, Option<i32>)> {
    let mut shown: Vec<_> = status(fleet).instances.iter().map(|w| (w.id.to_string(), w.cpu_percent)).collect();
    shown.sort();
    shown
}

fn cpu(fleet: &WorkerFleet) -> Option<(i32, i32)> {
    status(fleet).cpu.map(|cpu| (cpu.average_percent, cpu.max_percent))
}

fn unknown(fleet: &WorkerFleet) -> Option<String> {
    condition(&status(fleet).common.conditions, "CpuUnknown").map(|(_, reason, _)| reason)
}

async fn metrics(address: SocketAddr) -> BTreeSet<String> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
        .lines()
        .filter(|line| line.starts_with("muster_worker") && line.contains("_cpu_"))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn known_cpu_values_are_shown_and_written_when_they_changed() {
    let scene = Scene::new().await;
    let address = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
    let config = muster::config::Config { metrics_addr: address, ..scene.config() };
    let _controller = Controller::start(config, scene.connection(), |client| client).await;
    scene.create::<WorkerFleet>("web", measured(&scene, 3, json!({}))).await;
    wait_settled(&scene, "web", 3).await;
    let fleet = scene.wait::<WorkerFleet>("web", "no data yet", |f| unknown(f).is_some()).await;
    assert_eq!(unknown(&fleet).as_deref(), Some("NoDataYet"));
    assert_eq!(cpu(&fleet), None);

    let mut workers = ids(&scene);
    workers.sort();
    busy(&scene, &workers[0], 40.4);
    busy(&scene, &workers[1], 0.0);
    let fleet = scene.wait::<WorkerFleet>("web", "CPU", |f| cpu(f).is_some()).await;
    assert_eq!(cpu(&fleet), Some((20, 40)), "of the two that are known");
    let shown = [(workers[0].clone(), Some(40)), (workers[1].clone(), Some(0)), (workers[2].clone(), None)];
    assert_eq!(percents(&fleet), shown);
    assert_eq!(unknown(&fleet), None);
    assert_eq!(ready(&fleet).unwrap().0, "True");
    let observed = status(&fleet).cpu.unwrap().observed_at.0;
    let now: Timestamp = scene.sandbox.now();
    assert!(observed <= now && observed > now - SignedDuration::from_mins(10), "{observed}");

    // While it changes by less than five percentage points, nothing is written.
    busy(&scene, &workers[0], 44.4);
    busy(&scene, &workers[1], 4.0);
    further_requests(&scene, 3).await;
    let later = scene.api::<WorkerFleet>().get("web").await.unwrap();
    assert_eq!(later.resource_version(), fleet.resource_version());
    // /metrics shows the exact value.
    let of = |id: &str| format!("namespace=\"{}\",fleet=\"web\",instance=\"{id}\"", scene.namespace);
    let exact = BTreeSet::from([
        format!("muster_worker_cpu_percent{{{}}} 44.4", of(&workers[0])),
        format!("muster_worker_cpu_percent{{{}}} 4.0", of(&workers[1])),
        format!("muster_workerfleet_cpu_average_percent{{namespace=\"{}\",fleet=\"web\"}} 24.2", scene.namespace),
        format!("muster_workerfleet_cpu_max_percent{{namespace=\"{}\",fleet=\"web\"}} 44.4", scene.namespace),
    ]);
    assert_eq!(metrics(address).await, exact);

    busy(&scene, &workers[0], 45.4);
    let fleet = scene.wait::<WorkerFleet>("web", "a move", |f| percents(f)[0].1 == Some(45)).await;
    assert_eq!(percents(&fleet)[1].1, Some(0), "still within five points of what is written");

    // A worker that is gone has no series any more.
    scene.change::<WorkerFleet>("web", json!({"spec": {"metrics": null}})).await;
    let fleet = scene.wait::<WorkerFleet>("web", "no CPU", |f| cpu(f).is_none()).await;
    assert!(percents(&fleet).iter().all(|(_, percent)| percent.is_none()));
    assert_eq!(metrics(address).await, BTreeSet::new());
}

#[tokio::test]
async fn all_fleets_share_one_request_per_period() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    for name in ["a", "b", "c"] {
        scene.create::<WorkerFleet>(name, measured(&scene, 2, json!({}))).await;
    }
    scene.create::<WorkerFleet>("unmeasured", spec(&scene, 2, json!({}))).await;
    for name in ["a", "b", "c", "unmeasured"] {
        wait_settled(&scene, name, 2).await;
    }
    // Instances that were first queried at different times are queried together later.
    let asks_for_all = |call: &Call| call.parameters["MetricDataQueries"] == "6";
    let query = CallQuery::operation("cloudwatch", "GetMetricData");
    let together = scene.sandbox.wait_for_calls(&query, |calls| calls.iter().any(asks_for_all));
    tokio::time::timeout(scene::PATIENCE, together).await.expect("one call for all");
    let calls = further_requests(&scene, 4).await;
    for pair in calls.windows(2) {
        assert!(asks_for_all(&pair[1]), "{pair:#?}");
        let apart = pair[1].started.duration_since(pair[0].started);
        assert!(apart >= SignedDuration::from_millis(1400), "{apart}");
    }
}

#[tokio::test]
async fn the_least_busy_worker_is_terminated_first_and_unknown_ones_are_kept() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", measured(&scene, 4, json!({"scaleDownPolicy": "LowestCpu"}))).await;
    wait_settled(&scene, "web", 4).await;
    // The oldest is the busiest, in the order of launch, and the CPU of the newest is unknown.
    let workers = ids(&scene);
    for (id, percent) in workers.iter().zip([90.0, 20.0, 50.0]) {
        busy(&scene, id, percent);
    }
    scene.wait::<WorkerFleet>("web", "CPU", |f| cpu(f) == Some((53, 90))).await;
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 2}})).await;
    wait_settled(&scene, "web", 2).await;
    assert_eq!(ids(&scene), [workers[0].clone(), workers[3].clone()]);
}

#[tokio::test]
async fn an_error_of_cloudwatch_is_shown_and_blocks_nothing() {
    let scene = Scene::new().await;
    let denied = FaultAction::Error { code: "AccessDenied".into(), message: None, status: None };
    let fault = scene.sandbox.add_fault(Fault::always("cloudwatch", "GetMetricData", denied));
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", measured(&scene, 2, json!({}))).await;
    wait_settled(&scene, "web", 2).await;
    let refused = |f: &WorkerFleet| unknown(f).as_deref() == Some("AwsDenied");
    let fleet = scene.wait::<WorkerFleet>("web", "the denial", refused).await;
    let (_, _, message) = condition(&status(&fleet).common.conditions, "CpuUnknown").unwrap();
    assert!(message.contains("cloudwatch:GetMetricData") && message.contains("AccessDenied"), "{message}");
    assert_eq!(ready(&fleet).unwrap().0, "True");
    // The call is repeated once per sweep, and nothing more is written.
    let before = requests(&scene).len();
    let began = std::time::Instant::now();
    further_requests(&scene, 2).await;
    assert!(began.elapsed() >= Duration::from_millis(900), "two calls in {:?}", began.elapsed());
    assert!(requests(&scene).len() <= before + 3);
    let later = scene.api::<WorkerFleet>().get("web").await.unwrap();
    assert_eq!(later.resource_version(), fleet.resource_version());

    scene.sandbox.remove_fault(fault);
    ids(&scene).iter().for_each(|id| busy(&scene, id, 30.0));
    let fleet = scene.wait::<WorkerFleet>("web", "CPU", |f| cpu(f) == Some((30, 30))).await;
    assert_eq!(unknown(&fleet), None);
}
