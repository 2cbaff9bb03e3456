//! What a template resolves to, and what a stored revision and a recorded intent send, must be granted.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
};
use muster::crd::worker_fleet::WorkerFleet;
use muster_sandbox::{CallQuery, Fault, FaultAction, SecurityGroupSpec, SubnetSpec};
use serde_json::{Value, json};

use super::{launch_template, launches, spec, wait_false};
use crate::support::{
    fleet::{live, wait_settled, with},
    scene::{PATIENCE, REGION, Scene},
};

fn grants(scene: &Scene, change: Value) -> Value {
    json!({"spec": {"grants": [with(scene.full_grant(), change)]}})
}

fn tagged_subnet(scene: &Scene, zone: &str, cidr: &str) -> String {
    let spec = SubnetSpec {
        account: scene.account.clone(),
        region: REGION.into(),
        vpc_id: None,
        zone: zone.into(),
        cidr: cidr.into(),
        tags: [("tier".to_owned(), "workers".to_owned())].into(),
    };
    scene.sandbox.add_subnet(spec).unwrap().id
}

fn tagged_group(scene: &Scene, name: &str) -> String {
    let tags = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
    let (account, region) = (scene.account.clone(), REGION.into());
    scene.sandbox.add_security_group(SecurityGroupSpec { account, region, vpc_id: None, name: name.into(), tags }).id
}

#[tokio::test]
async fn every_subnet_and_group_that_is_selected_must_be_granted() {
    let scene = Scene::new().await;
    let subnets = [tagged_subnet(&scene, "a", "172.31.96.0/24"), tagged_subnet(&scene, "b", "172.31.97.0/24")];
    let groups = [tagged_group(&scene, "one"), tagged_group(&scene, "two")];
    let one_subnet = json!({"subnets": [subnets[0]], "securityGroups": ["*"]});
    scene.change_account(grants(&scene, one_subnet)).await;
    let _controller = scene.start().await;
    let by_tags = json!({"subnets": {"tags": {"tier": "workers"}}, "securityGroups": {"tags": {"app": "web"}}});
    scene.create::<WorkerFleet>("web", spec(&scene, 1, &by_tags)).await;
    let told = wait_false(&scene, "web", "Ready", "NotGranted").await;
    assert!(told.contains("it selects 2 subnets, and") && told.contains("does not grant 1 of them"), "{told}");
    assert!(!told.contains(&subnets[0]) && !told.contains(&subnets[1]), "{told}");

    scene.change_account(grants(&scene, json!({"subnets": subnets, "securityGroups": [groups[0]]}))).await;
    let of_groups =
        |fleet: &WorkerFleet| super::condition_of(fleet, "Ready").2.contains("it selects 2 security groups");
    scene.wait::<WorkerFleet>("web", "the security groups refused", of_groups).await;
    assert_eq!(launches(&scene), []);

    scene.change_account(grants(&scene, json!({"subnets": subnets, "securityGroups": groups}))).await;
    wait_settled(&scene, "web", 1).await;
}

#[tokio::test]
async fn a_launch_template_is_granted_by_its_name_or_its_id_with_what_it_contains() {
    let scene = Scene::new().await;
    let [web, data] = [launch_template::made(&scene, "web").await, launch_template::made(&scene, "data").await];
    let subnets: Vec<_> = scene.sandbox.subnets(&scene.account, REGION).into_iter().map(|subnet| subnet.id).collect();
    let _controller = scene.start().await;
    let fleet = |base: Value| {
        let fields = json!({"ami": null, "instanceTypes": null, "subnets": null, "launchTemplate": base});
        spec(&scene, 1, &fields)
    };
    // Neither names a subnet, so the default subnets are used.
    scene.change_account(grants(&scene, json!({"launchTemplates": [web], "subnets": [subnets[0]]}))).await;
    scene.create::<WorkerFleet>("by-name", fleet(json!({"name": "web"}))).await;
    let told = wait_false(&scene, "by-name", "Ready", "NotGranted").await;
    assert!(told.contains("template.subnets: it selects 3 subnets"), "{told}");
    scene.change_account(grants(&scene, json!({"launchTemplates": [web], "subnets": subnets}))).await;
    wait_settled(&scene, "by-name", 1).await;
    scene.create::<WorkerFleet>("other", fleet(json!({"name": "data"}))).await;
    let told = wait_false(&scene, "other", "Ready", "NotGranted").await;
    assert!(
        told.contains(&format!("launch template data ({data})")) && told.ends_with("launchTemplates: [data]"),
        "{told}"
    );

    scene.change_account(grants(&scene, json!({"launchTemplates": ["data"], "subnets": subnets}))).await;
    scene.create::<WorkerFleet>("by-id", fleet(json!({"id": data}))).await;
    for fleet in ["by-id", "other"] {
        wait_settled(&scene, fleet, 1).await;
    }
    assert_eq!(live(&scene).len(), 3);
}

#[tokio::test]
async fn a_forged_revision_launches_nothing_that_is_not_granted() {
    let scene = Scene::new().await;
    scene.change_account(grants(&scene, json!({"instanceProfiles": ["worker"]}))).await;
    let controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 0, &json!({}))).await;
    wait_settled(&scene, "web", 0).await;
    controller.kill().await;
    let revisions: Api<ControllerRevision> = scene.api();
    let mut forged = revisions.list(&ListParams::default()).await.unwrap().items.remove(0);
    let name = forged.name_any();
    revisions.delete(&name, &DeleteParams::default()).await.unwrap();
    forged.metadata.resource_version = None;
    forged.metadata.uid = None;
    forged.metadata.managed_fields = None;
    forged.data.0["request"]["instanceProfile"] = json!("admin");
    revisions.create(&PostParams::default(), &forged).await.unwrap();
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 1}})).await;
    let _controller = scene.start().await;
    let stalled = |fleet: &WorkerFleet| {
        let (truth, _, message) = super::condition_of(fleet, "Stalled");
        truth == "True" && message.contains(&name)
    };
    scene.wait::<WorkerFleet>("web", "the revision refused", stalled).await;
    assert_eq!(launches(&scene), []);
}

#[tokio::test]
async fn a_launch_that_is_no_longer_granted_is_not_repeated_but_searched_for() {
    let scene = Scene::new().await;
    let controller = scene.start().await;
    // It launches, and nobody learns of it.
    scene.sandbox.set_describe_lag(Duration::from_secs(5));
    scene.sandbox.add_fault(Fault::once("ec2", "RunInstances", FaultAction::DropAfter));
    scene.sandbox.add_fault(Fault::always("ec2", "RunInstances", FaultAction::DropBefore));
    let one = json!({"subnets": {"ids": [scene.sandbox.subnets(&scene.account, REGION)[0].id]}});
    scene.create::<WorkerFleet>("web", spec(&scene, 1, &one)).await;
    let query = CallQuery::operation("ec2", "RunInstances");
    let called = scene.sandbox.wait_for_calls(&query, |calls| calls.len() >= 2);
    tokio::time::timeout(PATIENCE, called).await.expect("launches");
    controller.kill().await;
    scene.change_account(grants(&scene, json!({"subnets": ["subnet-0000000f"]}))).await;
    let before = launches(&scene).len();
    scene.api::<WorkerFleet>().delete("web", &DeleteParams::default()).await.unwrap();
    let _controller = scene.start().await;
    scene.wait_gone::<WorkerFleet>("web").await;
    assert_eq!((launches(&scene).len(), live(&scene).len()), (before, 0));
}
