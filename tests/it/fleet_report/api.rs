//! The reports over HTTP: for whoever may read them, byte for byte, and nothing for anybody else.

use std::{collections::BTreeMap, net::SocketAddr, path::Path};

use http_body_util::{BodyExt, Empty};
use hyper::{Request, StatusCode, header::HeaderMap};
use hyper_util::rt::TokioIo;
use k8s_openapi::{
    ByteString,
    api::{
        authentication::v1::{TokenRequest, TokenRequestSpec},
        core::v1::{Secret, ServiceAccount},
        rbac::v1::{Role, RoleBinding},
    },
};
use kube::{Api, api::PostParams};
use muster::{
    clock::Clock,
    config::{ApiConfig, ApiTls, Config},
    crd::fleet_report::FleetReport,
    http::tls::Identity,
    lease::LeaseName,
};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{bucket, collected, id, report, report_at, spec, wait, with};
use crate::support::scene::{Controller, PATIENCE, Scene};

/// 32 bytes, the least that a key has.
const KEY: &str = "0123456789abcdef0123456789abcdef";

struct Server {
    address: SocketAddr,
    /// `None`: without TLS.
    identity: Option<Identity>,
    controller: Controller,
}

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap()
}

impl Server {
    async fn start(scene: &Scene) -> Self {
        Self::with(scene, scene.config(), None).await
    }

    async fn with(scene: &Scene, config: Config, certificate: Option<&Path>) -> Self {
        let address = free_address();
        let tls = certificate.map_or(ApiTls::Insecure, |dir| ApiTls::From(dir.to_owned()));
        let api = ApiConfig { addr: address, tls, pod_ip: Some([127, 0, 0, 1].into()) };
        let config = Config { api: Some(api), ..config };
        let controller = Controller::start(config, scene.connection(), |client| client).await;
        let identity = certificate.map(|dir| Identity::load(dir.to_owned()).unwrap());
        Self { address, identity, controller }
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let stream = loop {
            match TcpStream::connect(self.address).await {
                Ok(stream) => break stream,
                Err(_) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{error}"),
            }
        };
        match &self.identity {
            None => exchange(stream, path, headers).await,
            Some(identity) => {
                let connector = tokio_rustls::TlsConnector::from(identity.client());
                let name = rustls_pki_types::ServerName::try_from("muster.invalid").unwrap();
                exchange(connector.connect(name, stream).await.unwrap(), path, headers).await
            }
        }
    }

    async fn key(&self, path: &str) -> Answer {
        self.get(path, &[("x-api-key", KEY)]).await
    }
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

async fn exchange<S>(stream: S, path: &str, headers: &[(&str, &str)]) -> Answer
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::get(path).header("host", "muster");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = sender.send_request(request.body(Empty::<bytes::Bytes>::new()).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Answer { status: head.status, headers: head.headers, text }
}

async fn put_key(scene: &Scene, name: &str, type_: &str, key: &str) {
    let secret: Secret = serde_json::from_value(json!({"metadata": {"name": name}, "type": type_})).unwrap();
    let data = BTreeMap::from([("key".to_owned(), ByteString(key.as_bytes().to_vec()))]);
    let api = Api::<Secret>::namespaced(scene.kube.clone(), &scene.namespace);
    api.create(&PostParams::default(), &Secret { data: Some(data), ..secret }).await.unwrap();
}

/// A spec whose reports a key opens.
fn opened(scene: &Scene, buckets: &[&str], more: Value) -> Value {
    let part = json!({
        "api": {"keySecretRefs": [{"name": "reader"}]},
        "fields": [{"name": "app", "path": "$.app_version"}],
        "groupBy": [{"name": "service", "path": "$.instance_name", "regex": "^([a-z]+)_"}],
        "expect": {"versions": [{"field": "app", "equals": "1.1.0"}]},
    });
    with(with(spec(scene, buckets), part), more)
}

fn path(scene: &Scene, name: &str, rest: &str) -> String {
    format!("/v1/namespaces/{}/fleetreports/{name}/{rest}", scene.namespace)
}

#[tokio::test]
async fn reports_are_served_as_they_are_in_s3() {
    let scene = Scene::new().await;
    bucket(&scene, "prod");
    // As a shell script writes it, with a line feed at the end, and as a program does.
    let bodies = [
        format!(
            "{{\n  \"update_date\" : \"{}\",\n  \"instance_id\": \"{}\",\n  \"instance_name\":\"web_1\", \"app_version\" : \"1.1.0\" }}\n",
            Clock.now(),
            id(1)
        ),
        report(2, "1.0.0"),
        report_at(3, "0.9.0", Clock.now() - jiff::SignedDuration::from_hours(30)),
    ];
    for (n, body) in bodies.iter().enumerate() {
        scene.sandbox.s3().put("prod", &format!("{}.json", id(n + 1)), body.clone()).unwrap();
    }
    put_key(&scene, "reader", "muster.dev/api-key", KEY).await;
    let server = Server::start(&scene).await;
    scene.create::<FleetReport>("prod", opened(&scene, &["prod"], json!({}))).await;
    collected(&scene, "prod").await;

    let all = server.key(&path(&scene, "prod", "instances")).await;
    assert_eq!(
        (all.status, &*all.text),
        (StatusCode::OK, &*format!("[\n{},\n{}\n]\n", bodies[0], bodies[1])),
        "{all:?}"
    );
    assert_eq!(all.json().as_array().unwrap().len(), 2, "what is stale is not in the array");
    assert_eq!(all.header("content-type"), "application/json");
    assert!(
        all.header("age").parse::<u64>().unwrap() < 60 && !all.header("x-muster-collected-at").is_empty(),
        "{all:?}"
    );
    assert_eq!(server.key("/instances").await.text, all.text, "the key opens one FleetReport only");

    let etag = all.header("etag").to_owned();
    let again = server.get("/instances", &[("x-api-key", KEY), ("if-none-match", &etag)]).await;
    assert_eq!((again.status, &*again.text), (StatusCode::NOT_MODIFIED, ""));
    let zipped = server.get("/instances", &[("x-api-key", KEY), ("accept-encoding", "gzip")]).await;
    assert_eq!((zipped.header("content-encoding"), zipped.header("etag")), ("gzip", &*etag));

    let ask = async |query: &str| server.key(&format!("/instances?{query}")).await;
    assert_eq!(ask("field=app&value=1.0.0").await.text, format!("[\n{}\n]\n", bodies[1]));
    assert_eq!(ask("state=behind").await.text, format!("[\n{}\n]\n", bodies[1]));
    assert_eq!(ask("group=service:web&state=fresh").await.text, format!("[\n{}\n]\n", bodies[0]));
    let lines = ask("format=ndjson").await;
    let parsed: Vec<Value> = lines.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(parsed.len(), 2, "{lines:?}");
    let table = ask("format=csv&state=all").await;
    let rows: Vec<_> = table.text.lines().map(str::to_owned).collect();
    assert_eq!(rows[0], "instance,state,reportedAt,source,app,service");
    let states: Vec<_> = rows[1..].iter().map(|row| row.split(',').nth(1).unwrap()).collect();
    assert_eq!(states, ["fresh", "behind", "stale"], "{rows:?}");
    let envelope = ask("envelope=true&state=all").await.json();
    assert_eq!((&envelope["total"], &envelope["instances"][1]["report"]["app_version"]), (&json!(3), &json!("1.0.0")));
    assert_eq!(envelope["instances"][0]["groups"], json!({"service": ["web"]}));

    let versions = server.key("/versions").await.json();
    let app = &versions["fields"][0]["values"];
    assert_eq!(app, &json!([{"value": "1.0.0", "count": 1, "behind": 1}, {"value": "1.1.0", "count": 1, "behind": 0}]));
    assert_eq!(versions["instances"], json!({"fresh": 1, "behind": 1, "stale": 1, "missing": 0, "ghost": 0}));

    for (query, said) in [
        ("field=unknown", "use one of app"),
        ("value=1", "value needs field"),
        ("group=service", "<name of the groupBy>:<group>"),
        ("state=gone", "state is fresh, behind"),
        ("state=stale", "an array of reports has only those that are fresh"),
        ("format=xml", "xml"),
        ("envelope=true&format=csv", "envelope needs format=json"),
        ("limit=1", "limit"),
    ] {
        let refused = ask(query).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{query}");
        assert!(refused.json()["error"].as_str().unwrap().contains(said), "{query}: {refused:?}");
    }
    // Nothing is shown while nothing may be collected.
    scene.change::<FleetReport>("prod", json!({"spec": {"suspend": true}})).await;
    wait(&scene, "prod", "suspended", |r| super::condition_of(r, "Suspended") == "True/Suspended").await;
    let none = server.key(&path(&scene, "prod", "instances")).await;
    assert_eq!(none.status, StatusCode::FORBIDDEN, "the key is that of a FleetReport that shows nothing: {none:?}");
}

/// A token of a new ServiceAccount, which may read the reports of `may_read`.
async fn token(scene: &Scene, account: &str, audience: &str, may_read: Option<&str>) -> String {
    let namespace = &scene.namespace;
    let api = Api::<ServiceAccount>::namespaced(scene.kube.clone(), namespace);
    let new: ServiceAccount = serde_json::from_value(json!({"metadata": {"name": account}})).unwrap();
    if api.get_opt(account).await.unwrap().is_none() {
        api.create(&PostParams::default(), &new).await.unwrap();
        if let Some(name) = may_read {
            let role: Role = serde_json::from_value(json!({
                "metadata": {"name": account},
                "rules": [{"apiGroups": ["muster.dev"], "resources": ["fleetreports/instances"], "verbs": ["get"],
                           "resourceNames": [name]}],
            }))
            .unwrap();
            Api::<Role>::namespaced(scene.kube.clone(), namespace).create(&PostParams::default(), &role).await.unwrap();
            let binding: RoleBinding = serde_json::from_value(json!({
                "metadata": {"name": account},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account},
                "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
            }))
            .unwrap();
            let bindings = Api::<RoleBinding>::namespaced(scene.kube.clone(), namespace);
            bindings.create(&PostParams::default(), &binding).await.unwrap();
        }
    }
    let spec = TokenRequestSpec { audiences: Some(vec![audience.into()]), ..TokenRequestSpec::default() };
    let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let made = api.create_token_request(account, &PostParams::default(), &request).await.unwrap();
    made.status.and_then(|status| status.token).unwrap()
}

#[tokio::test]
async fn whoever_may_not_read_the_reports_learns_nothing() {
    let scene = Scene::new().await;
    bucket(&scene, "prod");
    scene.sandbox.s3().put("prod", &format!("{}.json", id(1)), report(1, "1.0.0-secret")).unwrap();
    put_key(&scene, "reader", "muster.dev/api-key", KEY).await;
    put_key(&scene, "password", "Opaque", "a-password-of-something-else-entirely").await;
    let server = Server::start(&scene).await;
    let keys = json!({"api": {"keySecretRefs": [{"name": "reader"}, {"name": "password"}]}});
    scene.create::<FleetReport>("prod", opened(&scene, &["prod"], keys)).await;
    scene.create::<FleetReport>("other", with(spec(&scene, &["prod"]), json!({}))).await;
    collected(&scene, "prod").await;
    collected(&scene, "other").await;

    let bearer = |token: &str| format!("Bearer {token}");
    let reader = bearer(&token(&scene, "reads", "muster", Some("prod")).await);
    let stranger = bearer(&token(&scene, "stranger", "muster", None).await);
    let of_others = bearer(&token(&scene, "reads", "sts.amazonaws.com", None).await);
    let (prod, other, absent) =
        (path(&scene, "prod", "instances"), path(&scene, "other", "instances"), path(&scene, "absent", "instances"));
    // RBAC is updated by watches.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while server.get(&prod, &[("authorization", &reader)]).await.status != StatusCode::OK {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", server.get(&prod, &[("authorization", &reader)]).await);
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    for (path, headers, expected) in [
        (&prod, vec![], StatusCode::UNAUTHORIZED),
        (&prod, vec![("authorization", "Bearer nonsense")], StatusCode::UNAUTHORIZED),
        (&prod, vec![("authorization", of_others.as_str())], StatusCode::UNAUTHORIZED),
        (&prod, vec![("authorization", stranger.as_str())], StatusCode::FORBIDDEN),
        (&absent, vec![("authorization", stranger.as_str())], StatusCode::FORBIDDEN),
        (&other, vec![("authorization", reader.as_str())], StatusCode::FORBIDDEN),
        (&prod, vec![("x-api-key", "0123456789abcdef0123456789abcdee")], StatusCode::FORBIDDEN),
        (&prod, vec![("x-api-key", "a-password-of-something-else-entirely")], StatusCode::FORBIDDEN),
        (&other, vec![("x-api-key", KEY)], StatusCode::FORBIDDEN),
        (&absent, vec![("x-api-key", KEY)], StatusCode::FORBIDDEN),
    ] {
        let answer = server.get(path, &headers).await;
        // Who is refused often waits, which says nothing either.
        assert!([expected, StatusCode::TOO_MANY_REQUESTS].contains(&answer.status), "{path} {headers:?}: {answer:?}");
        assert!(!answer.text.contains("secret") && !answer.text.contains(&id(1)), "{answer:?}");
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
    }
    // What may be read and does not exist is told as what cannot be read.
    let patiently = async |path: &str| loop {
        let answer = server.get(path, &[("authorization", &stranger)]).await;
        if answer.status != StatusCode::TOO_MANY_REQUESTS {
            return answer.text;
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    };
    assert_eq!(patiently(&absent).await.replace("absent", "x"), patiently(&other).await.replace("other", "x"));

    // A key is replaced without a restart: both work, then only the new one.
    let new = "fedcba9876543210fedcba9876543210";
    let patch = json!({"stringData": {"key": new}});
    let secrets = Api::<Secret>::namespaced(scene.kube.clone(), &scene.namespace);
    secrets.patch("reader", &Default::default(), &kube::api::Patch::Merge(patch)).await.unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while server.get("/instances", &[("x-api-key", new)]).await.status != StatusCode::OK {
        assert!(tokio::time::Instant::now() < deadline, "the new key does not work");
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    let old = server.key("/instances").await.status;
    assert!([StatusCode::FORBIDDEN, StatusCode::TOO_MANY_REQUESTS].contains(&old), "the old key: {old}");
    assert_eq!(server.get("/openapi.json", &[]).await.json()["openapi"], "3.1.0");
}

fn certificate(dir: &Path) {
    let made = rcgen::generate_simple_self_signed(["muster-api.muster.svc".to_owned()]).unwrap();
    std::fs::write(dir.join("tls.crt"), made.cert.pem()).unwrap();
    std::fs::write(dir.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
}

#[tokio::test]
async fn a_standby_sends_requests_on_to_the_leader() {
    let scene = Scene::new().await;
    bucket(&scene, "prod");
    scene.sandbox.s3().put("prod", &format!("{}.json", id(1)), report(1, "1.0.0")).unwrap();
    put_key(&scene, "reader", "muster.dev/api-key", KEY).await;
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path());
    let lease = Some(LeaseName { namespace: scene.namespace.clone(), name: "muster".into() });
    let config = |pod: &str| Config { lease: lease.clone(), pod_name: pod.into(), ..scene.config() };
    let leader = Server::with(&scene, config("muster-0"), Some(dir.path())).await;
    scene.create::<FleetReport>("prod", opened(&scene, &["prod"], json!({}))).await;
    collected(&scene, "prod").await;
    let standby = Server::with(&scene, config("muster-1"), Some(dir.path())).await;
    let (here, there) = (leader.key("/instances").await, standby.key("/instances").await);
    assert_eq!((here.status, there.status), (StatusCode::OK, StatusCode::OK), "{there:?}");
    assert_eq!(here.text, there.text);
    let refused = standby.get("/instances", &[("x-api-key", "wrong")]).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "the leader checks what the standby sends on");
    // The standby takes over, and answers from what it collects itself.
    leader.controller.stop().await.unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let answer = standby.key("/instances").await;
        if answer.status == StatusCode::OK {
            break;
        }
        let waits = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::FORBIDDEN, StatusCode::TOO_MANY_REQUESTS];
        assert!(waits.contains(&answer.status) && tokio::time::Instant::now() < deadline, "{answer:?}");
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
}

/// Runs `muster report` with these arguments: its exit code, its output and its errors.
async fn report_command(server: &Server, arguments: &[&str]) -> (i32, String, String) {
    let told = tokio::process::Command::new(env!("CARGO_BIN_EXE_muster"))
        .arg("report")
        .args(["--url", &format!("http://{}", server.address)])
        .args(arguments)
        .env("MUSTER_API_KEY", KEY)
        .output()
        .await
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (told.status.code().unwrap(), text(&told.stdout), text(&told.stderr))
}

#[tokio::test]
async fn the_command_line_shows_the_reports_and_stops_a_pipeline() {
    let scene = Scene::new().await;
    bucket(&scene, "prod");
    for (n, version) in [(1, "1.1.0"), (2, "1.0.0")] {
        scene.sandbox.s3().put("prod", &format!("{}.json", id(n)), report(n, version)).unwrap();
    }
    put_key(&scene, "reader", "muster.dev/api-key", KEY).await;
    let server = Server::start(&scene).await;
    scene.create::<FleetReport>("prod", opened(&scene, &["prod"], json!({}))).await;
    collected(&scene, "prod").await;
    let (code, text, errors) = report_command(&server, &["--fail-behind"]).await;
    assert_eq!(code, 1, "one is behind: {text} {errors}");
    let words =
        |text: &str| text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>();
    let lines = words(&text);
    assert!(lines[0].starts_with("1 fresh, 1 behind, 0 stale, 0 missing, 0 ghost; collected "), "{text}");
    assert_eq!(lines[1..], ["FIELD VALUE INSTANCES BEHIND", "app 1.0.0 1 1", "app 1.1.0 1 0"], "{text}");
    let (code, text, _) = report_command(&server, &["--output", "wide", "--state", "behind"]).await;
    let lines = words(&text);
    assert_eq!((code, lines[1].as_str(), lines.len()), (0, "INSTANCE STATE REPORTED app", 3), "{text}");
    assert!(lines[2].starts_with(&format!("{} behind ", id(2))) && lines[2].ends_with(" 1.0.0"), "{text}");
    let (_, text, _) = report_command(&server, &["-o", "json", "--field", "app", "--value", "1.1.0"]).await;
    assert_eq!(serde_json::from_str::<Vec<Value>>(&text).unwrap()[0]["instance_id"], id(1).as_str());
    let (code, text, errors) = report_command(&server, &["-o", "csv", "--field", "nothing"]).await;
    assert_eq!((code, text.as_str()), (1, ""));
    assert!(errors.contains("400") && errors.contains("use one of app"), "{errors}");
    scene.sandbox.s3().put("prod", &format!("{}.json", id(2)), report(2, "1.1.0")).unwrap();
    super::collect_now(&scene, "prod", "updated").await;
    assert_eq!(report_command(&server, &["--fail-behind"]).await.0, 0);
}
