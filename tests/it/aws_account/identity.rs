//! Credentials of an AwsAccount are used only after STS has confirmed their identity.

use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch},
};
use muster::crd::aws_account::AwsAccount;
use muster_sandbox::{CallQuery, RoleSpec, SandboxConfig};
use serde_json::json;

use super::{is, message, wait};
use crate::support::scene::{self, REGION, Scene};

#[tokio::test]
async fn an_account_without_a_role_uses_the_controllers_identity() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    let account = wait(&scene, "Ready", |a| is(a, "Ready", "True", "IdentityVerified")).await;
    assert_eq!(account.status.unwrap().account_id, Some(scene.account.to_string()));
    assert_eq!(account.metadata.finalizers, Some(vec!["muster.dev/awsaccount".to_owned()]));
}

#[tokio::test]
async fn a_role_is_assumed_with_its_external_id_and_a_wrong_one_is_reported_with_the_fix() {
    let scene = Scene::without_account(SandboxConfig::default()).await;
    let role = RoleSpec {
        external_id: Some("right".into()),
        allowed_principals: vec![scene.account.to_string()],
        ..RoleSpec::new(&"222222222222".parse().unwrap(), "muster")
    };
    scene.sandbox.put_role(role);
    let spec =
        |id: &str| json!({"roleARN": "arn:aws:iam::222222222222:role/muster", "externalID": id, "regions": [REGION]});
    scene.create_account(spec("wrong")).await;
    let _controller = scene.start().await;
    let refused = wait(&scene, "Stalled", |a| is(a, "Stalled", "True", "AwsDenied")).await;
    let text = message(&refused, "Ready");
    assert!(
        text.contains("sts:AssumeRole") && text.contains("AccessDenied") && text.contains("trust policy"),
        "{text}"
    );

    let change = Patch::Merge(json!({"spec": spec("right")}));
    Api::<AwsAccount>::all(scene.kube.clone()).patch(&scene.namespace, &Default::default(), &change).await.unwrap();
    let ready = wait(&scene, "Ready", |a| is(a, "Ready", "True", "IdentityVerified")).await;
    assert_eq!(ready.status.as_ref().unwrap().account_id.as_deref(), Some("222222222222"));
    assert!(message(&ready, "Ready").contains("assumed-role/muster/"), "{}", message(&ready, "Ready"));
    assert!(!is(&ready, "Stalled", "True", "AwsDenied"));
}

#[tokio::test]
async fn a_role_that_does_not_exist_is_rejected() {
    let scene = Scene::without_account(SandboxConfig::default()).await;
    scene.create_account(json!({"roleARN": "arn:aws:iam::222222222222:role/nobody", "regions": [REGION]})).await;
    let _controller = scene.start().await;
    wait(&scene, "Stalled", |a| is(a, "Stalled", "True", "AwsDenied")).await;
}

#[tokio::test]
async fn a_role_can_be_added_and_removed_but_not_one_of_another_account() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    wait(&scene, "Ready", |a| is(a, "Ready", "True", "IdentityVerified")).await;
    let accounts = Api::<AwsAccount>::all(scene.kube.clone());
    let change = async |role: Option<&str>| {
        let change = Patch::Merge(json!({"spec": {"roleARN": role}}));
        accounts.patch(&scene.namespace, &Default::default(), &change).await
    };
    let refused = change(Some("arn:aws:iam::222222222222:role/muster")).await.expect_err("another account");
    assert!(refused.to_string().contains("the account of an AwsAccount cannot change"), "{refused}");

    let typo = format!("arn:aws:iam::{}:role/nobody", scene.account);
    change(Some(&typo)).await.expect("a role of the same account");
    wait(&scene, "Stalled", |a| is(a, "Stalled", "True", "AwsDenied")).await;
    change(None).await.expect("the way back");
    wait(&scene, "Ready again", |a| is(a, "Ready", "True", "IdentityVerified")).await;
}

#[tokio::test]
async fn an_idle_account_causes_no_writes() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    let before = wait(&scene, "Ready", |a| is(a, "Ready", "True", "IdentityVerified")).await;
    // A second verification means that a whole period has passed.
    let proofs = CallQuery::operation("sts", "GetCallerIdentity");
    scene.sandbox.wait_for_calls(&proofs, |calls| calls.len() >= 2).await;
    let after = Api::<AwsAccount>::all(scene.kube.clone()).get(&scene.namespace).await.unwrap();
    assert_eq!(before.resource_version(), after.resource_version());
}

#[tokio::test]
async fn a_requested_reconcile_is_acknowledged_in_the_status() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    wait(&scene, "Ready", |a| is(a, "Ready", "True", "IdentityVerified")).await;
    let ask = json!({"metadata": {"annotations": {"muster.dev/requested-at": "noon"}}});
    let accounts = Api::<AwsAccount>::all(scene.kube.clone());
    accounts.patch(&scene.namespace, &Default::default(), &Patch::Merge(ask)).await.unwrap();
    wait(&scene, "the echo", |a| {
        a.status.as_ref().and_then(|s| s.common.last_handled_requested_at.as_deref()) == Some("noon")
    })
    .await;
}

#[tokio::test]
async fn a_suspended_account_has_a_condition_and_an_unused_one_can_be_deleted() {
    let scene = Scene::without_account(SandboxConfig::default()).await;
    scene.create_account(json!({"regions": [REGION], "suspend": true})).await;
    let _controller = scene.start().await;
    let account = wait(&scene, "Suspended", |a| is(a, "Suspended", "True", "Suspended")).await;
    let accounts = Api::<AwsAccount>::all(scene.kube.clone());
    accounts.delete(&scene.namespace, &DeleteParams::default()).await.unwrap();
    let uid = account.uid().unwrap();
    let gone = kube::runtime::wait::conditions::is_deleted(&uid);
    let waited = kube::runtime::wait::await_condition(accounts, &scene.namespace, gone);
    tokio::time::timeout(scene::PATIENCE, waited).await.expect("it is still there").unwrap();
}

#[tokio::test]
async fn revoked_credentials_are_reported_and_recover() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    wait(&scene, "Ready", |a| is(a, "Ready", "True", "IdentityVerified")).await;
    let key = format!("AKIASANDBOX{}", scene.account);
    scene.sandbox.revoke_key(&key);
    let stalled = wait(&scene, "Stalled", |a| is(a, "Stalled", "True", "AwsDenied")).await;
    assert!(message(&stalled, "Stalled").contains("sts:GetCallerIdentity"), "{}", message(&stalled, "Stalled"));
    scene.sandbox.restore_key(&key);
    wait(&scene, "Ready again", |a| is(a, "Ready", "True", "IdentityVerified")).await;
}
