//! FleetReport: collection of reports from the S3 of the sandbox.

mod api;
mod calls_at_rest;
mod collection;
mod expected;
mod failures;
mod hostile_objects;
mod walls;
mod worker_text;

use bytes::Bytes;
use k8s_openapi::api::events::v1::Event;
use kube::{Api, ResourceExt, api::ListParams};
use muster::crd::fleet_report::{FleetReport, FleetReportStatus, RejectionReason};
use muster_sandbox::CallQuery;
use serde_json::{Value, json};

use crate::support::scene::{self, REGION, Scene};

/// The ID of the `n`th instance.
fn id(n: usize) -> String {
    format!("i-{n:017x}")
}

/// A current report of the `n`th instance.
fn report(n: usize, version: &str) -> String {
    report_at(n, version, jiff_now())
}

fn report_at(n: usize, version: &str, time: jiff::Timestamp) -> String {
    json!({"update_date": time.to_string(), "instance_id": id(n), "instance_name": "web_blue_1", "app_version": version})
        .to_string()
}

fn jiff_now() -> jiff::Timestamp {
    muster::clock::Clock.now()
}

/// Creates a bucket. Bucket names are global, but each scene has its own sandbox.
fn bucket(scene: &Scene, name: &str) -> String {
    scene.sandbox.s3().ensure_bucket(scene.account.as_str(), REGION, name).unwrap();
    name.to_owned()
}

fn put(scene: &Scene, bucket: &str, n: usize, version: &str) {
    scene.sandbox.s3().put(bucket, &format!("{}.json", id(n)), report(n, version)).unwrap();
}

fn fill(scene: &Scene, bucket: &str, count: usize, version: &str) {
    let objects = (0..count).map(|n| (format!("{}.json", id(n)), Bytes::from(report(n, version))));
    scene.sandbox.s3().fill(bucket, objects).unwrap();
}

/// A spec that collects from `buckets` once an hour, so that tests request each collection.
fn spec(scene: &Scene, buckets: &[&str]) -> Value {
    let sources: Vec<_> = buckets.iter().map(|b| json!({"name": b, "bucket": b, "aws": scene.aws()})).collect();
    json!({
        "sources": sources,
        "interval": "1h",
        "timestamp": {"path": "$.update_date"},
        "identity": {"path": "$.instance_id"},
        "fields": [{"name": "app", "path": "$.app_version"}],
    })
}

fn with(mut spec: Value, part: Value) -> Value {
    spec.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
    spec
}

fn status(report: &FleetReport) -> FleetReportStatus {
    report.status.clone().unwrap_or_default()
}

/// A condition as `Status/Reason`.
fn condition_of(report: &FleetReport, type_: &str) -> String {
    let conditions = status(report).common.conditions;
    scene::condition(&conditions, type_).map_or_else(|| "-".into(), |(truth, reason, _)| format!("{truth}/{reason}"))
}

fn message(report: &FleetReport, type_: &str) -> String {
    scene::condition(&status(report).common.conditions, type_).unwrap_or_default().2
}

/// The counts of fresh, stale, invalid, forged, unreadable and outdated reports.
fn counts(report: &FleetReport) -> [i64; 6] {
    let c = status(report).reports.unwrap_or_default();
    [c.fresh, c.stale, c.invalid, c.forged, c.unreadable, c.behind]
}

fn versions(report: &FleetReport) -> Vec<(String, i64)> {
    status(report).versions.into_iter().map(|v| (format!("{} {}", v.field, v.value), v.count)).collect()
}

fn rejected(report: &FleetReport) -> Vec<(String, RejectionReason)> {
    status(report).rejected.into_iter().map(|r| (r.key, r.reason)).collect()
}

/// Requests a collection, and waits until it is complete.
async fn collect_now(scene: &Scene, name: &str, mark: &str) -> FleetReport {
    let annotation = json!({"metadata": {"annotations": {"muster.dev/requested-at": mark}}});
    scene.change::<FleetReport>(name, annotation).await;
    scene
        .wait::<FleetReport>(name, "the requested collection", |r| {
            status(r).common.last_handled_requested_at.as_deref() == Some(mark)
        })
        .await
}

async fn wait(scene: &Scene, name: &str, what: &str, test: impl Fn(&FleetReport) -> bool) -> FleetReport {
    scene.wait::<FleetReport>(name, what, test).await
}

async fn collected(scene: &Scene, name: &str) -> FleetReport {
    wait(scene, name, "collected", |r| condition_of(r, "Collected") == "True/AllSourcesCollected").await
}

fn calls(scene: &Scene, operation: &str) -> usize {
    scene.sandbox.calls(&CallQuery::operation("s3", operation)).len()
}

/// The events about the FleetReport `name`, as `reason: note`.
async fn events(scene: &Scene, name: &str) -> Vec<String> {
    let events = Api::<Event>::namespaced(scene.kube.clone(), &scene.namespace);
    let all = events.list(&ListParams::default()).await.unwrap();
    let about = |e: &Event| e.regarding.as_ref().is_some_and(|r| r.name.as_deref() == Some(name));
    let mut told: Vec<_> = all.into_iter().filter(about).collect();
    told.sort_by_key(|e| (e.event_time.clone(), e.name_any()));
    told.into_iter().map(|e| format!("{}: {}", e.reason.unwrap_or_default(), e.note.unwrap_or_default())).collect()
}
