//! Leader election against a real API server.

use std::time::{Duration, Instant};

use muster::{
    clock::Timings,
    config::LeaseName,
    lease::{Elector, Leadership, Lost},
};
use muster_world::KubeApi;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::scene::{PATIENCE, timings};

struct Candidate {
    leadership: Leadership,
    stop: CancellationToken,
    task: JoinHandle<Result<(), Lost>>,
}

async fn candidate(namespace: &str, holder: &str, timings: Timings) -> Candidate {
    let client = KubeApi::shared().await.admin().await.unwrap();
    let name = LeaseName { namespace: namespace.into(), name: "muster".into() };
    let (elector, leadership) = Elector::new(client, name, holder.into(), timings);
    let stop = CancellationToken::new();
    let task = tokio::spawn(elector.run(stop.clone().cancelled_owned()));
    Candidate { leadership, stop, task }
}

async fn leads(candidate: &Candidate) {
    tokio::time::timeout(PATIENCE, candidate.leadership.acquired()).await.expect("never became leader");
}

#[tokio::test]
async fn one_leads_and_the_next_takes_over_only_after_a_full_lease() {
    let namespace = KubeApi::shared().await.namespace().await.unwrap();
    let first = candidate(&namespace, "a", timings()).await;
    leads(&first).await;
    let second = candidate(&namespace, "b", timings()).await;
    assert_eq!(second.leadership.held_until(), None);

    first.task.abort();
    let last_end = first.leadership.held_until().unwrap();
    leads(&second).await;
    assert!(Instant::now() >= last_end, "taken over while the first could still believe to lead");
}

#[tokio::test]
async fn a_leader_that_stops_hands_over_at_once() {
    let namespace = KubeApi::shared().await.namespace().await.unwrap();
    let patient = Timings { lease: Duration::from_secs(40), ..timings() };
    let quick = Timings { lease: Duration::from_secs(3), ..timings() };
    let first = candidate(&namespace, "a", patient).await;
    leads(&first).await;
    first.stop.cancel();
    first.task.await.unwrap().unwrap();
    assert_eq!(first.leadership.held_until(), None);

    let begun = Instant::now();
    let second = candidate(&namespace, "b", quick).await;
    leads(&second).await;
    assert!(begun.elapsed() < Duration::from_secs(20), "the second waited as if the lease had not been given up");
}

#[tokio::test]
async fn a_leader_whose_lease_was_taken_says_so() {
    let namespace = KubeApi::shared().await.namespace().await.unwrap();
    let first = candidate(&namespace, "a", timings()).await;
    leads(&first).await;
    // Somebody writes another holder into the lease, as a takeover does.
    let api = kube::Api::<k8s_openapi::api::coordination::v1::Lease>::namespaced(
        KubeApi::shared().await.admin().await.unwrap(),
        &namespace,
    );
    let theft = serde_json::json!({"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 3600}});
    api.patch("muster", &Default::default(), &kube::api::Patch::Merge(theft)).await.unwrap();
    let lost = tokio::time::timeout(PATIENCE, first.task).await.expect("never noticed").unwrap();
    assert!(lost.is_err());
    assert_eq!(first.leadership.held_until(), None);
}
