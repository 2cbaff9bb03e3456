//! Without an AwsAccount or without its grant, nothing is called for a WorkerFleet.

use kube::{
    Api,
    api::{DeleteParams, Patch},
};
use muster::crd::{aws_account::AwsAccount, worker_fleet::WorkerFleet};
use muster_sandbox::{CallQuery, Fault, FaultAction, RoleSpec, SandboxConfig};
use serde_json::json;

use crate::support::{
    fleet::{live, ready, settled, spec, status, wait_settled},
    scene::{self, REGION, Scene, condition},
};

/// Waits until the fleet is Stalled for `reason`, and returns the message.
async fn stalled(scene: &Scene, reason: &str) -> String {
    let fleet = scene
        .wait::<WorkerFleet>("web", &format!("Stalled for {reason}"), |fleet| {
            condition(&status(fleet).common.conditions, "Stalled").is_some_and(|(t, r, _)| t == "True" && r == reason)
        })
        .await;
    ready(&fleet).unwrap().2
}

/// In the region of the fleet only: in an unused region, the AwsAccount itself may search for orphaned instances.
fn calls_to_ec2(scene: &Scene) -> usize {
    let (service, region) = (Some("ec2".into()), Some(REGION.into()));
    scene.sandbox.calls(&CallQuery { service, region, ..CallQuery::default() }).len()
}

#[tokio::test]
async fn a_missing_account_is_used_as_soon_as_it_exists() {
    let scene = Scene::without_account(SandboxConfig::default()).await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 2, json!({}))).await;
    scene
        .wait::<WorkerFleet>("web", "Reconciling first", |fleet| {
            condition(&status(fleet).common.conditions, "Reconciling").is_some_and(|c| c.1 == "AwsAccountNotFound")
        })
        .await;
    let message = stalled(&scene, "AwsAccountNotFound").await;
    assert!(message.contains(&format!("AwsAccount {} does not exist; create it", scene.namespace)), "{message}");
    assert_eq!(scene.sandbox.calls(&CallQuery::default()).len(), 0);

    scene.create_account(json!({"regions": [REGION], "grants": [scene.full_grant()]})).await;
    wait_settled(&scene, "web", 2).await;
}

#[tokio::test]
async fn a_missing_grant_is_reported_with_the_line_to_add_and_works_once_it_is_added() {
    let scene = Scene::without_account(SandboxConfig::default()).await;
    let _controller = scene.start().await;
    let other = json!({"namespaces": {"names": ["elsewhere"]}, "kinds": ["*"]});
    scene.create_account(json!({"regions": ["us-east-1"], "grants": [other]})).await;
    scene.create::<WorkerFleet>("web", spec(&scene, 1, json!({}))).await;
    let message = stalled(&scene, "NotGranted").await;
    assert!(message.contains(&format!("spec.regions: [{REGION}]")), "{message}");

    scene.change_account(json!({"spec": {"regions": ["us-east-1", REGION]}})).await;
    scene
        .wait::<WorkerFleet>("web", "told of the grant", |fleet| {
            let line = format!("{{namespaces: {{names: [{}]}}, kinds: [WorkerFleet]}}", scene.namespace);
            ready(fleet).is_some_and(|(_, _, message)| message.contains(&line))
        })
        .await;
    assert_eq!(calls_to_ec2(&scene), 0);

    let labelled = json!({"namespaces": {"selector": {"matchLabels": {"team": "ml"}}}, "kinds": ["WorkerFleet"],
        "subnets": ["*"]});
    scene.change_account(json!({"spec": {"grants": [labelled]}})).await;
    let namespaces = Api::<k8s_openapi::api::core::v1::Namespace>::all(scene.kube.clone());
    let label = json!({"metadata": {"labels": {"team": "ml"}}});
    namespaces.patch(&scene.namespace, &Default::default(), &Patch::Merge(label)).await.unwrap();
    wait_settled(&scene, "web", 1).await;
}

#[tokio::test]
async fn an_account_whose_identity_is_not_verified_is_never_used() {
    let scene = Scene::without_account(SandboxConfig::default()).await;
    let role = "arn:aws:iam::222222222222:role/nobody";
    scene.create_account(json!({"roleARN": role, "regions": [REGION], "grants": [scene.full_grant()]})).await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 1, json!({}))).await;
    let message = stalled(&scene, "AwsAccountNotReady").await;
    assert!(message.contains("AccessDenied"), "{message}");
    assert_eq!(calls_to_ec2(&scene), 0);
}

#[tokio::test]
async fn each_namespace_has_its_own_role_session() {
    let scene = Scene::without_account(SandboxConfig::default()).await;
    let role = RoleSpec {
        allowed_principals: vec![scene.account.to_string()],
        ..RoleSpec::new(&"222222222222".parse().unwrap(), "muster")
    };
    let spec_of_account = json!({"roleARN": role.arn(), "regions": [REGION], "grants": [scene.full_grant()]});
    scene.sandbox.put_role(role);
    scene.create_account(spec_of_account).await;
    let _controller = scene.start().await;
    let mut fleet = spec(&scene, 1, json!({}));
    let theirs: Vec<_> =
        scene.sandbox.subnets(&"222222222222".parse().unwrap(), REGION).into_iter().map(|s| s.id).collect();
    fleet["template"]["subnets"]["ids"] = json!(theirs);
    scene.create::<WorkerFleet>("web", fleet).await;
    wait_settled(&scene, "web", 1).await;
    let launch = &scene.sandbox.calls(&CallQuery::operation("ec2", "RunInstances"))[0];
    let session = format!("assumed-role/muster/muster-{}", scene.namespace);
    assert!(launch.principal_arn.as_ref().unwrap().ends_with(&session), "{:?}", launch.principal_arn);
    assert_eq!(launch.account.as_ref().unwrap().as_str(), "222222222222");
}

#[tokio::test]
async fn an_account_whose_identity_moves_to_another_aws_account_is_not_used() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 1, json!({}))).await;
    wait_settled(&scene, "web", 1).await;
    // Created again with the same name for another account.
    let accounts = Api::<AwsAccount>::all(scene.kube.clone());
    let let_go = json!({"metadata": {"annotations": {"muster.dev/orphan": "true"}}});
    accounts.patch(&scene.namespace, &Default::default(), &Patch::Merge(let_go)).await.unwrap();
    accounts.delete(&scene.namespace, &DeleteParams::default()).await.unwrap();
    let role = RoleSpec {
        allowed_principals: vec![scene.account.to_string()],
        ..RoleSpec::new(&"222222222222".parse().unwrap(), "muster")
    };
    let moved = json!({"roleARN": role.arn(), "regions": [REGION], "grants": [scene.full_grant()]});
    scene.sandbox.put_role(role);
    let gone =
        kube::runtime::wait::await_condition(accounts.clone(), &scene.namespace, |a: Option<&AwsAccount>| a.is_none());
    tokio::time::timeout(scene::PATIENCE, gone).await.expect("the account is gone").unwrap();
    scene.create_account(moved).await;

    let message = stalled(&scene, "AccountChanged").await;
    assert!(message.contains("222222222222") && message.contains(scene.account.as_str()), "{message}");
    let elsewhere = CallQuery { service: Some("ec2".into()), ..CallQuery::default() };
    let elsewhere = elsewhere.account(&"222222222222".parse().unwrap());
    assert_eq!(scene.sandbox.calls(&elsewhere).len(), 0);
}

#[tokio::test]
async fn an_account_is_kept_while_a_fleet_needs_it() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 1, json!({}))).await;
    wait_settled(&scene, "web", 1).await;
    let accounts = Api::<AwsAccount>::all(scene.kube.clone());
    accounts.delete(&scene.namespace, &DeleteParams::default()).await.unwrap();
    let kept = scene::wait(accounts.clone(), &scene.namespace, "kept", |account: &AwsAccount| {
        account
            .status
            .as_ref()
            .is_some_and(|s| condition(&s.common.conditions, "Ready").is_some_and(|c| c.1 == "InUse"))
    })
    .await;
    let (_, _, message) = condition(&kept.status.unwrap().common.conditions, "Ready").unwrap();
    assert!(message.contains(&format!("WorkerFleet {}/web", scene.namespace)), "{message}");

    // The fleet can still clean up. It is the last object that uses the account.
    scene.api::<WorkerFleet>().delete("web", &DeleteParams::default()).await.unwrap();
    scene.wait_gone::<WorkerFleet>("web").await;
    assert_eq!(live(&scene).len(), 0);
    let gone = kube::runtime::wait::await_condition(accounts, &scene.namespace, |a: Option<&AwsAccount>| a.is_none());
    tokio::time::timeout(scene::PATIENCE, gone).await.expect("the account is gone").unwrap();
}

#[tokio::test]
async fn a_fleet_without_an_account_is_kept_until_it_is_orphaned() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 2, json!({}))).await;
    wait_settled(&scene, "web", 2).await;
    scene.sandbox.revoke_key(&scene.account.root_access_key());
    scene.api::<WorkerFleet>().delete("web", &DeleteParams::default()).await.unwrap();
    let fleet = scene
        .wait::<WorkerFleet>("web", "held with the reason and the way out", |fleet| {
            ready(fleet).is_some_and(|(t, _, message)| t == "False" && message.contains("muster.dev/orphan=true"))
        })
        .await;
    let available = condition(&status(&fleet).common.conditions, "Available").unwrap();
    assert_eq!(available.0, "Unknown", "no instance can be described: {}", available.2);
    assert!(!settled(&fleet, 2));
    scene.change::<WorkerFleet>("web", json!({"metadata": {"annotations": {"muster.dev/orphan": "true"}}})).await;
    scene.wait_gone::<WorkerFleet>("web").await;
    assert_eq!(live(&scene).len(), 2, "AWS is left as it was");
}

#[tokio::test]
async fn an_account_released_by_annotation_is_no_longer_used() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 1, json!({}))).await;
    wait_settled(&scene, "web", 1).await;
    scene.change_account(json!({"metadata": {"annotations": {"muster.dev/orphan": "true"}}})).await;
    let accounts = Api::<AwsAccount>::all(scene.kube.clone());
    accounts.delete(&scene.namespace, &DeleteParams::default()).await.unwrap();
    stalled(&scene, "AwsAccountNotFound").await;
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 2}})).await;
    reconciled_once(&scene).await;
    assert_eq!(live(&scene).len(), 1);
}

/// Waits until the current spec of the fleet has been reconciled.
async fn reconciled_once(scene: &Scene) {
    scene
        .wait::<WorkerFleet>("web", "the new spec reconciled", |fleet| {
            status(fleet).common.observed_generation == fleet.metadata.generation
        })
        .await;
}

#[tokio::test]
async fn a_removed_grant_takes_effect_immediately_even_if_sts_does_not_respond() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 1, json!({}))).await;
    wait_settled(&scene, "web", 1).await;
    let unavailable = FaultAction::Error { code: "ServiceUnavailable".into(), message: None, status: Some(503) };
    scene.sandbox.add_fault(Fault::always("sts", "GetCallerIdentity", unavailable));
    scene.change_account(json!({"spec": {"grants": []}})).await;
    stalled(&scene, "NotGranted").await;
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 2}})).await;
    reconciled_once(&scene).await;
    assert_eq!(live(&scene).len(), 1);
}

#[tokio::test]
async fn an_object_that_is_not_granted_anything_does_not_keep_an_account_from_being_deleted() {
    let scene = Scene::new().await;
    let other = json!({"namespaces": {"names": ["elsewhere"]}, "kinds": ["*"]});
    scene.change_account(json!({"spec": {"grants": [other]}})).await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 1, json!({}))).await;
    stalled(&scene, "NotGranted").await;
    let accounts = Api::<AwsAccount>::all(scene.kube.clone());
    accounts.delete(&scene.namespace, &DeleteParams::default()).await.unwrap();
    let gone = kube::runtime::wait::await_condition(accounts, &scene.namespace, |a: Option<&AwsAccount>| a.is_none());
    tokio::time::timeout(scene::PATIENCE, gone).await.expect("the account is gone").unwrap();
}
