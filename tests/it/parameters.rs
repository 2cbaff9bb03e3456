//! Parameters of a fleet, from a Secret to the file that its workers read.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::unix::fs::PermissionsExt,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::{FutureExt, StreamExt, stream};
use k8s_openapi::api::{
    apps::v1::ControllerRevision,
    core::v1::{ConfigMap, Secret},
    events::v1::Event,
};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
};
use muster::{aws::Connection, worker_fleet::WorkerFleet};
use muster_sandbox::{CallQuery, Content, INSTANCE_PROFILE, Parameter, ParameterKind, SandboxConfig, WorkersConfig};
use serde_json::{Value, json};

use crate::{
    fleet::{self, live, ready, settled, spec, status, wait_settled, with},
    scene::{Controller, REGION, Scene, condition},
    tap::{IMAGE, LOOK, Moment, PROOF, Point, Tap},
};

const BUCKET: &str = "parameters";
/// Searched for everywhere. Short ones would be found by chance.
const SECRET: &str = "correct-horse-battery-staple-7f3a";

/// A scene whose workers are real: they run their user data.
async fn scene() -> Scene {
    let workers = WorkersConfig { user_data: true, ..WorkersConfig::default() };
    let scene =
        Scene::with(SandboxConfig { throttling: false, workers: Some(workers), ..SandboxConfig::default() }).await;
    scene.sandbox.s3().ensure_bucket(scene.account.as_str(), REGION, BUCKET).unwrap();
    scene
}

async fn create_secret(scene: &Scene, value: &str, watched: bool) -> Secret {
    let labels = if watched { json!({"muster.dev/watch": "true"}) } else { json!({}) };
    let secret = json!({"metadata": {"name": "db", "labels": labels}, "stringData": {"password": value}});
    scene.api::<Secret>().create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap()
}

async fn change_secret(scene: &Scene, value: &str) {
    scene.change::<Secret>("db", json!({"stringData": {"password": value}})).await;
}

fn in_s3() -> Value {
    json!({"s3": {"bucket": BUCKET, "prefix": "app"}})
}

fn in_parameter_store() -> Value {
    json!({"parameterStore": {"path": "/app"}})
}

fn password() -> Value {
    json!({"name": "dbPassword", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}})
}

fn parameters(store: Value, values: Value) -> Value {
    json!({"parameters": {"store": store, "values": values}})
}

/// A fleet whose workers have a role to fetch with and a script that runs after the parameters are there.
fn fleet_spec(scene: &Scene, replicas: u32, parameters: Value) -> Value {
    let script = "#!/bin/sh\ncp etc/muster/parameters.json seen.json\n";
    let template = json!({"instanceProfile": INSTANCE_PROFILE, "userData": {"inline": script}});
    with(spec(scene, replicas, template), parameters)
}

/// The documents in the bucket, by key.
fn documents(scene: &Scene) -> BTreeMap<String, String> {
    let s3 = scene.sandbox.s3();
    let text = |key: &String| match s3.get(BUCKET, key).unwrap().content {
        Content::Bytes(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        Content::Generated { .. } => panic!("{key} is nothing that muster wrote"),
    };
    s3.keys(BUCKET, "").unwrap().into_iter().map(|key| (key.clone(), text(&key))).collect()
}

fn stored(scene: &Scene) -> BTreeMap<String, Parameter> {
    scene.sandbox.parameters(&scene.account, REGION).into_iter().map(|p| (p.name.clone(), p)).collect()
}

fn value(parameter: &Parameter) -> (&str, ParameterKind, usize) {
    let newest = parameter.latest().unwrap();
    (&newest.value, newest.kind, parameter.versions.len())
}

fn synced(fleet: &WorkerFleet, truth: &str, reason: &str) -> bool {
    condition(&status(fleet).common.conditions, "ParametersSynced").is_some_and(|(t, r, _)| t == truth && r == reason)
}

/// Waits until a worker's own script has run, and returns what it saw, and the file that it saw it in.
async fn read_on_worker(scene: &Scene, id: &str) -> (Value, u32, u32) {
    let workers = scene.sandbox.wait_for_workers(|workers| {
        workers.iter().any(|worker| worker.instance_id == id && worker.folder.join("seen.json").exists())
    });
    let poll = async {
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(50));
        loop {
            ticks.tick().await;
            let folder = scene.sandbox.worker(id).map(|worker| worker.folder);
            if let Some(folder) = folder.filter(|folder| folder.join("seen.json").exists()) {
                return folder;
            }
        }
    };
    let folder = tokio::select! {
        workers = workers => workers.into_iter().find(|worker| worker.instance_id == id).unwrap().folder,
        folder = poll => folder,
        () = tokio::time::sleep(crate::scene::PATIENCE) => {
            let folder = scene.sandbox.worker(id).unwrap().folder;
            panic!("{id} has no parameters: {:?}", std::fs::read_to_string(folder.join("console.log")));
        }
    };
    let mode = |path: &str| std::fs::metadata(folder.join(path)).unwrap().permissions().mode() & 0o777;
    let seen = std::fs::read(folder.join("seen.json")).unwrap();
    (serde_json::from_slice(&seen).unwrap(), mode("etc/muster/parameters.json"), mode("etc/muster"))
}

fn newest(scene: &Scene) -> String {
    live(scene).into_iter().max_by_key(|worker| worker.launch_time).unwrap().id
}

#[tokio::test]
async fn workers_read_one_document_from_s3_which_follows_a_watched_secret_and_goes_with_the_fleet() {
    let scene = scene().await;
    create_secret(&scene, "first", true).await;
    let map = json!({"metadata": {"name": "app"}, "data": {"model": "red-1.8.5"}});
    scene.api::<ConfigMap>().create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();
    let model = json!({"name": "model", "valueFrom": {"configMapKeyRef": {"name": "app", "key": "model"}}});
    let values = json!([password(), model, {"name": "threads", "value": "4"}]);
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", fleet_spec(&scene, 1, parameters(in_s3(), values))).await;
    let before = wait_settled(&scene, "web", 1).await;
    assert!(synced(&before, "True", "ParametersWritten"), "{:?}", before.status);
    let hash = status(&before).parameters.parameters_hash.unwrap();
    let key = |hash: &str| format!("app/{}/main/{hash}.json", before.uid().unwrap());
    let document = |password: &str| json!({"dbPassword": password, "model": "red-1.8.5", "threads": "4"});
    let found = documents(&scene);
    assert_eq!(found.keys().collect::<Vec<_>>(), [&key(&hash)]);
    assert_eq!(serde_json::from_str::<Value>(&found[&key(&hash)]).unwrap(), document("first"));
    let first = newest(&scene);
    assert_eq!(read_on_worker(&scene, &first).await, (document("first"), 0o600, 0o700));

    // A change is for workers to come, and the one that runs may boot again and read its own.
    change_secret(&scene, "second").await;
    let after = scene
        .wait::<WorkerFleet>("web", "another hash", |fleet| {
            status(fleet).parameters.parameters_hash.is_some_and(|now| now != hash) && settled(fleet, 1)
        })
        .await;
    let other = status(&after).parameters.parameters_hash.unwrap();
    assert_eq!(newest(&scene), first);
    assert_eq!(documents(&scene).into_keys().collect::<BTreeSet<_>>(), BTreeSet::from([key(&hash), key(&other)]));
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 2}})).await;
    wait_settled(&scene, "web", 2).await;
    assert_eq!(read_on_worker(&scene, &newest(&scene)).await.0, document("second"));

    // With the last worker that could read it, the first document goes.
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 1}})).await;
    scene
        .wait::<WorkerFleet>("web", "one document", |fleet| {
            settled(fleet, 1) && status(fleet).parameters.parameters.is_some_and(|p| p.written.len() == 1)
        })
        .await;
    assert_eq!(documents(&scene).into_keys().collect::<Vec<_>>(), [key(&other)]);
    scene.api::<WorkerFleet>().delete("web", &DeleteParams::default()).await.unwrap();
    scene.wait_gone::<WorkerFleet>("web").await;
    assert_eq!(documents(&scene), BTreeMap::new());
}

#[tokio::test]
async fn a_role_reads_its_own_values_and_a_change_replaces_those_that_run_where_the_user_wants_it() {
    let scene = scene().await;
    create_secret(&scene, "first", true).await;
    let _controller = scene.start().await;
    let values = json!([password(), {"name": "threads", "value": "4"}]);
    let leader = json!({"name": "leader", "replicas": 1, "parameters": [{"name": "threads", "value": "8"}]});
    let more = json!({"roles": [leader, {"name": "helper", "replicas": 1}], "parameters": {"onChange": "Replace"}});
    scene.create::<WorkerFleet>("web", with(fleet_spec(&scene, 1, parameters(in_s3(), values)), more)).await;
    let complete = |earlier: BTreeSet<String>| {
        let scene = &scene;
        move |fleet: &WorkerFleet| {
            let now = fleet::ids(&live(scene));
            let written = status(fleet).parameters.parameters.map_or(0, |parameters| parameters.written.len());
            settled(fleet, 1) && now.len() == 3 && now.is_disjoint(&earlier) && written == 2
        }
    };
    let by_role = || {
        let role = |worker: &muster_sandbox::Instance| (worker.tags["muster.dev:role"].clone(), worker.id.clone());
        live(&scene).iter().map(role).collect::<BTreeMap<_, _>>()
    };
    scene.wait::<WorkerFleet>("web", "a worker of each role", complete(BTreeSet::new())).await;
    let first = by_role();
    for (password, earlier) in [("first", BTreeSet::new()), ("second", first.values().cloned().collect())] {
        if password == "second" {
            change_secret(&scene, password).await;
        }
        scene.wait::<WorkerFleet>("web", &format!("all read the {password}"), complete(earlier)).await;
        let workers = by_role();
        for (role, threads) in [("main", "4"), ("leader", "8"), ("helper", "4")] {
            let document = json!({"dbPassword": password, "threads": threads});
            assert_eq!(read_on_worker(&scene, &workers[role]).await.0, document, "{role}");
        }
    }
    let names: Vec<_> = documents(&scene).into_keys().map(|key| key.split('/').nth(2).unwrap().to_owned()).collect();
    assert_eq!(names, ["leader", "main"]);
}

#[tokio::test]
async fn workers_read_parameter_store_where_only_what_differs_is_written_and_only_what_is_ours_removed() {
    let scene = scene().await;
    create_secret(&scene, SECRET, true).await;
    let values = |threads: &str| json!([password(), {"name": "threads", "value": threads}]);
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", fleet_spec(&scene, 1, parameters(in_parameter_store(), values("4")))).await;
    let fleet = wait_settled(&scene, "web", 1).await;
    let found = stored(&scene);
    assert_eq!(value(&found["/app/dbPassword"]), (SECRET, ParameterKind::SecureString, 1));
    assert_eq!(value(&found["/app/threads"]), ("4", ParameterKind::String, 1));
    let path = format!("{}/web", scene.namespace);
    for parameter in found.values() {
        let tags: Vec<_> = parameter.tags.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let uid = fleet.uid().unwrap();
        let expected =
            [("muster.dev:cluster", "test"), ("muster.dev:fleet", path.as_str()), ("muster.dev:fleet-uid", &uid)];
        assert_eq!(tags, expected);
    }
    let document = json!({"dbPassword": SECRET, "threads": "4"});
    assert_eq!(read_on_worker(&scene, &newest(&scene)).await, (document, 0o600, 0o700));

    // A look at what is as it is to be writes nothing.
    scene.change::<WorkerFleet>("web", json!({"metadata": {"annotations": {"muster.dev/requested-at": "1"}}})).await;
    scene
        .wait::<WorkerFleet>("web", "looked at", |fleet| {
            status(fleet).common.last_handled_requested_at.as_deref() == Some("1")
        })
        .await;
    assert_eq!(value(&stored(&scene)["/app/dbPassword"]).2, 1);

    // One differs, one is new, one is gone.
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
async fn a_parameter_of_somebody_else_is_never_touched() {
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
    assert!(message.contains("/app/threads exist in Parameter Store and were not made for this object"), "{message}");
    scene.api::<WorkerFleet>().delete("web", &DeleteParams::default()).await.unwrap();
    scene.wait_gone::<WorkerFleet>("web").await;
    // What is retained stays when its fleet goes.
    scene.api::<WorkerFleet>().delete("theirs", &DeleteParams::default()).await.unwrap();
    scene.wait_gone::<WorkerFleet>("theirs").await;
    let found = stored(&scene);
    assert_eq!(found.keys().collect::<Vec<_>>(), ["/app/threads"]);
    assert_eq!(value(&found["/app/threads"]), ("theirs", ParameterKind::String, 1));
    assert_eq!(fleet::launches(&scene), 0);
}

#[tokio::test]
async fn nothing_is_launched_before_a_missing_value_is_there_and_what_runs_stays() {
    let scene = scene().await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", fleet_spec(&scene, 1, parameters(in_s3(), json!([password()])))).await;
    let stalled = |fleet: &WorkerFleet| condition(&status(fleet).common.conditions, "Stalled").map(|c| c.1);
    let early = scene.wait::<WorkerFleet>("web", "told", |fleet| synced(fleet, "False", "ValueMissing")).await;
    let (_, _, message) = condition(&status(&early).common.conditions, "ParametersSynced").unwrap();
    assert!(message.contains("Secret db does not exist") && message.contains("dbPassword"), "{message}");
    assert_eq!(stalled(&early), None, "things are applied together");
    scene
        .wait::<WorkerFleet>("web", "Stalled after a while", |fleet| stalled(fleet).as_deref() == Some("ValueMissing"))
        .await;
    assert_eq!((fleet::launches(&scene), documents(&scene).len()), (0, 0));

    create_secret(&scene, "first", false).await;
    wait_settled(&scene, "web", 1).await;
    scene.change::<Secret>("db", json!({"data": {"password": null, "other": "eA=="}})).await;
    let fleet =
        scene.wait::<WorkerFleet>("web", "told of the key", |fleet| synced(fleet, "False", "ValueMissing")).await;
    let (_, _, message) = condition(&status(&fleet).common.conditions, "ParametersSynced").unwrap();
    assert!(message.contains("Secret db has no key password"), "{message}");
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 2}})).await;
    scene
        .wait::<WorkerFleet>("web", "the new spec looked at", |fleet| {
            status(fleet).common.observed_generation == fleet.metadata.generation
        })
        .await;
    assert_eq!(live(&scene).len(), 1);
    change_secret(&scene, "second").await;
    wait_settled(&scene, "web", 2).await;
}

#[tokio::test]
async fn a_store_that_is_not_granted_is_not_called() {
    let scene = Scene::without_account(SandboxConfig::default()).await;
    let grant = json!({"namespaces": {"names": [scene.namespace]}, "kinds": ["*"], "instanceProfiles": ["*"],
        "parameterPaths": ["/other"]});
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

/// Hears every line that muster logs, at any level, and remembers whether the secret was in one.
#[derive(Clone, Debug, Default)]
struct Ear {
    lines: Arc<AtomicUsize>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl io::Write for Ear {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lines.fetch_add(1, Ordering::Relaxed);
        let text = String::from_utf8_lossy(line);
        if forms().iter().any(|form| text.contains(form)) {
            self.heard.lock().unwrap().push(text.into_owned());
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn ear() -> &'static Ear {
    static EAR: OnceLock<Ear> = OnceLock::new();
    EAR.get_or_init(|| {
        let ear = Ear::default();
        let writer = ear.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter("muster=trace")
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::set_global_default(subscriber).expect("no other test listens");
        ear
    })
}

/// The secret as it is and as it is often written.
fn forms() -> [String; 3] {
    use base64::{Engine, prelude::BASE64_STANDARD};
    [SECRET.into(), BASE64_STANDARD.encode(SECRET), hex::encode(SECRET)]
}

/// All that anybody without a right to the Secret or the store may see.
async fn seen(scene: &Scene) -> Vec<(String, String)> {
    let mut seen = Vec::new();
    let mut see = |what: &str, text: String| seen.push((what.to_owned(), text));
    for fleet in scene.api::<WorkerFleet>().list(&ListParams::default()).await.unwrap() {
        see("the fleet", serde_json::to_string(&fleet).unwrap());
    }
    for revision in scene.api::<ControllerRevision>().list(&ListParams::default()).await.unwrap() {
        see("a revision", serde_json::to_string(&revision).unwrap());
    }
    for event in scene.api::<Event>().list(&ListParams::default()).await.unwrap() {
        see("an event", serde_json::to_string(&event).unwrap());
    }
    for instance in scene.sandbox.instances_of(&scene.account) {
        see("user data", String::from_utf8(instance.decoded_user_data().unwrap()).unwrap());
        see("an instance", serde_json::to_string(&instance).unwrap());
    }
    for parameter in stored(scene).into_values() {
        see("a parameter's name and tags", format!("{} {:?}", parameter.name, parameter.tags));
    }
    for key in documents(scene).into_keys() {
        see("a key", key);
    }
    for call in scene.sandbox.calls(&CallQuery::default()) {
        see("a call", serde_json::to_string(&call).unwrap());
    }
    seen
}

#[tokio::test]
async fn a_secrets_value_is_found_nowhere_but_where_it_belongs() {
    let ear = ear();
    let scene = scene().await;
    create_secret(&scene, SECRET, true).await;
    let _controller = scene.start().await;
    for (name, store) in [("documents", in_s3()), ("parameters", in_parameter_store())] {
        scene.create::<WorkerFleet>(name, fleet_spec(&scene, 1, parameters(store, json!([password()])))).await;
        wait_settled(&scene, name, 1).await;
    }
    // A value that its store refuses, and a Secret that is not text, are told of too.
    let nested = json!({"name": "nested", "valueFrom": {"secretKeyRef": {"name": "db", "key": "long"}}});
    let long = SECRET.repeat(400);
    scene.change::<Secret>("db", json!({"stringData": {"long": long}})).await;
    let refused = with(
        fleet_spec(&scene, 1, parameters(json!({"parameterStore": {"path": "/long"}}), json!([nested]))),
        json!({"deletionPolicy": "Retain"}),
    );
    scene.create::<WorkerFleet>("refused", refused).await;
    scene.wait::<WorkerFleet>("refused", "refused", |fleet| synced(fleet, "False", "InvalidSpec")).await;

    assert_eq!(value(&stored(&scene)["/app/dbPassword"]).0, SECRET);
    assert!(documents(&scene).into_values().all(|document| document.contains(SECRET)));
    let seen = seen(&scene).await;
    for kind in
        ["the fleet", "a revision", "an event", "user data", "an instance", "a parameter's name and tags", "a key"]
    {
        assert!(seen.iter().any(|(what, _)| what == kind), "{kind} was not looked at");
    }
    for (what, text) in seen {
        for form in forms() {
            assert!(!text.contains(&form), "{what} shows the secret: {text}");
        }
    }
    assert!(ear.lines.load(Ordering::Relaxed) > 0, "nothing was logged at all");
    assert_eq!(*ear.heard.lock().unwrap(), Vec::<String>::new());
}

/// A manifest of the example.
fn example(file: &str) -> Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/parameters").join(file);
    serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[tokio::test]
async fn the_example_does_what_its_readme_says() {
    let workers = WorkersConfig { user_data: true, ..WorkersConfig::default() };
    let scene =
        Scene::without_account(SandboxConfig { throttling: false, workers: Some(workers), ..SandboxConfig::default() })
            .await;
    let mut account = example("10-account.yaml")["spec"].clone();
    let region = account["regions"][0].as_str().unwrap().to_owned();
    let bucket = account["grants"][0]["buckets"][0].as_str().unwrap().to_owned();
    let profile = account["grants"][0]["instanceProfiles"][0].as_str().unwrap().to_owned();
    scene.sandbox.s3().ensure_bucket(scene.account.as_str(), &region, &bucket).unwrap();
    scene.sandbox.put_instance_profile(&scene.account, &profile, "worker");
    // Names of the place where a reader applies it.
    account["grants"][0]["namespaces"]["names"] = json!([scene.namespace]);
    scene.create_account(account).await;
    let _controller = scene.start().await;
    let mut secret = example("20-secret.yaml");
    secret["metadata"]["namespace"] = json!(scene.namespace);
    scene.api::<Secret>().create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    let mut fleet = example("30-fleet.yaml")["spec"].clone();
    fleet["aws"]["accountRef"]["name"] = json!(scene.namespace);
    let subnet = scene.sandbox.subnets(&scene.account, &region).remove(0).id;
    fleet["template"]["subnets"]["ids"] = json!([subnet]);
    scene.create::<WorkerFleet>("web", fleet).await;
    wait_settled(&scene, "web", 2).await;
    for worker in live(&scene) {
        let is_it = |info: &muster_sandbox::WorkerInfo| info.instance_id == worker.id;
        let workers = scene.sandbox.wait_for_workers(|workers| workers.iter().any(is_it)).await;
        let made = workers.into_iter().find(is_it).unwrap().folder.join("opt/web/app.conf");
        let expected = "model = red-1.8.5\npassword = correct-horse-battery-staple\n";
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(50));
        let written = async {
            while std::fs::read_to_string(&made).ok().as_deref() != Some(expected) {
                ticks.tick().await;
            }
        };
        let waited = tokio::time::timeout(crate::scene::PATIENCE, written).await;
        assert!(waited.is_ok(), "{:?}", std::fs::read_to_string(&made));
    }
}

/// A fleet's parameters from their making over a change to their end, with whatever controllers there are meanwhile.
async fn live_through(scene: &Scene, store: Value) {
    create_secret(scene, "first", true).await;
    let in_store = || match documents(scene) {
        documents if documents.is_empty() => {
            stored(scene).into_iter().map(|(name, stored)| (name, value(&stored).0.to_owned())).collect()
        }
        documents => {
            documents.into_values().map(|document| ("document".to_owned(), document)).collect::<BTreeMap<_, _>>()
        }
    };
    let is_s3 = store.get("s3").is_some();
    let expect = |parameters: &[(&str, &str)]| {
        let document: BTreeMap<_, _> = parameters.iter().copied().collect();
        let expected = if is_s3 {
            BTreeMap::from([("document".to_owned(), serde_json::to_string(&document).unwrap())])
        } else {
            document.into_iter().map(|(name, value)| (format!("/app/{name}"), value.to_owned())).collect()
        };
        assert_eq!(in_store(), expected);
    };
    let values = json!([password(), {"name": "goes", "value": "1"}, {"name": "changes", "value": "1"}]);
    scene.create::<WorkerFleet>("web", with(spec(scene, 0, json!({})), parameters(store, values))).await;
    let written = |count| {
        move |fleet: &WorkerFleet| {
            settled(fleet, 0) && status(fleet).parameters.parameters.is_some_and(|p| p.written.len() == count)
        }
    };
    scene.wait::<WorkerFleet>("web", "written", written(if is_s3 { 1 } else { 3 })).await;
    expect(&[("changes", "1"), ("dbPassword", "first"), ("goes", "1")]);
    let values = json!([password(), {"name": "changes", "value": "2"}, {"name": "comes", "value": "2"}]);
    scene.change::<WorkerFleet>("web", json!({"spec": {"parameters": {"values": values}}})).await;
    scene.wait::<WorkerFleet>("web", "rewritten", written(if is_s3 { 1 } else { 3 })).await;
    expect(&[("changes", "2"), ("comes", "2"), ("dbPassword", "first")]);
    scene.api::<WorkerFleet>().delete("web", &DeleteParams::default()).await.unwrap();
    scene.wait_gone::<WorkerFleet>("web").await;
    assert_eq!((stored(scene).len(), documents(scene).len()), (0, 0));
}

async fn start(scene: &Scene, tap: &Tap) -> Controller {
    let connection = Connection { http_client: Some(tap.aws()), ..scene.connection() };
    let tap = tap.clone();
    Controller::start(scene.config(), connection, move |client| tap.kube(client)).await
}

async fn bare_scene() -> Scene {
    let scene = Scene::with(SandboxConfig { throttling: false, ..SandboxConfig::default() }).await;
    scene.sandbox.s3().ensure_bucket(scene.account.as_str(), REGION, BUCKET).unwrap();
    scene
}

/// Whether the controller was killed there.
async fn killed_at(point: &Point, moment: Moment, store: Value) -> bool {
    let scene = bare_scene().await;
    let tap = Tap::stopping(point.clone(), moment);
    let victim = start(&scene, &tap).await;
    let succession = async {
        tap.stopped().await;
        victim.kill().await;
        let _successor = start(&scene, &Tap::new()).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = live_through(&scene, store) => {}
        () = succession => {}
    }
    tokio::time::timeout(std::time::Duration::ZERO, tap.stopped()).await.is_ok()
}

async fn survives_every_kill(store: Value, calls: &[&str]) {
    let scene = bare_scene().await;
    let tap = Tap::new();
    let controller = start(&scene, &tap).await;
    live_through(&scene, store.clone()).boxed_local().await;
    controller.kill().await;
    // Looks at machines come when they like, and parameters know nothing of them.
    let points: BTreeSet<_> =
        tap.points().into_iter().filter(|point| ![LOOK, PROOF, IMAGE].contains(&point.operation.as_str())).collect();
    for call in calls {
        assert!(points.iter().any(|point| point.operation == *call), "{call} is not in {points:?}");
    }
    let runs = points.iter().flat_map(|point| {
        [Moment::Before, Moment::After].map(|moment| killed_at(point, moment, store.clone()).boxed_local())
    });
    let killed: Vec<bool> = stream::iter(runs).buffer_unordered(8).collect().await;
    let hits = killed.iter().filter(|hit| **hit).count();
    assert!(hits * 4 > killed.len() * 3, "only {hits} of {} points were met again", killed.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_and_after_every_call_no_parameter_is_leaked_or_doubled() {
    let calls = ["PutParameter", "GetParameters", "DeleteParameters", "PUT workerfleets/status", "GET secrets"];
    survives_every_kill(in_parameter_store(), &calls).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_and_after_every_call_no_document_is_leaked_or_doubled() {
    survives_every_kill(in_s3(), &["PUT object", "DELETE object", "PUT workerfleets/status"]).await;
}
