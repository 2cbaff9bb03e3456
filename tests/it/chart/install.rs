//! Install, upgrade and uninstall of a release, on its own API server because CRDs are shared by a whole cluster.

use std::fs;

use muster_world::KubeApi;
use serde_json::Value;

use super::chart;

async fn get(kube: &KubeApi, arguments: &[&str]) -> Value {
    let text = kube.kubectl(&[&["get", "-o", "json"], arguments].concat()).await.expect("an answer");
    serde_json::from_str(&text).expect("JSON")
}

async fn exists(kube: &KubeApi, arguments: &[&str]) -> bool {
    let found = kube.kubectl(&[&["get", "-o", "name", "--ignore-not-found"], arguments].concat()).await;
    !found.expect("an answer").trim().is_empty()
}

#[tokio::test]
async fn objects_survive_uninstalling_unless_the_crds_are_not_kept() {
    let kube = KubeApi::start().await.expect("an API server");
    let chart = chart();
    let place = ["--namespace", "muster-system"];
    let install =
        [&["install", "muster", &chart, "--create-namespace", "--set", "clusterName=test"], &place[..]].concat();
    kube.helm(&install).await.expect("an install");
    let notes = kube.helm(&[&["get", "notes", "muster"], &place[..]].concat()).await.expect("notes");
    assert!(notes.contains("kubectl rollout status --namespace muster-system deployment/muster"), "{notes}");

    // The command in the notes works.
    let manifest = notes.split("<<EOT\n").nth(1).and_then(|rest| rest.split("  EOT").next()).expect("a manifest");
    kube.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"]).await.expect("CRDs");
    kube.kubectl_with_input(&["apply", "-f", "-"], manifest).await.expect("an AwsAccount");

    let upgrade = [&["upgrade", "muster", &chart, "--set", "clusterName=test", "--set", "replicaCount=3"], &place[..]];
    kube.helm(&upgrade.concat()).await.expect("an upgrade");
    let deployment = get(&kube, &[&["deployment", "muster"], &place[..]].concat()).await;
    assert_eq!(deployment["spec"]["replicas"], 3);

    // A second release of the same name in another namespace works, if it does not install the CRDs.
    let second =
        ["install", "muster", &chart, "--create-namespace", "--namespace", "other", "--set", "clusterName=test"];
    let refused = kube.helm(&second).await.expect_err("the CRDs have an owner").to_string();
    assert!(refused.contains("awsaccounts.muster.dev"), "{refused}");
    kube.helm(&[&second[..], &["--set", "crds.enabled=false"]].concat()).await.expect("a second release");
    kube.helm(&["uninstall", "muster", "--namespace", "other"]).await.expect("an uninstall");

    kube.helm(&[&["uninstall", "muster"], &place[..]].concat()).await.expect("an uninstall");
    assert!(
        !exists(
            &kube,
            &[&["deployment,serviceaccount,role,rolebinding,pdb", "-l", "app.kubernetes.io/name=muster"], &place[..]]
                .concat()
        )
        .await
    );
    assert!(!exists(&kube, &["clusterrole,clusterrolebinding", "-l", "app.kubernetes.io/name=muster"]).await);
    assert!(exists(&kube, &["awsaccount", "default"]).await, "CRDs were kept, and with them every object");

    kube.helm(&[&install[..], &["--set", "crds.keep=false"]].concat()).await.expect("an install over kept CRDs");
    assert!(exists(&kube, &["awsaccount", "default"]).await);
    // As a controller would have done. If a kind was never listed, the API server may begin to delete its CRD before it
    // can list the objects itself ("storage is (re)initializing"), and then tries again after minutes only.
    kube.kubectl(&["get", "muster", "--all-namespaces"]).await.expect("lists of all kinds");
    kube.helm(&[&["uninstall", "muster"], &place[..]].concat()).await.expect("an uninstall");
    let gone = ["wait", "--for=delete", "--timeout=60s", "crd", "-l", "app.kubernetes.io/name=muster"];
    kube.kubectl(&gone).await.expect("no CRD is left");
}

#[tokio::test]
async fn the_chart_package_contains_the_crds() {
    let kube = KubeApi::shared().await;
    let folder = tempfile::tempdir().expect("a folder");
    let destination = folder.path().to_str().expect("a path");
    kube.helm(&["package", &chart(), "--destination", destination]).await.expect("a package");
    let package = fs::read_dir(folder.path()).expect("a folder").next().expect("a package").expect("an entry").path();
    let shown = kube.helm(&["template", package.to_str().expect("a path"), "--set", "clusterName=a"]).await;
    assert_eq!(
        shown.expect("manifests").matches("kind: CustomResourceDefinition\n").count(),
        muster::kinds::crds().len()
    );
}
