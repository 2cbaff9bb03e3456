//! The manifests that the chart renders.

use clap::Parser;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::api::ObjectMeta;
use muster::{
    config::{Config, ControllerArgs, Namespaces, ReportLimits, SecretName},
    lease::LeaseName,
};
use muster_world::KubeApi;
use serde_json::{Value, json};

use super::{chart, of_kind, template, the};

/// The configuration that the arguments of the container result in.
pub(super) fn config(documents: &[Value]) -> Config {
    #[derive(Parser)]
    #[command(no_binary_name = true)]
    enum Arguments {
        Controller(ControllerArgs),
    }
    let container = &the(documents, "Deployment")["spec"]["template"]["spec"]["containers"][0];
    let arguments = container["args"].as_array().expect("args").iter().map(|a| a.as_str().expect("a text").to_owned());
    let Arguments::Controller(arguments) = Arguments::try_parse_from(arguments).unwrap_or_else(|e| panic!("{e}"));
    arguments.into()
}

#[tokio::test]
async fn by_default_two_replicas_share_a_lease_and_watch_all_namespaces() {
    let documents = template(&["clusterName=prod"]).await.expect("manifests");
    let mut kinds: Vec<_> = documents.iter().map(|d| d["kind"].as_str().expect("a kind")).collect();
    kinds.sort_unstable();
    let expected = [
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "CustomResourceDefinition",
        "CustomResourceDefinition",
        "CustomResourceDefinition",
        "CustomResourceDefinition",
        "Deployment",
        "PodDisruptionBudget",
        "Role",
        "RoleBinding",
        "ServiceAccount",
    ];
    assert_eq!(kinds, expected);
    let config = config(&documents);
    assert_eq!(config.cluster_name, "prod");
    assert_eq!(config.namespaces, Namespaces::All);
    assert_eq!(config.account_selector, None);
    assert_eq!(config.lease, Some(LeaseName { namespace: "muster-system".into(), name: "muster".into() }));
    assert_eq!(config.key_secret, Some(SecretName { namespace: "muster-system".into(), name: "muster-key".into() }));
    let deployment = the(&documents, "Deployment");
    assert_eq!(deployment["spec"]["replicas"], 2);
    let spec = &deployment["spec"]["template"]["spec"];
    let container = &spec["containers"][0];
    assert_eq!(container["image"], format!("muster:{}", env!("CARGO_PKG_VERSION")));
    assert_eq!(container["livenessProbe"]["httpGet"], json!({"path": "/healthz", "port": "metrics"}));
    assert_eq!(container["readinessProbe"]["httpGet"], json!({"path": "/readyz", "port": "metrics"}));
    assert_eq!(container["ports"][0]["containerPort"].as_u64(), Some(config.metrics_addr.port().into()));
    let pods = &deployment["spec"]["selector"];
    assert_eq!(the(&documents, "PodDisruptionBudget")["spec"]["selector"], *pods);
    let zones = &spec["topologySpreadConstraints"][0];
    assert_eq!(zones["topologyKey"], "topology.kubernetes.io/zone");
    assert_eq!(zones["labelSelector"], *pods);
}

#[tokio::test]
async fn values_reach_the_controller() {
    let documents = template(&[
        "clusterName=prod",
        "watchNamespaces={ml,web}",
        "accountSelector=team in (ml\\,web)",
        "leaderElection.leaseName=other",
        "controller.concurrency=3",
        "controller.sweepSeconds=30",
        "controller.reportMemoryMiB=1024",
        "controller.reportObjects=2000000",
        "controller.logLevel=info\\,muster=debug",
        r#"controller.env:=[{"name": "AWS_REGION", "value": "eu-west-1"}]"#,
        "image.repository=images.example/muster",
        "image.tag=1.2.3",
    ])
    .await
    .expect("manifests");
    let config = config(&documents);
    assert_eq!(config.namespaces, Namespaces::Only(vec!["ml".into(), "web".into()]));
    assert_eq!(config.account_selector.as_deref(), Some("team in (ml,web)"));
    assert_eq!(config.lease, Some(LeaseName { namespace: "muster-system".into(), name: "other".into() }));
    assert_eq!(config.concurrency.get(), 3);
    assert_eq!(config.timings.sweep.as_secs(), 30);
    assert_eq!(config.report_limits, ReportLimits { bytes: 1 << 30, objects: 2_000_000 });
    let container = &the(&documents, "Deployment")["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "images.example/muster:1.2.3");
    let env = container["env"].as_array().expect("env");
    assert!(env.contains(&json!({"name": "RUST_LOG", "value": "info,muster=debug"})), "{env:?}");
    assert!(env.contains(&json!({"name": "AWS_REGION", "value": "eu-west-1"})), "{env:?}");
}

#[tokio::test]
async fn pod_settings_are_applied_to_the_pods() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let documents = template(&[
        "clusterName=prod",
        &format!("image.digest={digest}"),
        "imagePullSecrets[0].name=registry",
        "podAnnotations.note=a",
        "podLabels.team=ml",
        "priorityClassName=system-cluster-critical",
        "terminationGracePeriodSeconds=90",
        "nodeSelector.pool=system",
        r#"tolerations:=[{"operator": "Exists"}]"#,
        r#"affinity:={"nodeAffinity": {}}"#,
        r#"topologySpreadConstraints:=[{"maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}]"#,
        r#"resources:={"limits": {"memory": "1Gi"}}"#,
        "podDisruptionBudget.maxUnavailable=50%",
        "serviceAccount.annotations.eks\\.amazonaws\\.com/role-arn=arn:aws:iam::111111111111:role/muster",
    ])
    .await
    .expect("manifests");
    let template = &the(&documents, "Deployment")["spec"]["template"];
    assert_eq!(template["metadata"]["annotations"]["note"], "a");
    assert_eq!(template["metadata"]["labels"]["team"], "ml");
    let spec = &template["spec"];
    assert_eq!(spec["containers"][0]["image"], format!("muster@{digest}"));
    assert_eq!(spec["containers"][0]["resources"]["limits"]["memory"], "1Gi");
    assert_eq!(spec["imagePullSecrets"], json!([{"name": "registry"}]));
    assert_eq!(spec["priorityClassName"], "system-cluster-critical");
    assert_eq!(spec["terminationGracePeriodSeconds"], 90);
    assert_eq!(spec["nodeSelector"], json!({"pool": "system"}));
    assert_eq!(spec["tolerations"], json!([{"operator": "Exists"}]));
    assert_eq!(spec["affinity"], json!({"nodeAffinity": {}}));
    assert_eq!(spec["topologySpreadConstraints"].as_array().map(Vec::len), Some(1));
    assert_eq!(spec["topologySpreadConstraints"][0]["topologyKey"], "rack");
    assert!(spec["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"].is_object());
    assert_eq!(the(&documents, "PodDisruptionBudget")["spec"]["maxUnavailable"], "50%");
    let account = the(&documents, "ServiceAccount");
    let role = &account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"];
    assert_eq!(role, "arn:aws:iam::111111111111:role/muster");
}

#[tokio::test]
async fn crds_match_the_types_and_are_kept_when_the_release_is_uninstalled() {
    let documents = template(&["clusterName=prod"]).await.expect("manifests");
    let rendered = of_kind(&documents, "CustomResourceDefinition");
    for (crd, (name, text)) in rendered.iter().zip(muster::crd::schema::render(&muster::kinds::crds()).expect("YAML")) {
        assert_eq!(crd["metadata"]["annotations"]["helm.sh/resource-policy"], "keep", "{name}");
        let meant: Value = serde_yaml::from_str(&text).expect("YAML");
        assert_eq!(crd["spec"], meant["spec"], "{name}");
        assert_eq!(crd["metadata"]["name"], meant["metadata"]["name"]);
    }
    let documents = template(&["clusterName=prod", "crds.keep=false"]).await.expect("manifests");
    for crd in of_kind(&documents, "CustomResourceDefinition") {
        assert_eq!(crd["metadata"].get("annotations"), None);
    }
    let documents = template(&["clusterName=prod", "crds.enabled=false"]).await.expect("manifests");
    assert!(of_kind(&documents, "CustomResourceDefinition").is_empty());
}

#[tokio::test]
async fn without_a_lease_the_old_replica_ends_before_the_new_one_starts() {
    let documents = template(&["clusterName=prod", "leaderElection.enabled=false", "replicaCount=1"]).await;
    let documents = documents.expect("manifests");
    assert_eq!(config(&documents).lease, None);
    assert_eq!(the(&documents, "Deployment")["spec"]["strategy"], json!({"type": "Recreate"}));
    let key = [
        json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}),
        json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["muster-key"], "verbs": ["get"]}),
    ];
    assert_eq!(the(&documents, "Role")["rules"], json!(key), "there is no Lease to have rights on");
}

#[tokio::test]
async fn a_list_of_namespaces_has_a_role_in_each_and_few_cluster_wide_permissions() {
    let documents = template(&["clusterName=prod", "watchNamespaces={ml,default}"]).await.expect("manifests");
    let roles: Vec<_> = of_kind(&documents, "Role").iter().map(|role| role["metadata"]["namespace"].clone()).collect();
    assert_eq!(roles, ["ml", "default", "muster-system"]);
    let everywhere = the(&documents, "ClusterRole")["rules"].to_string();
    assert!(!everywhere.contains("workerfleets") && !everywhere.contains("controllerrevisions"), "{everywhere}");
    for binding in of_kind(&documents, "RoleBinding") {
        assert_eq!(binding["subjects"][0]["name"], "muster");
        assert_eq!(binding["subjects"][0]["namespace"], "muster-system");
    }
}

#[tokio::test]
async fn rbac_and_the_service_account_can_be_supplied_by_the_user() {
    let documents = template(&["clusterName=prod", "rbac.create=false"]).await.expect("manifests");
    for kind in ["Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"] {
        assert!(of_kind(&documents, kind).is_empty(), "{kind}");
    }
    let settings = ["clusterName=prod", "serviceAccount.create=false", "serviceAccount.name=mine"];
    let documents = template(&settings).await.expect("manifests");
    assert!(of_kind(&documents, "ServiceAccount").is_empty());
    assert_eq!(the(&documents, "Deployment")["spec"]["template"]["spec"]["serviceAccountName"], "mine");
    assert_eq!(the(&documents, "ClusterRoleBinding")["subjects"][0]["name"], "mine");
    let documents = template(&["clusterName=prod", "podDisruptionBudget.enabled=false"]).await.expect("manifests");
    assert!(of_kind(&documents, "PodDisruptionBudget").is_empty());
    let documents = template(&["clusterName=prod", "fullnameOverride=fleets"]).await.expect("manifests");
    assert_eq!(the(&documents, "Deployment")["metadata"]["name"], "fleets");
    let documents = template(&["clusterName=prod", "nameOverride=fleets"]).await.expect("manifests");
    assert_eq!(the(&documents, "Deployment")["metadata"]["name"], "muster-fleets");
}

#[tokio::test]
async fn pods_meet_the_restricted_pod_security_standard() {
    let kube = KubeApi::shared().await;
    let namespace = kube.namespace().await.expect("a namespace");
    let enforce = "pod-security.kubernetes.io/enforce=restricted";
    kube.kubectl(&["label", "namespace", &namespace, enforce]).await.expect("a label");
    kube.kubectl(&["create", "serviceaccount", "muster", "-n", &namespace]).await.expect("a ServiceAccount");
    let settings = ["clusterName=prod", "api.enabled=true", "api.tls.secretName=certificate"];
    let documents = template(&settings).await.expect("manifests");
    let deployment: Deployment = serde_json::from_value(the(&documents, "Deployment").clone()).expect("a Deployment");
    let spec = deployment.spec.template.spec;
    let mut pod =
        Pod { metadata: ObjectMeta { name: Some("p".into()), ..Default::default() }, spec, ..Default::default() };
    let create = ["create", "-n", namespace.as_str(), "--dry-run=server", "-f", "-"];
    let allowed = kube.kubectl_with_input(&create, &json!(pod).to_string()).await;
    assert!(allowed.is_ok(), "{:#}", allowed.unwrap_err());

    pod.spec.as_mut().expect("a spec").containers[0].security_context = None;
    let refused = kube.kubectl_with_input(&create, &json!(pod).to_string()).await.expect_err("a refusal");
    assert!(format!("{refused:#}").contains("violates PodSecurity"), "{refused:#}");
}

#[tokio::test]
async fn lint_finds_nothing() {
    let kube = KubeApi::shared().await;
    let chart = chart();
    for api in ["api.enabled=false", "api.enabled=true,api.tls.secretName=certificate"] {
        let lint = ["lint", "--strict", "--set", "clusterName=prod", "--set", api, &chart];
        let said = kube.helm(&lint).await.expect("no finding");
        assert!(said.contains("1 chart(s) linted, 0 chart(s) failed"), "{said}");
    }
}
