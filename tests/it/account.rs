//! AwsAccount: nobody acts as anybody before STS has said who that is.

use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use muster::{aws_account::AwsAccount, worker_fleet::WorkerFleet};
use muster_sandbox::{CallQuery, RoleSpec, SandboxConfig};
use serde_json::json;

use crate::{
    fleet::{live, spec, wait_settled},
    scene::{self, REGION, Scene, condition},
};

fn is(account: &AwsAccount, type_: &str, status: &str, reason: &str) -> bool {
    let conditions = account.status.iter().flat_map(|s| &s.common.conditions);
    conditions.into_iter().any(|c| c.type_ == type_ && c.status == status && c.reason == reason)
}

fn message(account: &AwsAccount, type_: &str) -> String {
    let conditions = account.status.as_ref().map(|s| s.common.conditions.clone()).unwrap_or_default();
    condition(&conditions, type_).map(|(_, _, message)| message).unwrap_or_default()
}

async fn wait(scene: &Scene, what: &str, test: impl Fn(&AwsAccount) -> bool) -> AwsAccount {
    scene::wait(Api::all(scene.kube.clone()), &scene.namespace, what, test).await
}

#[tokio::test]
async fn an_account_without_a_role_is_the_controllers_own() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    let account = wait(&scene, "Ready", |a| is(a, "Ready", "True", "IdentityVerified")).await;
    assert_eq!(account.status.unwrap().account_id, Some(scene.account.to_string()));
    assert_eq!(account.metadata.finalizers, Some(vec!["muster.dev/awsaccount".to_owned()]));
}

#[tokio::test]
async fn a_role_is_taken_on_with_its_external_id_and_a_wrong_one_is_refused_with_what_to_mend() {
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
async fn a_role_that_does_not_exist_is_refused() {
    let scene = Scene::without_account(SandboxConfig::default()).await;
    scene.create_account(json!({"roleARN": "arn:aws:iam::222222222222:role/nobody", "regions": [REGION]})).await;
    let _controller = scene.start().await;
    wait(&scene, "Stalled", |a| is(a, "Stalled", "True", "AwsDenied")).await;
}

#[tokio::test]
async fn a_role_can_be_added_and_taken_back_but_not_one_of_another_account() {
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
async fn nothing_is_written_at_rest() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    let before = wait(&scene, "Ready", |a| is(a, "Ready", "True", "IdentityVerified")).await;
    // A second proof of identity means that a whole period has passed.
    let proofs = CallQuery::operation("sts", "GetCallerIdentity");
    scene.sandbox.wait_for_calls(&proofs, |calls| calls.len() >= 2).await;
    let after = Api::<AwsAccount>::all(scene.kube.clone()).get(&scene.namespace).await.unwrap();
    assert_eq!(before.resource_version(), after.resource_version());
}

#[tokio::test]
async fn a_request_to_look_now_is_echoed() {
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
async fn a_suspended_account_says_so_and_an_unused_one_goes() {
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
async fn credentials_that_are_revoked_show_and_recover() {
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

#[tokio::test]
async fn machines_whose_owner_is_gone_are_reported_and_left_alone() {
    let scene = Scene::new().await;
    let controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 1, json!({}))).await;
    scene.create::<WorkerFleet>("other", spec(&scene, 1, json!({}))).await;
    for fleet in ["web", "other"] {
        wait_settled(&scene, fleet, 1).await;
    }
    let path = format!("{}/web", scene.namespace);
    let left = live(&scene).into_iter().find(|worker| worker.tags["muster.dev:fleet"] == path).unwrap().id;
    scene.change::<WorkerFleet>("web", json!({"metadata": {"annotations": {"muster.dev/orphan": "true"}}})).await;
    scene.api::<WorkerFleet>().delete("web", &DeleteParams::default()).await.unwrap();
    scene.wait_gone::<WorkerFleet>("web").await;
    let accounts = Api::<AwsAccount>::all(scene.kube.clone());
    let look = async |at: &str| {
        let look = json!({"metadata": {"annotations": {"muster.dev/requested-at": at}}});
        accounts.patch(&scene.namespace, &PatchParams::default(), &Patch::Merge(look)).await.unwrap();
    };
    look("now").await;
    let told = wait(&scene, "the machine", |a| is(a, "OrphansFound", "True", "OrphansFound")).await;
    let told = message(&told, "OrphansFound");
    assert!(told.contains(&format!("{left} in {REGION} (of {path} with uid ")) && !told.contains("/other"), "{told}");
    assert_eq!(live(&scene).len(), 2);

    // Nobody else looks there any more, and what comes of the machine is told all the same.
    scene.api::<WorkerFleet>().delete("other", &DeleteParams::default()).await.unwrap();
    scene.wait_gone::<WorkerFleet>("other").await;
    controller.kill().await;
    scene.sandbox.terminate_instance(&left).unwrap();
    let _controller = scene.start().await;
    wait(&scene, "no machine", |a| is(a, "OrphansFound", "False", "NoOrphans")).await;
}

#[tokio::test]
async fn machines_of_an_object_that_was_torn_away_are_found_after_a_start_and_taken_over_as_it_is_advised() {
    let scene = Scene::new().await;
    let controller = scene.start().await;
    let uid = scene.create::<WorkerFleet>("web", spec(&scene, 1, json!({}))).await.uid().unwrap();
    wait_settled(&scene, "web", 1).await;
    let left = live(&scene).remove(0).id;
    controller.kill().await;
    scene.change::<WorkerFleet>("web", json!({"metadata": {"finalizers": null}})).await;
    scene.api::<WorkerFleet>().delete("web", &DeleteParams::default()).await.unwrap();
    scene.wait_gone::<WorkerFleet>("web").await;

    let _controller = scene.start().await;
    let told = wait(&scene, "the machine", |a| is(a, "OrphansFound", "True", "OrphansFound")).await;
    let told = message(&told, "OrphansFound");
    let path = format!("{}/web", scene.namespace);
    assert!(told.contains(&format!("{left} in {REGION} (of {path} with uid {uid})")), "{told}");
    assert!(told.contains("muster.dev/adopt=<uid>"), "{told}");
    scene.create::<WorkerFleet>("web", spec(&scene, 1, json!({}))).await;
    scene.change::<WorkerFleet>("web", json!({"metadata": {"annotations": {"muster.dev/adopt": uid}}})).await;
    wait_settled(&scene, "web", 1).await;
    assert_eq!(live(&scene).into_iter().map(|worker| worker.id).collect::<Vec<_>>(), [left]);
    wait(&scene, "no machine", |a| is(a, "OrphansFound", "False", "NoOrphans")).await;
}
