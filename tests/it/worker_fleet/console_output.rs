//! The console output of a worker that never became ready is quoted in an event, unless it may contain a secret.

use std::time::Duration;

use muster::crd::worker_fleet::WorkerFleet;
use muster_sandbox::{HealthStatus, Lifecycle};
use serde_json::{Value, json};

use crate::support::{
    fleet::{events, ids, live, set_lifecycle, settled, spec, start_at_once, with},
    scene::{REGION, Scene},
};

const IMPAIRED: Option<HealthStatus> = Some(HealthStatus::Impaired);

/// Returns the event about a worker that read the values `before` and never became ready, and the ID of the worker. With
/// `after`, the controller is restarted and sees only these values.
async fn event_of_replacement(scene: &Scene, before: Value, after: Option<Value>, words: &str) -> (String, String) {
    start_at_once(scene);
    scene.sandbox.s3().ensure_bucket(scene.account.as_str(), REGION, "words").unwrap();
    let never = Lifecycle { initializing: Duration::from_secs(3600), ..Lifecycle::default() };
    set_lifecycle(scene, never);
    let mut controller = scene.start().await;
    let guard = json!({
        "readiness": {"check": "StatusChecks", "startupDeadline": "3s"},
        "maxUnhealthy": "100%",
        "parameters": {"store": {"s3": {"bucket": "words", "prefix": "app"}}, "values": before},
    });
    scene.create::<WorkerFleet>("web", with(spec(scene, 1, json!({})), guard)).await;
    scene.wait::<WorkerFleet>("web", "a worker", |_| live(scene).len() == 1).await;
    let first = live(scene).remove(0).id;
    scene.sandbox.set_console_output(&first, words.as_bytes()).unwrap();
    if let Some(after) = after {
        controller.kill().await;
        scene.change::<WorkerFleet>("web", json!({"spec": {"parameters": {"values": after}}})).await;
        controller = scene.start().await;
    }
    // Instances that start from now on become ready.
    scene.sandbox.set_health(&first, IMPAIRED, IMPAIRED).unwrap();
    let at_once = Duration::from_millis(20);
    set_lifecycle(scene, Lifecycle { pending: at_once, initializing: at_once, ..Lifecycle::default() });
    scene
        .wait::<WorkerFleet>("web", "another worker", |fleet| settled(fleet, 1) && !ids(&live(scene)).contains(&first))
        .await;
    drop(controller);
    let mut told = events(scene, "StartupDeadlineExceeded").await;
    assert_eq!(told.len(), 1, "{told:?}");
    (told.remove(0), first)
}

#[tokio::test]
async fn a_worker_that_never_passes_its_checks_is_replaced_with_its_console_output_in_an_event() {
    let scene = Scene::new().await;
    let words = format!("{}\r\nmodel \u{1b}[31mred\u{1b}[0m failed\r\nworker: exit 7\r\n", "x".repeat(2000));
    let (note, first) = event_of_replacement(&scene, json!([{"name": "model", "value": "red"}]), None, &words).await;
    assert!(note.contains(&first) && note.contains("its console ended with"), "{note}");
    assert!(note.contains("| model red failed | worker: exit 7"), "{note}");
    assert!(!note.contains('\u{1b}') && note.len() < 1000, "{note}");
}

#[tokio::test]
async fn the_console_of_a_worker_that_may_contain_a_secret_is_not_quoted() {
    let value = |key: &str| json!({"name": key, "valueFrom": {"secretKeyRef": {"name": "app", "key": key}}});
    let plain = json!({"name": "model", "value": "red"});
    // A secret, a secret that was removed from the spec, and values that the running controller has not seen.
    for (case, before, after) in [
        ("reads a secret", json!([value("password")]), None),
        ("read one", json!([value("password"), plain]), Some(json!([plain]))),
        ("read what this process has not seen", json!([plain]), Some(json!([{"name": "model", "value": "blue"}]))),
    ] {
        let scene = Scene::new().await;
        let secret = json!({"metadata": {"name": "app"}, "stringData": {"password": "open-sesame"}});
        let secrets = scene.api::<k8s_openapi::api::core::v1::Secret>();
        secrets.create(&Default::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
        let (note, first) =
            event_of_replacement(&scene, before, after, "login with open-sesame, in base64 b3Blbi1zZXNhbWU=").await;
        assert!(note.contains(&first) && note.contains("get-console-output"), "{case}: {note}");
        assert!(!note.contains("login") && !note.contains("b3Blbi1zZXNhbWU"), "{case}: {note}");
    }
}
