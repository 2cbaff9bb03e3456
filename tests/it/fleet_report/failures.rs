//! Sources, objects and permissions that fail: the last data is kept, and other sources are not affected.

use kube::{
    Api,
    api::{Patch, PatchParams},
};
use muster::{
    config::{Config, ReportLimits},
    crd::{
        aws_account::AwsAccount,
        fleet_report::{FleetReport, RejectionReason},
    },
};
use muster_sandbox::{Fault, FaultAction, SandboxConfig};
use serde_json::json;

use super::{
    bucket, calls, collect_now, collected, condition_of, counts, events, id, message, put, rejected, spec, status,
    wait, with,
};
use crate::support::scene::{Controller, PATIENCE, REGION, Scene};

fn refusal(code: &str) -> FaultAction {
    FaultAction::Error { code: code.into(), message: None, status: None }
}

#[tokio::test]
async fn a_denied_source_keeps_its_data_and_recovers() {
    let scene = Scene::new().await;
    let (blue, green) = (bucket(&scene, "blue"), bucket(&scene, "green"));
    put(&scene, &blue, 1, "1.0.0");
    put(&scene, &green, 2, "1.0.0");
    scene.create::<FleetReport>("all", spec(&scene, &["blue", "green"])).await;
    let _controller = scene.start().await;
    collected(&scene, "all").await;

    let denied = Fault::always("s3", "ListObjectsV2", refusal("AccessDenied")).parameter("Bucket", "green");
    let fault = scene.sandbox.add_fault(denied);
    put(&scene, &blue, 3, "1.0.0");
    let degraded = collect_now(&scene, "all", "denied").await;
    assert_eq!(counts(&degraded), [3, 0, 0, 0, 0, 0], "blue goes on, and green's last data counts");
    assert_eq!(condition_of(&degraded, "Degraded"), "True/SomeSourcesFailed");
    assert_eq!(condition_of(&degraded, "Collected"), "False/SomeSourcesFailed");
    assert_eq!(condition_of(&degraded, "Ready"), "False/SomeSourcesFailed");
    assert_eq!(condition_of(&degraded, "Stalled"), "True/SomeSourcesFailed");
    let (ready, sources) = (message(&degraded, "Ready"), status(&degraded).sources);
    assert!(ready.contains("source green") && ready.contains("allow s3:ListBucket on bucket green"), "{ready}");
    assert!(sources[0].error.is_none() && sources[1].error.as_ref().unwrap().contains("AccessDenied"), "{sources:?}");
    assert!(sources[1].last_success_time.as_ref().unwrap().0 <= sources[0].last_success_time.as_ref().unwrap().0);

    scene.sandbox.remove_fault(fault);
    // A failed source is retried soon, however long the interval.
    let recovered = collected(&scene, "all").await;
    assert_eq!(condition_of(&recovered, "Degraded"), "False/AllSourcesCollected");
    assert_eq!(
        (condition_of(&recovered, "Stalled"), condition_of(&recovered, "Ready")),
        ("-".into(), "True/Ready".into())
    );
    assert!(status(&recovered).sources.iter().all(|s| s.error.is_none()));
}

#[tokio::test]
async fn missing_buckets_and_server_errors_have_different_reasons() {
    let scene = Scene::new().await;
    put(&scene, &bucket(&scene, "prod"), 1, "1.0.0");
    scene.create::<FleetReport>("gone", spec(&scene, &["no-such-bucket"])).await;
    scene.create::<FleetReport>("down", spec(&scene, &["prod"])).await;
    let fault = Fault::always("s3", "ListObjectsV2", refusal("ServiceUnavailable")).parameter("Bucket", "prod");
    let fault = scene.sandbox.add_fault(fault);
    let _controller = scene.start().await;
    let gone = wait(&scene, "gone", "stalled", |r| condition_of(r, "Stalled") == "True/NoSourceCollected").await;
    assert!(message(&gone, "Ready").contains("NoSuchBucket"), "{}", message(&gone, "Ready"));
    assert!(message(&gone, "Ready").contains("create bucket no-such-bucket"), "{}", message(&gone, "Ready"));
    assert_eq!((condition_of(&gone, "UpToDate"), status(&gone).reports), ("Unknown/NeverCollected".into(), None));
    let down = wait(&scene, "down", "failing", |r| condition_of(r, "Collected") == "False/NoSourceCollected").await;
    assert_eq!(
        (condition_of(&down, "Reconciling"), condition_of(&down, "Stalled")),
        ("True/NoSourceCollected".into(), "-".into())
    );
    scene.sandbox.remove_fault(fault);
    collected(&scene, "down").await;
}

#[tokio::test]
async fn an_unreadable_report_is_named_and_does_not_affect_the_others() {
    let scene = Scene::new().await;
    let prod = bucket(&scene, "prod");
    (0..5).for_each(|n| put(&scene, &prod, n, "1.0.0"));
    let (cut, secret) = (format!("{}.json", id(1)), format!("{}.json", id(2)));
    let truncate = FaultAction::Truncate { bytes: 20 };
    scene.sandbox.add_fault(Fault::always("s3", "GetObject", truncate).parameter("Key", &cut));
    scene.sandbox.add_fault(Fault::always("s3", "GetObject", refusal("AccessDenied")).parameter("Key", &secret));
    scene.create::<FleetReport>("prod", spec(&scene, &["prod"])).await;
    let _controller = scene.start().await;
    let found = collected(&scene, "prod").await;
    assert_eq!(counts(&found), [3, 0, 0, 0, 2, 0]);
    assert_eq!(rejected(&found), [(cut, RejectionReason::Unreadable), (secret, RejectionReason::Unreadable)]);
    assert_eq!(condition_of(&found, "Degraded"), "True/SomeObjectsUnreadable");
    scene.sandbox.clear_faults();
    let mended = collect_now(&scene, "prod", "mended").await;
    assert_eq!(counts(&mended), [5, 0, 0, 0, 0, 0]);
    assert_eq!(
        (status(&mended).sources[0].fetched, condition_of(&mended, "Degraded")),
        (2, "False/AllSourcesCollected".into())
    );

    // The previous content still counts while the new content cannot be read.
    put(&scene, &prod, 3, "2.0.0");
    let key = format!("{}.json", id(3));
    scene.sandbox.add_fault(Fault::always("s3", "GetObject", refusal("InternalError")).parameter("Key", &key));
    let kept = collect_now(&scene, "prod", "kept").await;
    assert_eq!((counts(&kept), super::versions(&kept)), ([5, 0, 0, 0, 1, 0], vec![("app 1.0.0".to_owned(), 5)]));
}

#[tokio::test]
async fn an_interrupted_download_is_retried() {
    let scene = Scene::new().await;
    let prod = bucket(&scene, "prod");
    (0..3).for_each(|n| put(&scene, &prod, n, "1.0.0"));
    let truncate = FaultAction::Truncate { bytes: 20 };
    let fault = Fault::once("s3", "GetObject", truncate).parameter("Key", &format!("{}.json", id(1)));
    let fault = scene.sandbox.add_fault(fault);
    scene.create::<FleetReport>("prod", spec(&scene, &["prod"])).await;
    let _controller = scene.start().await;
    let found = collected(&scene, "prod").await;
    assert_eq!(counts(&found), [3, 0, 0, 0, 0, 0]);
    tokio::time::timeout(PATIENCE, scene.sandbox.wait_for_hits(fault, 1)).await.unwrap();
}

#[tokio::test]
async fn a_role_that_can_list_but_not_read_is_reported_with_the_missing_permission() {
    let scene = Scene::new().await;
    let prod = bucket(&scene, "prod");
    (0..3).for_each(|n| put(&scene, &prod, n, "1.0.0"));
    scene.sandbox.add_fault(Fault::always("s3", "GetObject", refusal("AccessDenied")));
    scene.create::<FleetReport>("prod", spec(&scene, &["prod"])).await;
    let _controller = scene.start().await;
    let found = wait(&scene, "prod", "stalled", |r| condition_of(r, "Stalled") == "True/NoSourceCollected").await;
    assert!(message(&found, "Ready").contains("allow s3:GetObject on bucket prod"), "{}", message(&found, "Ready"));
}

#[tokio::test]
async fn without_an_account_or_a_grant_no_calls_are_made() {
    let scene = Scene::without_account(SandboxConfig { throttling: false, ..SandboxConfig::default() }).await;
    put(&scene, &bucket(&scene, "prod"), 1, "1.0.0");
    put(&scene, &bucket(&scene, "open"), 2, "1.0.0");
    scene.create::<FleetReport>("prod", spec(&scene, &["prod"])).await;
    let _controller = scene.start().await;
    wait(&scene, "prod", "waiting", |r| condition_of(r, "Reconciling") == "True/AwsAccountNotFound").await;
    let grant = json!({"namespaces": {"names": [scene.namespace]}, "kinds": ["FleetReport"],
        "buckets": [{"name": "open", "uses": ["Reports"]}]});
    scene.create_account(json!({"regions": [REGION], "grants": [grant]})).await;
    let refused = wait(&scene, "prod", "stalled", |r| condition_of(r, "Stalled") == "True/NotGranted").await;
    assert!(message(&refused, "Ready").contains("buckets"), "{}", message(&refused, "Ready"));
    assert_eq!(calls(&scene, "ListObjectsV2") + calls(&scene, "GetObject"), 0);

    // A source with a grant is collected; the other reports what is missing.
    scene.create::<FleetReport>("both", spec(&scene, &["prod", "open"])).await;
    let both =
        wait(&scene, "both", "half collected", |r| condition_of(r, "Collected") == "False/SomeSourcesFailed").await;
    assert_eq!(counts(&both), [1, 0, 0, 0, 0, 0]);
    assert!(status(&both).sources[0].error.as_ref().unwrap().contains("prod"), "{:?}", status(&both).sources);
}

#[tokio::test]
async fn a_bucket_that_exceeds_the_memory_limit_is_read_in_part_and_says_so() {
    let scene = Scene::new().await;
    let prod = bucket(&scene, "prod");
    put(&scene, &prod, 1, "1.0.0");
    for n in 0..20 {
        scene.sandbox.s3().put_generated(&prod, &format!("backup/{n:02}"), "{".into(), 1 << 20).unwrap();
    }
    scene.create::<FleetReport>("prod", spec(&scene, &["prod"])).await;
    let report_limits = ReportLimits { bytes: 16 << 20, objects: 1000 };
    let config = Config { report_limits, ..scene.config() };
    let _controller = Controller::start(config, scene.connection(), |client| client).await;
    let found = wait(&scene, "prod", "stalled", |r| condition_of(r, "Stalled") == "True/NoSourceCollected").await;
    let said = message(&found, "Degraded");
    assert!(
        said.contains(": 9 with 9437184 bytes are left out") && said.contains("beginning with \"backup/11\""),
        "{said}"
    );
    assert!(said.contains("give the source a longer prefix"), "{said}");
    assert_eq!(
        (status(&found).sources[0].objects, condition_of(&found, "Collected")),
        (21, "False/NoSourceCollected".into())
    );
    let read = calls(&scene, "GetObject");
    assert!(read <= 12, "{read}");
    // With a lower limit for the size of objects, the backups are only named.
    scene.change::<FleetReport>("prod", json!({"spec": {"limits": {"objectSize": "1Ki"}}})).await;
    let found = collected(&scene, "prod").await;
    assert_eq!((counts(&found), calls(&scene, "GetObject") - read), ([1, 0, 20, 0, 0, 0], 12 - read));
}

#[tokio::test]
async fn collected_data_is_not_current_after_its_account_was_unavailable_for_long() {
    let scene = Scene::new().await;
    put(&scene, &bucket(&scene, "prod"), 1, "1.0.0");
    scene.create::<FleetReport>("prod", with(spec(&scene, &["prod"]), json!({"interval": "1s"}))).await;
    let _controller = scene.start().await;
    collected(&scene, "prod").await;
    let accounts = Api::<AwsAccount>::all(scene.kube.clone());
    let suspend = |on: bool| Patch::Merge(json!({"spec": {"suspend": on}}));
    accounts.patch(&scene.namespace, &PatchParams::default(), &suspend(true)).await.unwrap();
    let doubtful =
        wait(&scene, "prod", "doubtful", |r| condition_of(r, "Collected") == "False/NoSourceCollected").await;
    assert_eq!(counts(&doubtful), [1, 0, 0, 0, 0, 0], "the last data is kept");
    assert!(message(&doubtful, "Degraded").contains("is suspended"), "{}", message(&doubtful, "Degraded"));
    let before = calls(&scene, "ListObjectsV2");
    collect_now(&scene, "prod", "all the same").await;
    assert_eq!(calls(&scene, "ListObjectsV2"), before);
    accounts.patch(&scene.namespace, &PatchParams::default(), &suspend(false)).await.unwrap();
    collected(&scene, "prod").await;
}

#[tokio::test]
async fn an_invalid_spec_that_the_schema_accepts_is_rejected_until_it_is_corrected() {
    let scene = Scene::new().await;
    put(&scene, &bucket(&scene, "prod"), 1, "1.0.0");
    let wrong = json!({"fields": [{"name": "app", "path": "$.["}]});
    scene.create::<FleetReport>("prod", with(spec(&scene, &["prod"]), wrong)).await;
    let _controller = scene.start().await;
    let stalled = wait(&scene, "prod", "stalled", |r| condition_of(r, "Stalled") == "True/InvalidSpec").await;
    assert!(message(&stalled, "Ready").starts_with("spec.fields[app].path"), "{}", message(&stalled, "Ready"));
    assert_eq!(calls(&scene, "ListObjectsV2"), 0);
    let mended = json!({"spec": {"fields": [{"name": "app", "path": "$.app_version"}]}});
    scene.change::<FleetReport>("prod", mended).await;
    let found = collected(&scene, "prod").await;
    assert_eq!(condition_of(&found, "Stalled"), "-");
    let told = events(&scene, "prod").await;
    assert!(told.iter().any(|e| e.starts_with("InvalidSpec")), "{told:?}");
}
