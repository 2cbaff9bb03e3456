//! The API server that tests get is a real one, says who may do what, and leaves nothing behind.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use k8s_openapi::api::{
    authentication::v1::SelfSubjectReview,
    core::v1::{ConfigMap, Namespace, ServiceAccount},
};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, ObjectMeta, PostParams},
};
use muster_world::{KubeApi, kubernetes::Options};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

async fn user_name(client: Client) -> String {
    let review = Api::<SelfSubjectReview>::all(client)
        .create(&PostParams::default(), &SelfSubjectReview::default())
        .await
        .expect("who am I");
    review.status.and_then(|status| status.user_info).and_then(|user| user.username).expect("a name")
}

#[tokio::test]
async fn a_service_account_has_exactly_the_permissions_that_rbac_grants() {
    let api = KubeApi::shared().await;
    let namespace = api.namespace().await.expect("namespace");
    let account = ServiceAccount {
        metadata: ObjectMeta { name: Some("reader".into()), ..Default::default() },
        ..Default::default()
    };
    Api::namespaced(api.admin().await.expect("admin"), &namespace)
        .create(&PostParams::default(), &account)
        .await
        .expect("account");

    let client = api.client_as_service_account(&namespace, "reader").await.expect("client");
    assert_eq!(user_name(client.clone()).await, format!("system:serviceaccount:{namespace}:reader"));
    let maps = Api::<ConfigMap>::namespaced(client, &namespace);
    match maps.list(&ListParams::default()).await {
        Err(kube::Error::Api(status)) => assert_eq!(status.code, 403, "{status:?}"),
        other => panic!("nobody granted this: {other:?}"),
    }

    let (into, account) = (format!("--namespace={namespace}"), format!("--serviceaccount={namespace}:reader"));
    api.kubectl(&["create", "role", "maps", "--verb=list", "--resource=configmaps", &into]).await.expect("role");
    api.kubectl(&["create", "rolebinding", "maps", "--role=maps", &account, &into]).await.expect("binding");
    // RBAC learns of it by a watch.
    eventually("the grant", async || maps.list(&ListParams::default()).await.is_ok()).await;
}

#[tokio::test]
async fn a_client_can_impersonate_any_user() {
    let api = KubeApi::shared().await;
    let client = api.client_as("alice", &["developers"]).await.expect("client");
    let review = Api::<SelfSubjectReview>::all(client)
        .create(&PostParams::default(), &SelfSubjectReview::default())
        .await
        .expect("who am I");
    let user = review.status.and_then(|status| status.user_info).expect("a user");
    assert_eq!(user.username.as_deref(), Some("alice"));
    assert!(user.groups.expect("groups").contains(&"developers".to_owned()));
}

#[tokio::test]
async fn kubectl_and_helm_talk_to_it() {
    let api = KubeApi::shared().await;
    let namespace = api.namespace().await.expect("namespace");
    let version = api.kubectl(&["version", "--output=json"]).await.expect("version");
    let version: serde_json::Value = serde_json::from_str(&version).expect("JSON");
    assert!(version["serverVersion"]["gitVersion"].as_str().expect("a version").starts_with("v1."), "{version}");

    let manifest = r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"b": "c"}}"#;
    let into = format!("--namespace={namespace}");
    let applied = api.kubectl_with_input(&["apply", &into, "-f", "-"], manifest).await.expect("apply");
    assert_eq!(applied.trim(), "configmap/a created");
    assert_eq!(api.helm(&["list", &into, "--output=json"]).await.expect("helm").trim(), "[]");

    let refused = api.kubectl(&["get", "configmap", "missing", &into]).await.expect_err("there is none");
    assert!(refused.to_string().contains(r#"configmaps "missing" not found"#), "{refused:#}");
}

#[tokio::test]
async fn with_the_controller_manager_a_namespace_can_be_deleted() {
    let api = KubeApi::start_own(&Options { controller_manager: true, logs: None }).await.expect("start");
    let namespace = api.namespace().await.expect("namespace");
    let namespaces = Api::<Namespace>::all(api.admin().await.expect("admin"));
    namespaces.delete(&namespace, &DeleteParams::default()).await.expect("delete");
    eventually("the namespace's end", async || namespaces.get_opt(&namespace).await.expect("get").is_none()).await;
}

#[tokio::test]
async fn dropping_the_server_leaves_no_processes_or_folders() {
    let api = KubeApi::start_own(&Options::default()).await.expect("start");
    let folder = api.folder().to_owned();
    assert!(processes_that_mention(&folder) >= 2, "etcd and the API server are told where their files are");
    drop(api);
    assert!(!folder.exists());
    assert_eq!(processes_that_mention(&folder), 0);
}

#[test]
fn a_killed_owner_leaves_no_processes_or_folders() {
    let (mut owner, folder) = owner();
    assert!(processes_that_mention(&folder) >= 2);
    owner.kill().expect("SIGKILL");
    owner.wait().expect("its end");
    assert_nothing_left(&folder);
}

#[test]
fn an_interrupted_owner_leaves_no_processes_or_folders() {
    let (mut owner, folder) = owner();
    kill(Pid::from_raw(owner.id() as i32), Signal::SIGINT).expect("Ctrl-C");
    assert!(owner.wait().expect("its end").success());
    assert!(!folder.exists(), "it has tidied up before it ended");
    assert_eq!(processes_that_mention(&folder), 0);
}

/// A process that owns a server, and the server's folder.
fn owner() -> (Child, PathBuf) {
    let mut owner = Command::new(env!("CARGO_BIN_EXE_muster-world"))
        .arg("kube")
        .stdout(Stdio::piped())
        .spawn()
        .expect("muster-world");
    let mut line = String::new();
    BufReader::new(owner.stdout.take().expect("stdout")).read_line(&mut line).expect("a line");
    let folder = Path::new(line.trim()).parent().expect("a folder").to_owned();
    assert!(folder.is_dir(), "{line}");
    (owner, folder)
}

fn assert_nothing_left(folder: &Path) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while folder.exists() || processes_that_mention(folder) > 0 {
        assert!(Instant::now() < deadline, "{} or its processes are still there", folder.display());
        std::thread::yield_now();
    }
}

fn processes_that_mention(folder: &Path) -> usize {
    let name = folder.display().to_string();
    fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .filter_map(|process| fs::read(process.path().join("cmdline")).ok())
        .filter(|command| String::from_utf8_lossy(command).contains(&name))
        .count()
}

async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
