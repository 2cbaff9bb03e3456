//! Parameters in Parameter Store: one for each value, and only those that differ are written.

use std::time::Duration;

use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams},
};
use muster::{clock::Timings, config::Config, crd::worker_fleet::WorkerFleet};
use muster_sandbox::{CallQuery, Fault, FaultAction, Moment, ParameterKind, SandboxConfig};
use serde_json::json;

use super::{
    change_secret, create_secret, fleet_spec, in_parameter_store, newest, parameters, password, read_on_worker, scene,
    start, stored, synced, value,
};
use crate::support::{
    fleet::{self, live, ready, spec, status, wait_settled, with},
    scene::{Controller, PATIENCE, REGION, Scene, condition},
};

#[tokio::test]
async fn in_parameter_store_only_differing_values_are_written_and_only_owned_ones_removed() {
    let scene = scene().await;
    create_secret(&scene, "first", true).await;
    let values = |threads: &str| json!([password(), {"name": "threads", "value": threads}]);
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", fleet_spec(&scene, 1, parameters(in_parameter_store(), values("4")))).await;
    let fleet = wait_settled(&scene, "web", 1).await;
    let found = stored(&scene);
    assert_eq!(value(&found["/app/dbPassword"]), ("first", ParameterKind::SecureString, 1));
    assert_eq!(value(&found["/app/threads"]), ("4", ParameterKind::String, 1));
    let path = format!("{}/web", scene.namespace);
    for parameter in found.values() {
        let tags: Vec<_> = parameter.tags.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let uid = fleet.uid().unwrap();
        let expected =
            [("muster.dev:cluster", "test"), ("muster.dev:fleet", path.as_str()), ("muster.dev:owner-uid", &uid)];
        assert_eq!(tags, expected);
    }
    let document = json!({"dbPassword": "first", "threads": "4"});
    assert_eq!(read_on_worker(&scene, &newest(&scene)).await, (document, 0o600, 0o700));

    // A requested reconcile compares the parameters, and writes nothing if none differs.
    let compared = || scene.sandbox.calls(&CallQuery::operation("ssm", "GetParameters")).len();
    let before = compared();
    scene.change::<WorkerFleet>("web", json!({"metadata": {"annotations": {"muster.dev/requested-at": "1"}}})).await;
    scene
        .wait::<WorkerFleet>("web", "reconciled", |fleet| {
            status(fleet).common.last_handled_requested_at.as_deref() == Some("1")
        })
        .await;
    assert_eq!((compared() - before, value(&stored(&scene)["/app/dbPassword"]).2), (1, 1));

    // One is changed, one is added, one is removed.
    let values = json!([{"name": "threads", "value": "8"}, {"name": "model", "value": "red"}]);
    scene.change::<WorkerFleet>("web", json!({"spec": {"parameters": {"values": values}}})).await;
    wait_settled(&scene, "web", 1).await;
    let found = stored(&scene);
    assert_eq!(found.keys().collect::<Vec<_>>(), ["/app/model", "/app/threads"]);
    assert_eq!(value(&found["/app/threads"]), ("8", ParameterKind::String, 2));

    scene.api::<WorkerFleet>().delete("web", &DeleteParams::default()).await.unwrap();
    scene.wait_gone::<WorkerFleet>("web").await;
    assert_eq!(stored(&scene).len(), 0);
}

#[tokio::test]
async fn a_foreign_parameter_is_never_changed() {
    let scene = scene().await;
    let _controller = scene.start().await;
    let theirs = json!([{"name": "threads", "value": "theirs"}]);
    let retained =
        with(fleet_spec(&scene, 0, parameters(in_parameter_store(), theirs)), json!({"deletionPolicy": "Retain"}));
    scene.create::<WorkerFleet>("theirs", retained).await;
    wait_settled(&scene, "theirs", 0).await;
    let ours = json!([{"name": "threads", "value": "ours"}, {"name": "model", "value": "red"}]);
    scene.create::<WorkerFleet>("web", fleet_spec(&scene, 1, parameters(in_parameter_store(), ours))).await;
    let fleet = scene
        .wait::<WorkerFleet>("web", "told of the other's parameter", |fleet| synced(fleet, "False", "ParameterTaken"))
        .await;
    let (truth, reason, message) = ready(&fleet).unwrap();
    assert_eq!((truth.as_str(), reason.as_str()), ("False", "ParameterTaken"));
    assert!(
        message.contains("/app/threads exist in Parameter Store and were not created for this object"),
        "{message}"
    );
    scene.api::<WorkerFleet>().delete("web", &DeleteParams::default()).await.unwrap();
    scene.wait_gone::<WorkerFleet>("web").await;
    // Retained parameters stay when their fleet is deleted.
    scene.api::<WorkerFleet>().delete("theirs", &DeleteParams::default()).await.unwrap();
    scene.wait_gone::<WorkerFleet>("theirs").await;
    let found = stored(&scene);
    assert_eq!(found.keys().collect::<Vec<_>>(), ["/app/threads"]);
    assert_eq!(value(&found["/app/threads"]), ("theirs", ParameterKind::String, 1));
    assert_eq!(fleet::launches(&scene), 0);
}

#[tokio::test]
async fn parameters_of_an_earlier_fleet_are_adopted_with_its_instances() {
    let scene = scene().await;
    let _controller = scene.start().await;
    let values = |threads: &str| json!([{"name": "threads", "value": threads}, {"name": "model", "value": "red"}]);
    scene.create::<WorkerFleet>("web", fleet_spec(&scene, 1, parameters(in_parameter_store(), values("4")))).await;
    let earlier = wait_settled(&scene, "web", 1).await.uid().unwrap();
    let orphan = json!({"metadata": {"annotations": {"muster.dev/orphan": "true"}}});
    scene.change::<WorkerFleet>("web", orphan).await;
    scene.api::<WorkerFleet>().delete("web", &DeleteParams::default()).await.unwrap();
    scene.wait_gone::<WorkerFleet>("web").await;

    let values = json!([{"name": "threads", "value": "8"}, {"name": "port", "value": "80"}]);
    scene.create::<WorkerFleet>("web", fleet_spec(&scene, 1, parameters(in_parameter_store(), values))).await;
    let fleet = scene.wait::<WorkerFleet>("web", "told", |fleet| synced(fleet, "False", "ParameterTaken")).await;
    let (_, _, message) = condition(&status(&fleet).common.conditions, "ParametersSynced").unwrap();
    assert!(message.contains("/app/threads") && message.contains(&format!("muster.dev/adopt={earlier}")), "{message}");
    let adopt = json!({"metadata": {"annotations": {"muster.dev/adopt": earlier}}});
    scene.change::<WorkerFleet>("web", adopt).await;
    wait_settled(&scene, "web", 1).await;
    assert_eq!((fleet::launches(&scene), live(&scene).len()), (1, 1), "the instance is adopted");
    let found = stored(&scene);
    let texts: Vec<_> = found.iter().map(|(name, stored)| (name.as_str(), value(stored).0)).collect();
    assert_eq!(texts, [("/app/port", "80"), ("/app/threads", "8")], "what is not wanted any more is gone");
    let uid = fleet.uid().unwrap();
    assert!(found.values().all(|parameter| parameter.tags["muster.dev:owner-uid"] == uid), "{found:?}");
    // From now on they belong to the fleet.
    let forget = json!({"metadata": {"annotations": {"muster.dev/adopt": null}}});
    scene.change::<WorkerFleet>("web", forget).await;
    scene.api::<WorkerFleet>().delete("web", &DeleteParams::default()).await.unwrap();
    scene.wait_gone::<WorkerFleet>("web").await;
    assert_eq!(stored(&scene).len(), 0);
}

#[tokio::test]
async fn a_partly_written_change_is_reverted_when_the_secret_is_restored() {
    let scene = scene().await;
    create_secret(&scene, "first", true).await;
    let again = json!({"name": "zPassword", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}});
    let both = parameters(in_parameter_store(), json!([password(), again]));
    let controller = start(&scene).await;
    scene.create::<WorkerFleet>("web", fleet_spec(&scene, 0, both)).await;
    wait_settled(&scene, "web", 0).await;
    let values = || {
        let found = stored(&scene);
        ["/app/dbPassword", "/app/zPassword"].map(|name| value(&found[name]).0.to_owned())
    };
    let undone = async |what: &str| {
        let whole = |fleet: &WorkerFleet| synced(fleet, "True", "ParametersWritten") && values() == ["first", "first"];
        scene.wait::<WorkerFleet>("web", what, whole).await;
    };
    // By a rejected call, and by the end of the process.
    let refusal = FaultAction::Error { code: "AccessDeniedException".into(), message: None, status: None };
    let refused = scene.sandbox.add_fault(Fault::always("ssm", "PutParameter", refusal).skip(1));
    change_secret(&scene, "second").await;
    scene.wait::<WorkerFleet>("web", "told", |fleet| synced(fleet, "False", "AwsDenied")).await;
    assert_eq!(values(), ["second", "first"]);
    change_secret(&scene, "first").await;
    // A comparison may be in progress; the one after it sees the current Secret.
    let compared = FaultAction::Delay { by: Duration::ZERO };
    let compared = scene.sandbox.add_fault(Fault::always("ssm", "GetParameters", compared).skip(1));
    tokio::time::timeout(PATIENCE, scene.sandbox.wait_for_hits(compared, 1)).await.expect("another comparison");
    scene.sandbox.remove_fault(compared);
    scene.sandbox.remove_fault(refused);
    undone("undone").await;

    let hold = Fault::once("ssm", "PutParameter", FaultAction::Hold { moment: Moment::Before }).skip(1);
    let hold = scene.sandbox.add_fault(hold);
    change_secret(&scene, "third").await;
    scene.sandbox.wait_for_hits(hold, 1).await;
    controller.kill().await;
    change_secret(&scene, "first").await;
    // As long as no comparison is possible, the record is not taken for the stored state.
    let unknown = FaultAction::Error { code: "ThrottlingException".into(), message: None, status: None };
    let unknown = scene.sandbox.add_fault(Fault::always("ssm", "GetParameters", unknown));
    let _successor = start(&scene).await;
    scene.wait::<WorkerFleet>("web", "told", |fleet| synced(fleet, "False", "AwsThrottled")).await;
    // The call of the killed controller is carried out late.
    scene.sandbox.remove_fault(hold);
    while values()[1] != "third" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    scene.sandbox.remove_fault(unknown);
    undone("undone by the successor").await;
}

#[tokio::test]
async fn many_parameters_are_removed_in_batches() {
    let scene = scene().await;
    let controller = scene.start().await;
    let values: Vec<_> = (0..45).map(|n| json!({"name": format!("p{n:02}"), "value": "1"})).collect();
    let many = parameters(in_parameter_store(), json!(values));
    scene.create::<WorkerFleet>("web", fleet_spec(&scene, 0, many)).await;
    wait_settled(&scene, "web", 0).await;
    // Two calls are one lot.
    let hold = Fault::once("ssm", "DeleteParameters", FaultAction::Hold { moment: Moment::Before }).skip(2);
    let hold = scene.sandbox.add_fault(hold);
    scene.api::<WorkerFleet>().delete("web", &DeleteParams::default()).await.unwrap();
    scene.sandbox.wait_for_hits(hold, 1).await;
    let fleet = scene.api::<WorkerFleet>().get("web").await.unwrap();
    assert_eq!(status(&fleet).workers.parameters.parameters.unwrap().written.len(), 25);
    assert_eq!(stored(&scene).len(), 25);
    controller.kill().await;
    scene.sandbox.remove_fault(hold);
    let _successor = scene.start().await;
    scene.wait_gone::<WorkerFleet>("web").await;
    assert_eq!(stored(&scene).len(), 0);
}

#[tokio::test]
async fn a_fleet_that_waits_for_the_rate_of_parameter_store_delays_no_other() {
    let scene = scene().await;
    let config = scene.config();
    let fleets = usize::from(config.concurrency.get()) + 2;
    // More than one reconcile writes before the other fleet is reconciled, on a busy machine too.
    let each = 64;
    let config = Config { timings: Timings { send_window: PATIENCE, ..config.timings }, ..config };
    let _controller = Controller::start(config, scene.connection(), |client| client).await;
    for fleet in 0..fleets {
        let store = json!({"parameterStore": {"path": format!("/app{fleet}")}});
        let values: Vec<_> = (0..each).map(|n| json!({"name": format!("p{n}"), "value": "1"})).collect();
        let fleet = (format!("web{fleet}"), fleet_spec(&scene, 0, parameters(store, json!(values))));
        scene.create::<WorkerFleet>(&fleet.0, fleet.1).await;
    }
    let calls = |operation| scene.sandbox.calls(&CallQuery::operation("ssm", operation)).len();
    let query = CallQuery::operation("ssm", "PutParameter");
    let begun = scene.sandbox.wait_for_calls(&query, |calls| !calls.is_empty());
    tokio::time::timeout(PATIENCE, begun).await.expect("a parameter is written");
    scene.create::<WorkerFleet>("bare", spec(&scene, 1, json!({}))).await;
    wait_settled(&scene, "bare", 1).await;
    let written = calls("PutParameter");
    assert!(written < each, "{written} were written before any other fleet was reconciled");
    let (reads, once) = (calls("GetParameters"), fleets * each.div_ceil(10));
    assert!(reads <= once, "{reads} reads, and {once} read the parameters of each fleet once");
    let mut all = scene.api::<WorkerFleet>().list(&ListParams::default()).await.unwrap().into_iter();
    assert!(all.any(|fleet| synced(&fleet, "False", "AwsThrottled")), "no condition says what it waits for");
}

#[tokio::test]
async fn a_store_that_is_not_granted_is_not_called() {
    let scene = Scene::without_account(SandboxConfig::default()).await;
    let grant = json!({"namespaces": {"names": [scene.namespace]}, "kinds": ["*"], "instanceProfiles": ["*"],
        "subnets": ["*"], "parameterPaths": ["/other"]});
    scene.create_account(json!({"regions": [REGION], "grants": [grant]})).await;
    let _controller = scene.start().await;
    let values = json!([{"name": "a", "value": "1"}]);
    scene.create::<WorkerFleet>("web", fleet_spec(&scene, 1, parameters(in_parameter_store(), values))).await;
    let fleet = scene
        .wait::<WorkerFleet>("web", "refused", |fleet| {
            ready(fleet).is_some_and(|(_, reason, _)| reason == "NotGranted")
        })
        .await;
    let (_, _, message) = ready(&fleet).unwrap();
    assert!(message.contains("parameterPaths: [/app]"), "{message}");
    assert_eq!(scene.sandbox.calls(&CallQuery { service: Some("ssm".into()), ..CallQuery::default() }).len(), 0);
}
