//! A standby takes over from a leader that dies, and a leader stops on request or when it loses its lease.

use kube::Api;
use muster::{controller, crd::aws_account::AwsAccount, lease::LeaseName};

use super::ready;
use crate::support::scene::{self, Controller, Scene};

#[tokio::test]
async fn a_standby_becomes_leader_when_the_leader_is_killed() {
    let scene = Scene::new().await;
    let lease = LeaseName { namespace: scene.namespace.clone(), name: "muster".into() };
    let config =
        |pod: &str| muster::config::Config { lease: Some(lease.clone()), pod_name: pod.into(), ..scene.config() };
    let accounts = Api::<AwsAccount>::all(scene.kube.clone());
    let leader = Controller::start(config("a"), scene.connection(), |client| client).await;
    scene::wait(accounts.clone(), &scene.namespace, "Ready", ready).await;
    let _standby = Controller::start(config("b"), scene.connection(), |client| client).await;
    leader.kill().await;

    let mut second = scene.create_account_named(&format!("{}-b", scene.namespace), account_spec()).await;
    second = scene::wait(accounts, second.metadata.name.as_deref().unwrap(), "Ready", ready).await;
    assert!(second.status.is_some());
}

#[tokio::test]
async fn a_controller_stops_on_a_signal_and_when_its_lease_is_taken() {
    let scene = Scene::new().await;
    let lease = LeaseName { namespace: scene.namespace.clone(), name: "muster".into() };
    let config =
        |pod: &str| muster::config::Config { lease: Some(lease.clone()), pod_name: pod.into(), ..scene.config() };
    let accounts = Api::<AwsAccount>::all(scene.kube.clone());
    let told = Controller::start(config("told"), scene.connection(), |client| client).await;
    scene::wait(accounts.clone(), &scene.namespace, "Ready", ready).await;
    told.stop().await.unwrap();

    let robbed = Controller::start(config("robbed"), scene.connection(), |client| client).await;
    let leases = scene.api::<k8s_openapi::api::coordination::v1::Lease>();
    scene::wait(leases, "muster", "held by the second", |lease| {
        lease.spec.as_ref().and_then(|s| s.holder_identity.as_deref()).is_some_and(|h| h.starts_with("robbed"))
    })
    .await;
    let theft = serde_json::json!({"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 3600}});
    scene.change::<k8s_openapi::api::coordination::v1::Lease>("muster", theft).await;
    assert!(matches!(robbed.ended().await, Err(controller::Error::Lost(_))));
}

fn account_spec() -> serde_json::Value {
    serde_json::json!({"regions": [scene::REGION]})
}
