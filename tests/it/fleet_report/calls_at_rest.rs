//! The number of calls of a collection, and of writes while nothing changes.

use futures::StreamExt;
use kube::{
    ResourceExt,
    api::{DeleteParams, WatchEvent, WatchParams},
};
use muster::crd::fleet_report::FleetReport;
use muster_sandbox::CallQuery;
use serde_json::{Value, json};

use super::{
    bucket, calls, collect_now, collected, condition_of, counts, events, fill, put, spec, status, versions, wait, with,
};
use crate::support::scene::{PATIENCE, Scene};

#[tokio::test]
async fn a_second_collection_of_ten_thousand_reports_makes_ten_lists_and_no_reads() {
    let scene = Scene::new().await;
    let prod = bucket(&scene, "prod");
    fill(&scene, &prod, 10_000, "1.0.0");
    scene.create::<FleetReport>("prod", spec(&scene, &["prod"])).await;
    let _controller = scene.start().await;
    let first = collected(&scene, "prod").await;
    assert_eq!((counts(&first), status(&first).sources[0].fetched), ([10_000, 0, 0, 0, 0, 0], 10_000));
    assert_eq!((calls(&scene, "ListObjectsV2"), calls(&scene, "GetObject")), (10, 10_000));

    scene.sandbox.clear_calls();
    let second = collect_now(&scene, "prod", "second").await;
    assert_eq!((counts(&second), status(&second).sources[0].fetched), ([10_000, 0, 0, 0, 0, 0], 0));
    assert_eq!((calls(&scene, "ListObjectsV2"), calls(&scene, "GetObject")), (10, 0));

    scene.sandbox.clear_calls();
    (0..7).for_each(|n| put(&scene, &prod, n, "1.1.0"));
    let third = collect_now(&scene, "prod", "third").await;
    assert_eq!(versions(&third), [("app 1.0.0".to_owned(), 9_993), ("app 1.1.0".to_owned(), 7)]);
    assert_eq!((calls(&scene, "ListObjectsV2"), calls(&scene, "GetObject")), (10, 7));
    let size = serde_json::to_vec(&third.status).unwrap().len();
    assert!(size < 64 << 10, "{size}");
}

#[tokio::test]
async fn an_unchanged_report_is_written_once_per_interval() {
    let scene = Scene::new().await;
    (0..3).for_each(|n| put(&scene, &bucket(&scene, "blue"), n, "1.0.0"));
    (3..6).for_each(|n| put(&scene, &bucket(&scene, "green"), n, "1.0.0"));
    let busy = with(spec(&scene, &["blue", "green"]), json!({"interval": "2s"}));
    scene.create::<FleetReport>("all", busy).await;
    let _controller = scene.start().await;
    // From the second collection on, nothing changes.
    let rested = |r: &FleetReport| {
        let sources = status(r).sources;
        sources.len() == 2 && sources.iter().all(|s| s.fetched == 0 && s.objects == 3)
    };
    let mut last = wait(&scene, "all", "the second collection", rested).await;
    let told = events(&scene, "all").await;
    let lists = calls(&scene, "ListObjectsV2");

    let params = WatchParams::default().fields("metadata.name=all").timeout(60);
    let api = scene.api::<FleetReport>();
    let mut writes = api.watch(&params, &last.resource_version().unwrap()).await.unwrap().boxed();
    let mut seen = 0;
    while seen < 4 {
        let WatchEvent::Modified(next) = tokio::time::timeout(PATIENCE, writes.next()).await.unwrap().unwrap().unwrap()
        else {
            panic!("not a write")
        };
        assert_ne!(
            status(&last).last_collected_time,
            status(&next).last_collected_time,
            "written between two collections"
        );
        assert_eq!(meaning(&last), meaning(&next));
        (last, seen) = (next, seen + 1);
    }
    // The first of the four collections may have begun before the calls were counted.
    assert!(calls(&scene, "ListObjectsV2") - lists >= 2 * 3, "each write includes a collection of both sources");
    assert_eq!(calls(&scene, "GetObject"), 6);
    assert_eq!(events(&scene, "all").await, told);
}

/// The status without the fields that a heartbeat changes.
fn meaning(report: &FleetReport) -> Value {
    let mut status = serde_json::to_value(status(report)).unwrap();
    status["lastCollectedTime"] = Value::Null;
    for source in status["sources"].as_array_mut().unwrap() {
        source["lastSuccessTime"] = Value::Null;
    }
    status
}

#[tokio::test]
async fn fleet_reports_of_one_location_share_one_collection() {
    let scene = Scene::new().await;
    let prod = bucket(&scene, "prod");
    (0..3).for_each(|n| put(&scene, &prod, n, "1.0.0"));
    for name in ["one", "two", "three"] {
        scene.create::<FleetReport>(name, spec(&scene, &["prod"])).await;
    }
    let _controller = scene.start().await;
    for name in ["one", "two", "three"] {
        assert_eq!(counts(&collected(&scene, name).await), [3, 0, 0, 0, 0, 0]);
    }
    assert_eq!((calls(&scene, "ListObjectsV2"), calls(&scene, "GetObject")), (1, 3));

    // One with a shorter interval does not make the others write, not even when they are reconciled.
    let quiet = status(&wait(&scene, "one", "there", |_| true).await);
    scene.change::<FleetReport>("three", json!({"spec": {"interval": "1s"}})).await;
    let three_looks = async || {
        let collected = |r: &FleetReport| status(r).last_collected_time.map(|t| t.0.as_second());
        let first = collected(&wait(&scene, "three", "there", |_| true).await).unwrap();
        wait(&scene, "three", "three collections", |r| collected(r) >= Some(first + 3)).await;
    };
    three_looks().await;
    scene.change::<FleetReport>("one", json!({"metadata": {"labels": {"changed": "yes"}}})).await;
    three_looks().await;
    assert_eq!(status(&wait(&scene, "one", "there", |_| true).await), quiet);
    assert_eq!(calls(&scene, "GetObject"), 3);
}

#[tokio::test]
async fn a_suspended_report_makes_no_calls_and_can_be_deleted() {
    let scene = Scene::new().await;
    put(&scene, &bucket(&scene, "prod"), 1, "1.0.0");
    let eager = with(spec(&scene, &["prod"]), json!({"interval": "1s", "suspend": true}));
    scene.create::<FleetReport>("prod", eager).await;
    let _controller = scene.start().await;
    wait(&scene, "prod", "suspended", |r| condition_of(r, "Suspended") == "True/Suspended").await;
    collect_now(&scene, "prod", "all the same").await;
    assert_eq!(calls(&scene, "ListObjectsV2"), 0);
    scene.change::<FleetReport>("prod", json!({"spec": {"suspend": false}})).await;
    let found = collected(&scene, "prod").await;
    assert_eq!((counts(&found), condition_of(&found, "Suspended")), ([1, 0, 0, 0, 0, 0], "-".into()));
    scene.change::<FleetReport>("prod", json!({"spec": {"suspend": true}})).await;
    let resting = wait(&scene, "prod", "suspended", |r| condition_of(r, "Suspended") == "True/Suspended").await;
    assert_eq!((counts(&resting), condition_of(&resting, "Ready")), ([1, 0, 0, 0, 0, 0], "True/Ready".into()));
    scene.api::<FleetReport>().delete("prod", &DeleteParams::default()).await.unwrap();
    scene.wait_gone::<FleetReport>("prod").await;
}

#[tokio::test]
async fn a_new_controller_continues_from_the_status() {
    let scene = Scene::new().await;
    let prod = bucket(&scene, "prod");
    put(&scene, &prod, 1, "1.0.0");
    let expect = json!({"expect": {"versions": [{"field": "app", "equals": "2.0.0"}]}});
    scene.create::<FleetReport>("prod", with(spec(&scene, &["prod"]), expect)).await;
    let first = scene.start().await;
    let before = collected(&scene, "prod").await;
    first.kill().await;
    let _second = scene.start().await;
    let reads = CallQuery::operation("s3", "GetObject");
    tokio::time::timeout(PATIENCE, scene.sandbox.wait_for_calls(&reads, |c| c.len() == 2)).await.unwrap();
    let after = collect_now(&scene, "prod", "restarted").await;
    assert_eq!(status(&after).outliers, status(&before).outliers, "since when is not forgotten");
    let told = events(&scene, "prod").await;
    assert!(!told.iter().any(|e| e.starts_with("VersionsChanged")), "{told:?}");
}
