//! Leader election with a Lease on a real API server.

use std::time::{Duration, Instant};

use futures::{FutureExt, future};
use jiff::SignedDuration;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use muster::{
    clock::Timings,
    lease::{Elector, Leadership, LeaseName, Lost},
};
use muster_world::KubeApi;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    controller::clock_skew::{OFF, now},
    support::{
        scene::{self, PATIENCE, timings},
        tap::Tap,
    },
};

struct Candidate {
    leadership: Leadership,
    stop: CancellationToken,
    task: JoinHandle<Result<(), Lost>>,
}

async fn candidate(namespace: &str, holder: &str, timings: Timings) -> Candidate {
    candidate_behind(&Tap::new(), namespace, holder, timings).await
}

async fn candidate_behind(tap: &Tap, namespace: &str, holder: &str, timings: Timings) -> Candidate {
    let client = tap.kube(KubeApi::shared().await.admin().await.unwrap());
    let name = LeaseName { namespace: namespace.into(), name: "muster".into() };
    let (elector, leadership) = Elector::new(client, name, (holder.into(), None), timings);
    let stop = CancellationToken::new();
    let task = tokio::spawn(elector.run(stop.clone().cancelled_owned()));
    Candidate { leadership, stop, task }
}

async fn leads(candidate: &Candidate) {
    tokio::time::timeout(PATIENCE, candidate.leadership.acquired()).await.expect("never became leader");
}

#[tokio::test]
async fn a_standby_acquires_the_lease_only_after_a_full_lease_duration() {
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
async fn a_leader_that_stops_releases_the_lease_immediately() {
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
async fn a_leader_whose_lease_was_taken_returns_an_error() {
    let namespace = KubeApi::shared().await.namespace().await.unwrap();
    let first = candidate(&namespace, "a", timings()).await;
    leads(&first).await;
    // Writes another holder into the Lease, as a takeover does.
    let api = Api::<Lease>::namespaced(KubeApi::shared().await.admin().await.unwrap(), &namespace);
    let theft = serde_json::json!({"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 3600}});
    api.patch("muster", &Default::default(), &kube::api::Patch::Merge(theft)).await.unwrap();
    let lost = tokio::time::timeout(PATIENCE, first.task).await.expect("never noticed").unwrap();
    assert!(lost.is_err());
    assert_eq!(first.leadership.held_until(), None);
}

/// The first candidate renews its lease for two lease durations and then stops. Their clocks are ahead by these offsets.
async fn with_clock_offsets(first_ahead: SignedDuration, second_ahead: SignedDuration) {
    let case = format!("{first_ahead} and {second_ahead}");
    let api = KubeApi::shared().await;
    let namespace = api.namespace().await.unwrap();
    let leases = Api::<Lease>::namespaced(api.admin().await.unwrap(), &namespace);
    let (first_tap, second_tap) = (Tap::new().with_clock_ahead(first_ahead), Tap::new().with_clock_ahead(second_ahead));
    let first = candidate_behind(&first_tap, &namespace, "a", timings()).await;
    leads(&first).await;
    let second = candidate_behind(&second_tap, &namespace, "b", timings()).await;
    let mut last = None;
    for _ in 0..12 {
        let renewed = |lease: &Lease| lease.metadata.resource_version != last;
        let lease = scene::wait(leases.clone(), "muster", "renewed", renewed).await;
        let spec = lease.spec.unwrap();
        assert_eq!(spec.holder_identity.as_deref(), Some("a"), "{case}");
        let off = spec.renew_time.unwrap().0.duration_since(now()) - first_ahead;
        assert!(off.abs() < SignedDuration::from_mins(2), "{case}: {off} off what it should be off");
        assert!(first.leadership.held_until().is_some(), "{case}");
        assert_eq!(second.leadership.held_until(), None, "{case}: two lead");
        last = lease.metadata.resource_version;
    }
    first.task.abort();
    let last_end = first.leadership.held_until().unwrap();
    leads(&second).await;
    assert!(Instant::now() >= last_end, "{case}: taken over while the first could still believe to lead");
}

#[tokio::test]
async fn different_clocks_neither_advance_nor_prevent_leadership() {
    let none = SignedDuration::ZERO;
    let cases = [(OFF, none), (-OFF, none), (none, OFF), (none, -OFF)];
    future::join_all(cases.map(|(first, second)| with_clock_offsets(first, second).boxed_local())).await;
}
