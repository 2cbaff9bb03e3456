//! Which reports are read, which are rejected, and how the others are counted.

use std::{path::Path, process::Command};

use jiff::ToSpan;
use muster::crd::fleet_report::{FleetReport, RejectionReason};
use muster_sandbox::{Fault, FaultAction, Moment};
use muster_world::KubeApi;
use serde_json::json;

use super::{
    bucket, calls, collect_now, collected, condition_of, counts, events, id, message, put, rejected, report, report_at,
    spec, status, versions, wait, with,
};
use crate::support::scene::{PATIENCE, Scene};

const TWO_GIGABYTES: u64 = 2 << 30;

/// Runs the reporter script with a real shell, and returns its output.
fn run_reporter(folder: &Path, n: usize, name: &str, version: &str, modules: &[&str]) -> Vec<u8> {
    let mut command = Command::new("sh");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/fleet_report/reporter.sh")).args([
        &id(n),
        name,
        version,
    ]);
    for (number, module) in modules.iter().enumerate() {
        let conf = folder.join(format!("process-{n}-{number}.conf"));
        std::fs::write(&conf, format!("module_A_filename = {module}\nmodule_B_filename = b-1\n")).unwrap();
        command.arg(conf);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

#[tokio::test]
async fn reports_of_a_shell_script_count_and_invalid_ones_are_named() {
    let scene = Scene::new().await;
    let prod = bucket(&scene, "prod");
    let s3 = scene.sandbox.s3();
    let folder = tempfile::tempdir().unwrap();
    for (n, name, version, modules) in [
        (0, "web_blue_1", "1.2.3", vec!["a-1", "a-2"]),
        (1, "web_blue_2", "1.2.3", vec!["a-1", "a-1"]),
        (2, "web_green_1", "1.2.2", vec!["a-2"]),
        (3, "batch", "1.10.0", vec![]),
    ] {
        let body = run_reporter(folder.path(), n, name, version, &modules);
        assert!(String::from_utf8_lossy(&body).contains("+0900\""));
        s3.put(&prod, &format!("fleet/{}.json", id(n)), body).unwrap();
    }
    s3.put_generated(&prod, "fleet/huge.json", "{".into(), TWO_GIGABYTES).unwrap();
    s3.put(&prod, "fleet/broken.json", "{\"update_date\": ").unwrap();
    s3.put(&prod, "fleet/trailing.json", format!("{} oops", report(7, "1.2.3"))).unwrap();
    s3.put(&prod, "fleet/i-00000000000000bad.json", report(0, "9.9.9")).unwrap();
    s3.put(&prod, &format!("fleet/{}.json", id(8)), report_at(8, "1.2.3", super::jiff_now() + 1.hour())).unwrap();
    s3.put(&prod, "elsewhere/not-asked-for.json", "not even JSON").unwrap();
    s3.put(&prod, "fleet/", "").unwrap();

    let spec = json!({
        "sources": [{"name": "prod", "bucket": prod, "prefix": "fleet/", "aws": scene.aws()}],
        "timestamp": {"path": "$.update_date"},
        "identity": {"path": "$.instance_id"},
        "fields": [
            {"name": "app", "path": "$.app_version"},
            {"name": "moduleA", "path": "$.processes[*].module_A_filename"},
        ],
        "groupBy": [{"name": "service", "path": "$.instance_name", "regex": "^([a-z]+_[a-z0-9]+)_"}],
        "expect": {"versions": [{"field": "app", "semver": ">=1.2.3"}]},
    });
    scene.create::<FleetReport>("prod", spec).await;
    let _controller = scene.start().await;
    let found = collected(&scene, "prod").await;

    assert_eq!(counts(&found), [4, 0, 4, 1, 0, 1], "{:#?}", found.status);
    assert_eq!(
        versions(&found),
        [("app 1.2.3", 2), ("app 1.10.0", 1), ("app 1.2.2", 1), ("moduleA a-1", 2), ("moduleA a-2", 2)]
            .map(|(v, n)| (v.to_owned(), n))
    );
    let named = [
        ("fleet/i-00000000000000bad.json".to_owned(), RejectionReason::IdentityMismatch),
        ("fleet/broken.json".to_owned(), RejectionReason::NotJson),
        ("fleet/trailing.json".to_owned(), RejectionReason::NotJson),
        ("fleet/huge.json".to_owned(), RejectionReason::TooLarge),
        (format!("fleet/{}.json", id(8)), RejectionReason::FutureTimestamp),
    ];
    assert_eq!(rejected(&found), named);
    let status = status(&found);
    assert_eq!(status.distinct_versions, Some(5));
    assert_eq!(status.fields[1].absent, 1, "batch has no processes");
    let groups: Vec<_> = status.groups.iter().map(|g| (g.value.as_str(), g.fresh, g.behind)).collect();
    assert_eq!(groups, [("web_blue", 2, 0), ("", 1, 0), ("web_green", 1, 1)]);
    let outliers: Vec<_> = status.outliers.iter().map(|o| (&*o.instance, &*o.field, &*o.value)).collect();
    assert_eq!(outliers, [(&*id(2), "app", "1.2.2")]);
    assert_eq!(
        (condition_of(&found, "Ready"), condition_of(&found, "UpToDate")),
        ("True/Ready".into(), "False/VersionsOutdated".into())
    );
    assert!(message(&found, "UpToDate").contains("app should be >=1.2.3"), "{}", message(&found, "UpToDate"));
    let source = &status.sources[0];
    assert_eq!((source.objects, source.fetched), (9, 8));
    // Nothing of the two gigabytes was requested.
    assert_eq!(calls(&scene, "GetObject"), 8);

    let shown = KubeApi::shared().await.kubectl(&["get", "fr", "-n", &scene.namespace]).await.unwrap();
    // What is not expected is not counted: the cell of MISSING is empty.
    let lines: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    let columns = "NAME READY REASON FRESH STALE MISSING BEHIND VERSIONS UP-TO-DATE COLLECTED SUSPEND AGE";
    assert_eq!(lines[0].join(" "), columns);
    assert_eq!(lines[1][..8].join(" "), "prod True Ready 4 0 1 5 False");
}

#[tokio::test]
async fn an_object_that_grows_after_it_was_listed_is_not_read() {
    let scene = Scene::new().await;
    let prod = bucket(&scene, "prod");
    put(&scene, &prod, 1, "1.0.0");
    let key = format!("{}.json", id(2));
    put(&scene, &prod, 2, "1.0.0");
    let hold = FaultAction::Hold { moment: Moment::Before };
    let held = scene.sandbox.add_fault(Fault::once("s3", "GetObject", hold).parameter("Key", &key));
    scene.create::<FleetReport>("prod", spec(&scene, &["prod"])).await;
    let _controller = scene.start().await;
    tokio::time::timeout(PATIENCE, scene.sandbox.wait_for_hits(held, 1)).await.unwrap();
    scene.sandbox.s3().put_generated(&prod, &key, "{".into(), TWO_GIGABYTES).unwrap();
    scene.sandbox.release_fault(held);
    let found = collected(&scene, "prod").await;
    assert_eq!(counts(&found), [1, 0, 1, 0, 0, 0]);
    assert_eq!(rejected(&found), [(key, RejectionReason::TooLarge)]);
}

#[tokio::test]
async fn a_collection_superseded_by_a_change_publishes_no_event() {
    let scene = Scene::new().await;
    let prod = bucket(&scene, "prod");
    let forged = format!("{}.json", id(2));
    put(&scene, &prod, 1, "1.0.0");
    scene.sandbox.s3().put(&prod, &forged, report(3, "6.6.6")).unwrap();
    let hold = FaultAction::Hold { moment: Moment::Before };
    let held = scene.sandbox.add_fault(Fault::once("s3", "GetObject", hold).parameter("Key", &forged));
    scene.create::<FleetReport>("prod", spec(&scene, &["prod"])).await;
    let _controller = scene.start().await;
    tokio::time::timeout(PATIENCE, scene.sandbox.wait_for_hits(held, 1)).await.unwrap();
    scene.change::<FleetReport>("prod", json!({"metadata": {"labels": {"changed": "meanwhile"}}})).await;
    scene.sandbox.release_fault(held);
    assert_eq!(counts(&collected(&scene, "prod").await), [1, 0, 0, 1, 0, 0]);
    let told: Vec<_> = events(&scene, "prod").await.into_iter().filter(|e| e.starts_with("ForgedReports: ")).collect();
    assert_eq!(told, [format!("ForgedReports: forged reports, which are not counted: {forged} in prod")]);
}

#[tokio::test]
async fn of_several_reports_of_an_instance_the_newest_counts() {
    let scene = Scene::new().await;
    let (blue, green) = (bucket(&scene, "blue"), bucket(&scene, "green"));
    let (s3, key) = (scene.sandbox.s3(), format!("{}.json", id(1)));
    s3.put(&blue, &key, report_at(1, "2.0.0", super::jiff_now())).unwrap();
    s3.put(&green, &key, report_at(1, "1.0.0", super::jiff_now() - 1.hour())).unwrap();
    put(&scene, &green, 2, "1.0.0");
    scene.create::<FleetReport>("all", spec(&scene, &["blue", "green"])).await;
    let _controller = scene.start().await;
    let found = collected(&scene, "all").await;
    assert_eq!(counts(&found), [2, 0, 0, 0, 0, 0]);
    assert_eq!(versions(&found), [("app 1.0.0".to_owned(), 1), ("app 2.0.0".to_owned(), 1)]);
    let objects: Vec<_> = status(&found).sources.iter().map(|s| (s.name.clone(), s.objects)).collect();
    assert_eq!(objects, [("blue".to_owned(), 1), ("green".to_owned(), 2)]);
}

#[tokio::test]
async fn with_per_instance_key_only_keys_with_an_instance_arn_are_trusted() {
    let scene = Scene::new().await;
    let prod = bucket(&scene, "prod");
    let arn = |n| format!("arn:aws:ec2:eu-west-1:{}:instance/{}.json", scene.account, id(n));
    scene.sandbox.s3().put(&prod, &arn(1), report(1, "1.0.0")).unwrap();
    scene.sandbox.s3().put(&prod, &arn(2), report(3, "6.6.6")).unwrap();
    put(&scene, &prod, 4, "6.6.6");
    let sources = json!([{"name": "prod", "bucket": prod, "aws": scene.aws(), "trust": "PerInstanceKey"}]);
    scene.create::<FleetReport>("prod", with(spec(&scene, &[]), json!({"sources": sources}))).await;
    let _controller = scene.start().await;
    let found = collected(&scene, "prod").await;
    assert_eq!(counts(&found), [1, 0, 0, 2, 0, 0]);
    assert_eq!(versions(&found), [("app 1.0.0".to_owned(), 1)]);
    let reasons: Vec<_> = rejected(&found).into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(reasons, [RejectionReason::IdentityMismatch, RejectionReason::UntrustedKey]);
    let told = events(&scene, "prod").await;
    assert!(told.iter().any(|e| e.starts_with("ForgedReports: ")), "{told:?}");
}

#[tokio::test]
async fn reports_become_stale_and_disappear_with_their_object() {
    let scene = Scene::new().await;
    let prod = bucket(&scene, "prod");
    put(&scene, &prod, 1, "1.0.0");
    put(&scene, &prod, 2, "1.0.0");
    // The age counts from the time at which S3 stored them, with frequent collections.
    let mut spec = with(spec(&scene, &["prod"]), json!({"interval": "1s", "staleAfter": "5s"}));
    spec.as_object_mut().unwrap().remove("timestamp");
    scene.create::<FleetReport>("prod", spec).await;
    let _controller = scene.start().await;
    collected(&scene, "prod").await;
    scene.sandbox.s3().remove(&prod, &format!("{}.json", id(2))).unwrap();
    wait(&scene, "prod", "one left", |r| counts(r) == [1, 0, 0, 0, 0, 0]).await;
    let reads = calls(&scene, "GetObject");
    let stale = wait(&scene, "prod", "stale", |r| counts(r) == [0, 1, 0, 0, 0, 0]).await;
    assert_eq!((versions(&stale), status(&stale).distinct_versions), (vec![], Some(0)));
    assert_eq!(condition_of(&stale, "Collected"), "True/AllSourcesCollected");
    // The same content again: newer, and nothing to read.
    let key = format!("{}.json", id(1));
    let body = scene.sandbox.s3().get(&prod, &key).unwrap();
    scene.sandbox.s3().touch(&prod, &key, super::jiff_now()).unwrap();
    wait(&scene, "prod", "fresh again", |r| counts(r) == [1, 0, 0, 0, 0, 0]).await;
    assert_eq!(scene.sandbox.s3().get(&prod, &key).unwrap().etag, body.etag);
    assert_eq!(calls(&scene, "GetObject"), reads);
}

#[tokio::test]
async fn a_new_version_is_shown_by_the_next_collection_with_an_event() {
    let scene = Scene::new().await;
    let prod = bucket(&scene, "prod");
    (0..3).for_each(|n| put(&scene, &prod, n, "1.0.0"));
    let expect = json!({"expect": {"versions": [{"field": "app", "equals": "1.0.0"}]}});
    scene.create::<FleetReport>("prod", with(spec(&scene, &["prod"]), expect)).await;
    let _controller = scene.start().await;
    let before = wait(&scene, "prod", "as expected", |r| condition_of(r, "UpToDate") == "True/AllAsExpected").await;
    assert_eq!(counts(&before), [3, 0, 0, 0, 0, 0]);
    put(&scene, &prod, 2, "1.1.0");
    let after = collect_now(&scene, "prod", "now").await;
    assert_eq!(
        (counts(&after), condition_of(&after, "UpToDate")),
        ([3, 0, 0, 0, 0, 1], "False/VersionsOutdated".into())
    );
    assert_eq!(versions(&after), [("app 1.0.0".to_owned(), 2), ("app 1.1.0".to_owned(), 1)]);
    assert_eq!(status(&after).sources[0].fetched, 1);
    let since = status(&after).outliers[0].since.clone();
    let again = collect_now(&scene, "prod", "once more").await;
    assert_eq!(status(&again).outliers[0].since, since);
    let told = events(&scene, "prod").await;
    let changes: Vec<_> = told.iter().filter(|e| e.starts_with("VersionsChanged")).collect();
    assert_eq!(changes, ["VersionsChanged: appeared: app 1.1.0"]);
}

#[tokio::test]
async fn a_changed_field_needs_no_new_reads() {
    let scene = Scene::new().await;
    let prod = bucket(&scene, "prod");
    (0..3).for_each(|n| put(&scene, &prod, n, "1.0.0"));
    scene.create::<FleetReport>("prod", spec(&scene, &["prod"])).await;
    let _controller = scene.start().await;
    collected(&scene, "prod").await;
    let before = (calls(&scene, "ListObjectsV2"), calls(&scene, "GetObject"));
    let fields = json!({"spec": {"fields": [{"name": "name", "path": "$.instance_name"}]}});
    scene.change::<FleetReport>("prod", fields).await;
    wait(&scene, "prod", "names", |r| versions(r) == [("name web_blue_1".to_owned(), 3)]).await;
    assert_eq!((calls(&scene, "ListObjectsV2"), calls(&scene, "GetObject")), before);
}
