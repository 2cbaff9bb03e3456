//! The value of a Secret appears only in the parameter store and on workers: not in objects, events, logs, tags or errors.

use std::{
    collections::BTreeSet,
    io,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use hmac::{Hmac, KeyInit, Mac};
use http::{Request, Response};
use k8s_openapi::api::{apps::v1::ControllerRevision, core::v1::Secret, events::v1::Event};
use kube::{Client, ResourceExt, api::ListParams, client::Body};
use muster::{crd::worker_fleet::WorkerFleet, logs};
use muster_sandbox::CallQuery;
use serde_json::json;
use sha2::{Digest, Sha256};
use tracing_subscriber::{EnvFilter, Layer, filter::dynamic_filter_fn, util::SubscriberInitExt};

use super::{
    create_secret, documents, fleet_spec, in_parameter_store, in_s3, parameters, password, scene, stored, synced, value,
};
use crate::support::{
    fleet::{status, wait_settled, with},
    scene::{Controller, Scene, condition},
};

/// Searched for everywhere. A short value would be found by chance.
const SECRET: &str = "correct-horse-battery-staple-7f3a";

/// Receives every line that muster logs at the most verbose level, and records whether one contains the secret.
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

impl Ear {
    fn assert_no_secret(&self) {
        assert!(self.lines.load(Ordering::Relaxed) > 0, "nothing was logged at all");
        let heard = self.heard.lock().unwrap().clone();
        assert_eq!(heard, Vec::<String>::new());
    }
}

/// Listens until it is dropped, because formatting the lines of all other tests too would slow them down.
struct Listening(&'static Ear);

static LISTENERS: AtomicUsize = AtomicUsize::new(0);

impl Drop for Listening {
    fn drop(&mut self) {
        LISTENERS.fetch_sub(1, Ordering::Relaxed);
    }
}

fn listen() -> Listening {
    static EAR: OnceLock<Ear> = OnceLock::new();
    LISTENERS.fetch_add(1, Ordering::Relaxed);
    Listening(EAR.get_or_init(|| {
        let ear = Ear::default();
        let writer = ear.clone();
        let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || writer.clone());
        // The server of the sandbox's S3 is not part of muster, and logs what it receives.
        let asked = EnvFilter::new("trace,s3s=off");
        let lines = lines.with_filter(dynamic_filter_fn(|_, _| LISTENERS.load(Ordering::Relaxed) > 0));
        logs::subscriber(asked, lines).try_init().expect("no other test listens");
        ear
    }))
}

/// The secret and its common encodings.
fn forms() -> [String; 3] {
    use base64::{Engine, prelude::BASE64_STANDARD};
    [SECRET.into(), BASE64_STANDARD.encode(SECRET), hex::encode(SECRET)]
}

/// Everything that is visible without permissions on the Secret or the parameter store.
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
async fn the_value_of_a_secret_is_only_in_the_store_and_on_the_workers() {
    let listening = listen();
    let scene = scene().await;
    create_secret(&scene, SECRET, true).await;
    let _controller = scene.start().await;
    for (name, store) in [("documents", in_s3()), ("parameters", in_parameter_store())] {
        scene.create::<WorkerFleet>(name, fleet_spec(&scene, 1, parameters(store, json!([password()])))).await;
        wait_settled(&scene, name, 1).await;
    }
    // A comparison reads the stored values.
    scene
        .change::<WorkerFleet>("parameters", json!({"metadata": {"annotations": {"muster.dev/requested-at": "1"}}}))
        .await;
    let compared = |fleet: &WorkerFleet| status(fleet).common.last_handled_requested_at.as_deref() == Some("1");
    scene.wait::<WorkerFleet>("parameters", "compared", compared).await;
    // A value that the store rejects and a Secret that is not text are reported too.
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
        assert!(seen.iter().any(|(what, _)| what == kind), "{kind} was not searched");
    }
    assert_hidden(seen);
    listening.0.assert_no_secret();
}

fn assert_hidden(seen: Vec<(String, String)>) {
    for (what, text) in seen {
        for form in forms() {
            assert!(!text.contains(&form), "{what} shows the secret: {text}");
        }
    }
}

/// A client to an API server whose responses for Secrets are not Secrets, and contain the value in an unexpected place.
fn with_invalid_secrets(client: Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request: Request<Body>| {
        let client = client.clone();
        async move {
            if request.uri().path().ends_with("/secrets/db") {
                let answer = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "data": SECRET});
                return Ok(Response::new(Body::from(answer.to_string().into_bytes())));
            }
            client.send(request).await
        }
    });
    Client::new(service, namespace)
}

#[tokio::test]
async fn an_unreadable_response_is_not_quoted() {
    let listening = listen();
    let scene = scene().await;
    create_secret(&scene, SECRET, true).await;
    let _controller = Controller::start(scene.config(), scene.connection(), with_invalid_secrets).await;
    scene.create::<WorkerFleet>("web", fleet_spec(&scene, 1, parameters(in_s3(), json!([password()])))).await;
    let told = |fleet: &WorkerFleet| synced(fleet, "False", "KubernetesError");
    let fleet = scene.wait::<WorkerFleet>("web", "told of the answer", told).await;
    let (_, _, message) = condition(&status(&fleet).common.conditions, "ParametersSynced").unwrap();
    assert!(message.contains("Secret db cannot be read: the answer is not valid"), "{message}");
    assert_hidden(seen(&scene).await);
    listening.0.assert_no_secret();
}

/// A short value of which a hash would be found by trying.
const PIN: &str = "4711";

/// Hashes that somebody can compute who knows the value, the object and the Secret's uid, but not the key of the release.
fn computable(uid: &str, secret: &str) -> Vec<String> {
    let texts =
        [json!({"pin": PIN}).to_string(), json!({"salt": "", "values": {"pin": PIN}}).to_string(), PIN.to_owned()];
    let keyed = |key: &str, text: &str| {
        let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap().chain_update(text);
        hex::encode(&mac.finalize().into_bytes()[..16])
    };
    let plain = |text: String| hex::encode(&Sha256::digest(text)[..16]);
    let of = |text: &String| {
        let prefixed = [uid, secret].map(|prefix| plain(format!("{prefix}{text}")));
        [&prefixed[..], &[plain(text.clone()), keyed(uid, text), keyed(secret, text), keyed("", text)]].concat()
    };
    texts.iter().flat_map(of).collect()
}

#[tokio::test]
async fn nothing_that_is_visible_lets_a_guessed_value_be_verified() {
    let scene = scene().await;
    let secret = create_secret(&scene, PIN, true).await.uid().unwrap();
    let _controller = scene.start().await;
    let literal = json!([{"name": "pin", "value": PIN, "secure": true}]);
    let from_secret = json!([{"name": "pin", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}]);
    let at = |path: &str| json!({"parameterStore": {"path": path}});
    let mut hashes = BTreeSet::new();
    let mut guesses = Vec::new();
    for (name, store, values) in [
        ("literal", in_s3(), &literal),
        ("same-literal", in_s3(), &literal),
        ("from-secret", in_s3(), &from_secret),
        ("literal-parameter", at("/a"), &literal),
        ("secret-parameter", at("/b"), &from_secret),
    ] {
        scene.create::<WorkerFleet>(name, fleet_spec(&scene, 1, parameters(store, values.clone()))).await;
        let fleet = wait_settled(&scene, name, 1).await;
        guesses.extend(computable(&fleet.uid().unwrap(), &secret));
        hashes.insert(status(&fleet).workers.parameters.parameters_hash.unwrap());
    }
    assert_eq!(hashes.len(), 5, "the same value has another hash in each object: {hashes:?}");
    for (what, text) in seen(&scene).await {
        assert!(guesses.iter().all(|guess| !text.contains(guess)), "{what}: {text}");
    }
}
