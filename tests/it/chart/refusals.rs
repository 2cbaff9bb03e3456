//! Helm rejects invalid values with a message that says what is wrong.

use super::template;

#[tokio::test]
async fn invalid_values_are_rejected_with_the_problem() {
    for (settings, reason) in [
        (&[][..], "clusterName is required: name this cluster, for example --set clusterName=prod"),
        (&["clusterName=my cluster"], "at '/clusterName': 'my cluster' does not match pattern"),
        (&["clusterName=a", "replicaCoun=3"], "additional properties 'replicaCoun' not allowed"),
        (&["clusterName=a", "leaderElection.enable=false"], "at '/leaderElection': additional properties 'enable'"),
        (
            &["clusterName=a", "leaderElection.enabled=false"],
            "replicaCount must be 1 with leaderElection.enabled=false: without the lease every replica would act",
        ),
        (&["clusterName=a", "replicaCount=many"], "at '/replicaCount': got string, want integer"),
        (&["clusterName=a", "replicaCount=11"], "at '/replicaCount': maximum: got 11, want 10"),
        (&["clusterName=a", "watchNamespaces={Prod}"], "at '/watchNamespaces/0': 'Prod' does not match pattern"),
        (&["clusterName=a", "watchNamespaces={a,a}"], "at '/watchNamespaces': items at 0 and 1 are equal"),
        (&["clusterName=a", "controller.concurrency=0"], "at '/controller/concurrency': minimum: got 0, want 1"),
        (&["clusterName=a", "controller.sweepSeconds=3601"], "at '/controller/sweepSeconds': maximum"),
        (&["clusterName=a", "controller.logLevel="], "at '/controller/logLevel': minLength"),
        (&["clusterName=a", "image.pullPolicy=Sometimes"], "at '/image/pullPolicy': value must be one of"),
        (&["clusterName=a", "image.digest=abc"], "at '/image/digest': 'abc' does not match pattern"),
        (&["clusterName=a", "crds.keep=yes"], "at '/crds/keep': got string, want boolean"),
        (
            &["clusterName=a", "serviceAccount.create=false"],
            "serviceAccount.name is required with serviceAccount.create=false: name a ServiceAccount that exists",
        ),
        (
            &["clusterName=a", "api.enabled=true"],
            "api.enabled=true needs a certificate: name a Secret of type kubernetes.io/tls in api.tls.secretName",
        ),
        (
            &["clusterName=a", "api.enabled=true", "api.insecure=true", "api.tls.secretName=certificate"],
            "api.insecure=true serves without TLS, so a certificate in api.tls would not be used",
        ),
        (
            &["clusterName=a", "api.enabled=true", "api.tls.certManager.enabled=true"],
            "api.tls.certManager.issuerRef.name is required with api.tls.certManager.enabled=true",
        ),
        (
            &["clusterName=a", "api.enabled=true", "api.insecure=true", "api.ingress.enabled=true"],
            "api.ingress.hosts is required with api.ingress.enabled=true",
        ),
        (
            &["clusterName=a", "api.enabled=true", "api.insecure=true", "api.httpRoute.enabled=true"],
            "api.httpRoute.parentRefs is required with api.httpRoute.enabled=true",
        ),
        (&["clusterName=a", "api.port=8080"], "at '/api/port': 'not' failed"),
        (&["clusterName=a", "api.enable=true"], "at '/api': additional properties 'enable' not allowed"),
        (&["clusterName=a", "api.tls.secret=a"], "at '/api/tls': additional properties 'secret' not allowed"),
        (&["clusterName=a", "api.service.type=None"], "at '/api/service/type': value must be one of"),
        (&["clusterName=a", "api.ingress.hosts[0].paths[0]=/"], "at '/api/ingress/hosts/0': missing property 'host'"),
        (
            &["clusterName=a", "api.networkPolicy.from[0].cidr=a"],
            "at '/api/networkPolicy/from/0': additional properties",
        ),
        (&["clusterName=a", "podDisruptionBudget.maxUnavailable=0"], "at '/podDisruptionBudget/maxUnavailable'"),
    ] {
        match template(settings).await {
            Ok(_) => panic!("{settings:?} is rendered"),
            Err(refusal) => assert!(refusal.contains(reason), "{settings:?} is refused with {refusal}"),
        }
    }
}
