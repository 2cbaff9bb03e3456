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
        (&["clusterName=a", "podDisruptionBudget.maxUnavailable=0"], "at '/podDisruptionBudget/maxUnavailable'"),
    ] {
        match template(settings).await {
            Ok(_) => panic!("{settings:?} is rendered"),
            Err(refusal) => assert!(refusal.contains(reason), "{settings:?} is refused with {refusal}"),
        }
    }
}
