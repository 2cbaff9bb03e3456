//! What the chart renders for the API, and that readers can be given the right to use it.

use std::time::Duration;

use muster::config::ApiTls;
use muster_world::KubeApi;
use serde_json::{Value, json};

use super::{API, attributes, chart, may, of_kind, release, rendered::config, template, the};
use crate::support::scene::PATIENCE;

const TLS: [&str; 3] = ["clusterName=prod", "api.enabled=true", "api.tls.secretName=certificate"];
const INSECURE: [&str; 3] = ["clusterName=prod", "api.enabled=true", "api.insecure=true"];

async fn with(settings: &[&str], more: &[&str]) -> Vec<Value> {
    template(&[settings, more].concat()).await.expect("manifests")
}

fn container(documents: &[Value]) -> &Value {
    &the(documents, "Deployment")["spec"]["template"]["spec"]["containers"][0]
}

#[tokio::test]
async fn without_the_api_nothing_listens_and_nobody_is_reviewed() {
    let settings = ["clusterName=prod", "crds.enabled=false", "api.tls.secretName=certificate"];
    let ingress = ["api.ingress.enabled=true", "api.networkPolicy.enabled=true", "api.httpRoute.enabled=true"];
    let documents = with(&settings, &ingress).await;
    assert_eq!(config(&documents).api, None);
    for kind in ["Service", "Certificate", "Ingress", "HTTPRoute", "NetworkPolicy"] {
        assert!(of_kind(&documents, kind).is_empty(), "{kind}");
    }
    let all = json!(documents).to_string();
    for absent in ["POD_IP", "certificate", "tokenreviews", "subjectaccessreviews", "fleetreports/instances"] {
        assert!(!all.contains(absent), "{absent} is in {all}");
    }
}

#[tokio::test]
async fn the_api_is_served_with_a_certificate_from_a_secret() {
    let documents = with(&TLS, &["api.port=9443", "api.service.port=8443", "api.service.annotations.a=b"]).await;
    let api = config(&documents).api.expect("an API");
    assert_eq!(api.addr.to_string(), "0.0.0.0:9443");
    let ApiTls::From(folder) = &api.tls else { panic!("{api:?}") };
    let container = container(&documents);
    let mount = json!({"name": "api-tls", "mountPath": folder, "readOnly": true});
    assert_eq!(container["volumeMounts"], json!([mount]));
    let volume = json!({"name": "api-tls", "secret": {"secretName": "certificate", "defaultMode": 0o440}});
    assert_eq!(the(&documents, "Deployment")["spec"]["template"]["spec"]["volumes"], json!([volume]));
    let address = json!({"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}});
    assert!(container["env"].as_array().expect("env").contains(&address), "{container}");
    assert_eq!(container["ports"][1], json!({"name": "api", "containerPort": 9443}));
    assert_eq!(container["readinessProbe"]["httpGet"]["port"], "metrics");

    let service = the(&documents, "Service");
    assert_eq!(service["metadata"]["name"], "muster-api");
    assert_eq!(service["metadata"]["annotations"], json!({"a": "b"}));
    assert_eq!(service["spec"]["type"], "ClusterIP");
    assert_eq!(service["spec"]["selector"], the(&documents, "Deployment")["spec"]["selector"]["matchLabels"]);
    let port = json!({"name": "api", "port": 8443, "targetPort": "api", "appProtocol": "https"});
    assert_eq!(service["spec"]["ports"], json!([port]));
    for kind in ["Certificate", "Ingress", "HTTPRoute", "NetworkPolicy"] {
        assert!(of_kind(&documents, kind).is_empty(), "{kind}");
    }
}

#[tokio::test]
async fn without_tls_nothing_is_mounted() {
    let documents = with(&INSECURE, &[]).await;
    assert_eq!(config(&documents).api.expect("an API").tls, ApiTls::Insecure);
    assert_eq!(container(&documents).get("volumeMounts"), None);
    assert_eq!(the(&documents, "Deployment")["spec"]["template"]["spec"].get("volumes"), None);
    let port = json!({"name": "api", "port": 443, "targetPort": "api", "appProtocol": "http"});
    assert_eq!(the(&documents, "Service")["spec"]["ports"], json!([port]));
}

#[tokio::test]
async fn cert_manager_makes_the_certificate_that_the_pods_mount() {
    let settings = ["clusterName=prod", "api.enabled=true", "api.tls.certManager.enabled=true"];
    let documents = with(&settings, &["api.tls.certManager.issuerRef.name=ca"]).await;
    let certificate = &the(&documents, "Certificate")["spec"];
    let names =
        ["muster-api.muster-system", "muster-api.muster-system.svc", "muster-api.muster-system.svc.cluster.local"];
    let issuer = json!({"name": "ca", "kind": "Issuer", "group": "cert-manager.io"});
    assert_eq!(*certificate, json!({"secretName": "muster-api-tls", "dnsNames": names, "issuerRef": issuer}));
    let volume = &the(&documents, "Deployment")["spec"]["template"]["spec"]["volumes"][0];
    assert_eq!(volume["secret"]["secretName"], "muster-api-tls");

    let more = [
        "api.tls.secretName=mine",
        "api.tls.certManager.issuerRef.name=public",
        "api.tls.certManager.issuerRef.kind=ClusterIssuer",
        "api.tls.certManager.dnsNames={muster.example.com}",
    ];
    let documents = with(&settings, &more).await;
    let certificate = &the(&documents, "Certificate")["spec"];
    assert_eq!(certificate["secretName"], "mine");
    assert_eq!(certificate["dnsNames"], json!(["muster.example.com"]));
    assert_eq!(certificate["issuerRef"]["kind"], "ClusterIssuer");
    let volume = &the(&documents, "Deployment")["spec"]["template"]["spec"]["volumes"][0];
    assert_eq!(volume["secret"]["secretName"], "mine");
}

#[tokio::test]
async fn an_ingress_and_a_route_lead_to_the_service() {
    let more = [
        "api.ingress.enabled=true",
        "api.ingress.className=nginx",
        "api.ingress.annotations.nginx\\.ingress\\.kubernetes\\.io/backend-protocol=HTTPS",
        r#"api.ingress.hosts:=[{"host": "a.example.com"}, {"host": "b.example.com", "paths": ["/instances"]}]"#,
        r#"api.ingress.tls:=[{"secretName": "a", "hosts": ["a.example.com"]}]"#,
        "api.httpRoute.enabled=true",
        "api.httpRoute.annotations.a=b",
        r#"api.httpRoute.parentRefs:=[{"name": "public", "namespace": "gateways"}]"#,
        "api.httpRoute.hostnames={a.example.com}",
    ];
    let documents = with(&TLS, &more).await;
    let ingress = the(&documents, "Ingress");
    let annotations = json!({"nginx.ingress.kubernetes.io/backend-protocol": "HTTPS"});
    assert_eq!(ingress["metadata"]["annotations"], annotations);
    let backend = json!({"service": {"name": "muster-api", "port": {"name": "api"}}});
    let rule = |host: &str, path: &str| {
        let path = json!({"path": path, "pathType": "Prefix", "backend": backend});
        json!({"host": host, "http": {"paths": [path]}})
    };
    let rules = [rule("a.example.com", "/"), rule("b.example.com", "/instances")];
    let tls = [json!({"secretName": "a", "hosts": ["a.example.com"]})];
    assert_eq!(ingress["spec"], json!({"ingressClassName": "nginx", "tls": tls, "rules": rules}));

    let route = the(&documents, "HTTPRoute");
    assert_eq!(route["apiVersion"], "gateway.networking.k8s.io/v1");
    assert_eq!(route["metadata"]["annotations"], json!({"a": "b"}));
    let parents = [json!({"name": "public", "namespace": "gateways"})];
    let rules = [json!({"backendRefs": [{"name": "muster-api", "port": 443}]})];
    assert_eq!(route["spec"], json!({"parentRefs": parents, "hostnames": ["a.example.com"], "rules": rules}));
}

#[tokio::test]
async fn a_network_policy_lets_in_the_replicas_and_the_named_peers() {
    let documents = with(&TLS, &["api.networkPolicy.enabled=true"]).await;
    let pods = &the(&documents, "Deployment")["spec"]["selector"];
    let replicas = json!({"podSelector": pods});
    let metrics = json!({"ports": [{"port": 8080}]});
    let policy = &the(&documents, "NetworkPolicy")["spec"];
    assert_eq!(policy["podSelector"], *pods);
    assert_eq!(policy["policyTypes"], json!(["Ingress"]), "calls of muster itself are not limited");
    assert_eq!(policy["ingress"], json!([metrics, {"ports": [{"port": 8443}], "from": [replicas]}]));

    let peer = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}});
    let from = format!("api.networkPolicy.from:=[{peer}]");
    let documents = with(&TLS, &["api.networkPolicy.enabled=true", "api.port=9443", &from]).await;
    let policy = &the(&documents, "NetworkPolicy")["spec"];
    assert_eq!(policy["ingress"], json!([metrics, {"ports": [{"port": 9443}], "from": [replicas, peer]}]));
}

#[tokio::test]
async fn the_api_server_accepts_the_objects_of_the_api() {
    let kube = KubeApi::shared().await;
    let namespace = kube.namespace().await.expect("a namespace");
    let more = [
        "api.ingress.enabled=true",
        "api.ingress.hosts[0].host=a.example.com",
        "api.networkPolicy.enabled=true",
        r#"api.networkPolicy.from:=[{"ipBlock": {"cidr": "10.0.0.0/8"}}]"#,
    ];
    let documents = with(&TLS, &more).await;
    for kind in ["Deployment", "Service", "Ingress", "NetworkPolicy"] {
        let mut object = the(&documents, kind).clone();
        object["metadata"]["namespace"] = json!(namespace);
        let create = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
        let accepted = kube.kubectl_with_input(&create, &object.to_string()).await;
        assert!(accepted.is_ok(), "{kind}: {:#}", accepted.unwrap_err());
    }
}

#[tokio::test]
async fn permissions_for_the_api_can_be_supplied_by_the_user() {
    let documents = with(&INSECURE, &["rbac.create=false"]).await;
    for kind in ["Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"] {
        assert!(of_kind(&documents, kind).is_empty(), "{kind}");
    }
}

#[tokio::test]
async fn the_role_for_readers_opens_the_reports_of_a_namespace_and_nothing_else() {
    let kube = KubeApi::shared().await;
    let namespace = kube.namespace().await.expect("a namespace");
    release(kube, &namespace, &API).await;
    let elsewhere = kube.namespace().await.expect("a namespace");
    kube.kubectl(&["create", "serviceaccount", "reader", "-n", &namespace]).await.expect("a ServiceAccount");
    let role = format!("--clusterrole={namespace}-muster-report-reader");
    let account = format!("--serviceaccount={namespace}:reader");
    kube.kubectl(&["create", "rolebinding", "reader", "-n", &namespace, &role, &account]).await.expect("a RoleBinding");
    let reader = kube.client_as_service_account(&namespace, "reader").await.expect("a client");
    let right = |resource: &str, verb: &str, place: &str| attributes("muster.dev", resource, verb, place);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !may(&reader, &right("fleetreports/instances", "get", &namespace)).await {
        assert!(tokio::time::Instant::now() < deadline, "the role does not open the reports");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for refused in [
        right("fleetreports/instances", "get", &elsewhere),
        right("fleetreports/instances", "list", &namespace),
        right("fleetreports", "get", &namespace),
        attributes("", "secrets", "get", &namespace),
    ] {
        assert!(!may(&reader, &refused).await, "{refused:?}");
    }
}

#[tokio::test]
async fn the_notes_name_the_role_and_the_path_of_the_reports() {
    let kube = KubeApi::shared().await;
    let chart = chart();
    let install = ["install", "muster", &chart, "--namespace", "muster-system", "--dry-run=client"];
    let values = ["--set", "clusterName=prod,crds.enabled=false,watchNamespaces={ml},api.enabled=true"];
    let tls = ["--set", "api.tls.secretName=certificate"];
    let shown = kube.helm(&[&install[..], &values, &tls].concat()).await.expect("notes");
    for line in [
        "The API for FleetReports is served at https://muster-api.muster-system.svc:443.",
        "--clusterrole=muster-system-muster-report-reader --serviceaccount=ml:report-reader",
        "kubectl port-forward --namespace muster-system service/muster-api 8443:443",
        "kubectl create token report-reader --namespace ml --audience muster",
        "https://localhost:8443/v1/namespaces/ml/fleetreports/<name>/instances",
    ] {
        assert!(shown.contains(line), "{line:?} is not in {shown}");
    }
    let more = ["--set", "api.insecure=true,rbac.create=false"];
    let shown = kube.helm(&[&install[..], &values, &more].concat()).await.expect("notes");
    assert!(
        shown.contains("The API for FleetReports is served at http://muster-api.muster-system.svc:443."),
        "{shown}"
    );
    assert!(shown.contains("create on tokenreviews.authentication.k8s.io"), "{shown}");
    assert!(!shown.contains("muster-report-reader"), "a role that is not there: {shown}");
}
