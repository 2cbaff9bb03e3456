//! The AMI: how it is found, and what happens when it changes, is missing or is deprecated.

use std::time::Duration;

use kube::{Api, api::PostParams};
use muster::{clock::Timings, config::Config, crd::worker_fleet::WorkerFleet};
use muster_sandbox::{AMAZON_LINUX_X86_64, AccountId, CallQuery, ImageSpec, ImageState};
use serde_json::{Value, json};

use super::{condition_of, image, launches, spec, wait_false, wait_for_call};
use crate::support::{
    fleet::{ids, live, status, wait_settled},
    scene::{Controller, PATIENCE, REGION, Scene, timings},
};

/// Registers a public image of `owner`, created on `day` of January.
fn publish(scene: &Scene, owner: &AccountId, name: &str, day: u32) -> String {
    let created = Some(format!("2025-01-{day:02}T00:00:00Z").parse().unwrap());
    let tags = [("app".to_owned(), "web".to_owned())].into();
    let spec = ImageSpec { public: true, created, tags, ..ImageSpec::new(owner, REGION, name) };
    scene.sandbox.add_image(spec).id
}

fn by_name(owners: &[&str]) -> Value {
    json!({"ami": {"selector": {"owners": owners, "name": "app-*"}}})
}

#[tokio::test]
async fn an_image_is_resolved_by_a_parameter_or_a_selector() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    publish(&scene, &scene.account, "app-1", 1);
    let newest = publish(&scene, &scene.account, "app-2", 2);
    scene.sandbox.put_public_parameter(REGION, "/aws/service/app/latest", &newest);
    for (name, ami) in [
        ("parameter", json!({"ami": {"ssmParameter": "/aws/service/app/latest"}})),
        ("name", by_name(&["self"])),
        ("tags", json!({"ami": {"selector": {"owners": [scene.account.as_str()], "tags": {"app": "web"}}}})),
    ] {
        scene.create::<WorkerFleet>(name, spec(&scene, 1, &ami)).await;
        let fleet = wait_settled(&scene, name, 1).await;
        assert_eq!(image(&status(&fleet)), (newest.clone(), Some("app-2".into()), false), "{name}");
        let (truth, reason, message) = condition_of(&fleet, "AmiResolved");
        assert_eq!((&*truth, &*reason), ("True", "AmiFound"), "{message}");
    }
    assert!(live(&scene).iter().all(|worker| worker.image_id == newest));
}

#[tokio::test]
async fn a_requested_reconcile_uses_no_cached_images() {
    let scene = Scene::new().await;
    let config = scene.config();
    let seldom = Config { timings: Timings { sweep: PATIENCE * 10, ..config.timings }, ..config };
    let _controller = Controller::start(seldom, scene.connection(), |client| client).await;
    let name = |image: &str| scene.sandbox.put_public_parameter(REGION, "/aws/service/app/latest", image);
    let first = publish(&scene, &scene.account, "app-1", 1);
    name(&first);
    let fleets =
        [("parameter", json!({"ami": {"ssmParameter": "/aws/service/app/latest"}})), ("marks", by_name(&["self"]))];
    for (fleet, ami) in &fleets {
        scene.create::<WorkerFleet>(fleet, spec(&scene, 1, ami)).await;
        wait_settled(&scene, fleet, 1).await;
    }
    let second = publish(&scene, &scene.account, "app-2", 2);
    name(&second);
    for (fleet, _) in &fleets {
        scene.change::<WorkerFleet>(fleet, json!({"spec": {"replicas": 2}})).await;
        assert_eq!(image(&status(&wait_settled(&scene, fleet, 2).await)).0, first, "{fleet}: others refresh rarely");
        let request = json!({"metadata": {"annotations": {"muster.dev/requested-at": "1"}}});
        scene.change::<WorkerFleet>(fleet, request).await;
        let handled = |fleet: &WorkerFleet| status(fleet).common.last_handled_requested_at.as_deref() == Some("1");
        let refreshed = scene.wait::<WorkerFleet>(fleet, "the reconcile", handled).await;
        assert_eq!(image(&status(&refreshed)).0, second, "{fleet}");
    }
}

#[tokio::test]
async fn a_public_image_of_another_owner_is_never_used() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    let ours = publish(&scene, &scene.account, "app-2025", 1);
    let stranger: AccountId = "999999999999".parse().unwrap();
    let trap = publish(&scene, &stranger, "app-2025", 9);
    scene.create::<WorkerFleet>("web", spec(&scene, 2, &by_name(&["self"]))).await;
    wait_settled(&scene, "web", 2).await;
    assert!(live(&scene).iter().all(|worker| worker.image_id == ours), "never {trap}");
    // Not even when no trusted image is left.
    scene.create::<WorkerFleet>("other", spec(&scene, 1, &by_name(&["amazon"]))).await;
    let message = wait_false(&scene, "other", "AmiResolved", "AmiNotFound").await;
    assert!(message.contains("no image matches name app-* of owners amazon"), "{message}");
    assert_eq!(live(&scene).len(), 2);
}

#[tokio::test]
async fn a_pending_or_missing_image_blocks_launches() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    let id = publish(&scene, &scene.account, "app-1", 1);
    scene.sandbox.set_image_state(REGION, &id, ImageState::Pending).unwrap();
    scene.create::<WorkerFleet>("marks", spec(&scene, 1, &by_name(&["self"]))).await;
    scene.create::<WorkerFleet>("id", spec(&scene, 1, &json!({"ami": {"id": id}}))).await;
    scene.create::<WorkerFleet>("gone", spec(&scene, 1, &json!({"ami": {"id": "ami-0123456789abcdef0"}}))).await;
    scene
        .create::<WorkerFleet>("parameter", spec(&scene, 1, &json!({"ami": {"ssmParameter": "/aws/service/x"}})))
        .await;
    scene.sandbox.put_public_parameter(REGION, "/aws/service/secret", "hunter2hunter2");
    let secret = json!({"ami": {"ssmParameter": "/aws/service/secret"}});
    scene.create::<WorkerFleet>("secret", spec(&scene, 1, &secret)).await;
    for name in ["marks", "id"] {
        let message = wait_false(&scene, name, "AmiResolved", "AmiNotAvailable").await;
        assert!(message.contains(&id) && message.contains("pending"), "{message}");
    }
    let message = wait_false(&scene, "gone", "AmiResolved", "AwsNotFound").await;
    assert!(message.contains("InvalidAMIID.NotFound") && message.contains("change spec.template.ami"), "{message}");
    let message = wait_false(&scene, "parameter", "AmiResolved", "AwsNotFound").await;
    assert!(message.contains("ParameterNotFound"), "{message}");
    let message = wait_false(&scene, "secret", "AmiResolved", "AmiNotFound").await;
    assert!(message.contains("not the id of an image") && !message.contains("hunter2"), "{message}");
    assert_eq!(launches(&scene), []);

    scene.sandbox.set_image_state(REGION, &id, ImageState::Available).unwrap();
    wait_settled(&scene, "marks", 1).await;
    wait_settled(&scene, "id", 1).await;
}

#[tokio::test]
async fn a_deregistered_image_keeps_workers_and_blocks_launches_until_another_exists() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    let first = publish(&scene, &scene.account, "app-1", 1);
    scene.create::<WorkerFleet>("web", spec(&scene, 3, &by_name(&["self"]))).await;
    wait_settled(&scene, "web", 3).await;
    let before = ids(&live(&scene));
    scene.sandbox.deregister_image(REGION, &first).unwrap();
    wait_false(&scene, "web", "AmiResolved", "AmiNotFound").await;
    assert_eq!(ids(&live(&scene)), before);
    let fleet = Api::<WorkerFleet>::namespaced(scene.kube.clone(), &scene.namespace).get("web").await.unwrap();
    assert_eq!(status(&fleet).ready_replicas, 3);

    let calls = launches(&scene).len();
    let lost = before.first().unwrap();
    scene.sandbox.terminate_instance(lost).unwrap();
    let message = wait_false(&scene, "web", "Ready", "AmiNotFound").await;
    assert!(message.contains("2 of 3 workers are ready") && message.contains("template.ami"), "{message}");
    assert_eq!(launches(&scene).len(), calls);
    let second = publish(&scene, &scene.account, "app-2", 2);
    let fleet = wait_settled(&scene, "web", 3).await;
    assert_eq!(image(&status(&fleet)).0, second);
    let kept = live(&scene).iter().filter(|worker| worker.image_id == first).count();
    assert_eq!(kept, 2, "a new image is for new workers only");
}

#[tokio::test]
async fn an_image_that_disappeared_before_the_launch_is_resolved_again() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    let id = publish(&scene, &scene.account, "app-1", 1);
    scene.create::<WorkerFleet>("web", spec(&scene, 1, &json!({"ami": {"id": id}}))).await;
    wait_settled(&scene, "web", 1).await;
    scene.sandbox.deregister_image(REGION, &id).unwrap();
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 2}})).await;
    let message = wait_false(&scene, "web", "AmiResolved", "AwsNotFound").await;
    assert!(message.contains("InvalidAMIID.NotFound"), "{message}");
    let refused = launches(&scene).len();
    assert!(refused <= 3, "{refused}");
    assert_eq!(live(&scene).len(), 1);
}

#[tokio::test]
async fn a_deprecated_image_is_used_and_reported() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    let id = publish(&scene, &scene.account, "app-1", 1);
    scene.sandbox.set_image_deprecation(REGION, &id, Some("2025-02-01T00:00:00Z".parse().unwrap())).unwrap();
    scene.create::<WorkerFleet>("web", spec(&scene, 1, &by_name(&["self"]))).await;
    let fleet = wait_settled(&scene, "web", 1).await;
    assert_eq!(image(&status(&fleet)), (id, Some("app-1".into()), true));
    let (truth, _, message) = condition_of(&fleet, "AmiResolved");
    assert!(truth == "True" && message.contains("deprecated"), "{message}");
}

#[tokio::test]
async fn a_changed_image_applies_to_new_workers_unless_on_change_is_replace() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    let parameter = "/aws/service/app/latest";
    scene.sandbox.put_public_parameter(REGION, parameter, AMAZON_LINUX_X86_64);
    for (name, on_change) in [("keep", "Keep"), ("replace", "Replace")] {
        let ami = json!({"ami": {"ssmParameter": parameter, "onChange": on_change}});
        scene.create::<WorkerFleet>(name, spec(&scene, 1, &ami)).await;
        wait_settled(&scene, name, 1).await;
    }
    let newer = publish(&scene, &scene.account, "app-1", 1);
    scene.sandbox.put_public_parameter(REGION, parameter, &newer);
    let images = |name: &str| -> Vec<String> {
        let path = format!("{}/{name}", scene.namespace);
        let of = |worker: &&muster_sandbox::Instance| worker.tags["muster.dev:fleet"] == path;
        live(&scene).iter().filter(of).map(|worker| worker.image_id.clone()).collect()
    };
    let follows = newer.clone();
    let moved = move |fleet: &WorkerFleet| status(fleet).workers.ami.is_some_and(|ami| ami.id.to_string() == follows);
    scene.wait("keep", "the other image", moved.clone()).await;
    scene.wait("replace", "the other image", moved).await;
    wait_settled(&scene, "replace", 1).await;
    scene
        .wait::<WorkerFleet>("replace", "a roll", |fleet| {
            status(fleet).updated_replicas == 1 && status(fleet).current_revision == status(fleet).update_revision
        })
        .await;
    wait_settled(&scene, "replace", 1).await;
    assert_eq!(images("replace"), [newer.as_str()]);
    assert_eq!(images("keep"), [AMAZON_LINUX_X86_64]);
    scene.change::<WorkerFleet>("keep", json!({"spec": {"replicas": 2}})).await;
    wait_settled(&scene, "keep", 2).await;
    let mut both = images("keep");
    both.sort();
    let mut expected = [AMAZON_LINUX_X86_64.to_owned(), newer];
    expected.sort();
    assert_eq!(both, expected);
}

#[tokio::test]
async fn many_fleets_share_one_lookup_of_an_image() {
    let scene = Scene::new().await;
    publish(&scene, &scene.account, "app-1", 1);
    let _controller = scene.start().await;
    let names: Vec<_> = (0..8).map(|n| format!("web-{n}")).collect();
    for name in &names {
        scene.create::<WorkerFleet>(name, spec(&scene, 1, &by_name(&["self"]))).await;
    }
    for name in &names {
        wait_settled(&scene, name, 1).await;
    }
    let last = scene.sandbox.calls(&CallQuery::default()).last().unwrap().number;
    let query = CallQuery { after: Some(last), ..CallQuery::operation("ec2", "DescribeImages") };
    let asked = scene.sandbox.wait_for_calls(&query, |calls| calls.len() >= 4);
    let asked = tokio::time::timeout(PATIENCE, asked).await.expect("four calls");
    let between = asked[3].started.duration_since(asked[0].started).unsigned_abs();
    let fair: Duration = timings().sweep * 3;
    assert!(between >= fair.mul_f64(0.95), "{} fleets: four calls within {between:?}, not {fair:?}", names.len());
}

#[tokio::test]
async fn user_data_comes_from_a_config_map() {
    use k8s_openapi::api::core::v1::ConfigMap;
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    let data = json!({"userData": {"configMapKeyRef": {"name": "boot", "key": "script"}}});
    scene.create::<WorkerFleet>("web", spec(&scene, 1, &data)).await;
    let message = wait_false(&scene, "web", "Ready", "TemplateUnresolved").await;
    assert!(message.contains("the ConfigMap boot does not exist"), "{message}");
    let config_map = json!({"metadata": {"name": "boot"}, "data": {"script": "#!/bin/sh\n: from a ConfigMap\n"}});
    let config_map: ConfigMap = serde_json::from_value(config_map).unwrap();
    scene.api::<ConfigMap>().create(&PostParams::default(), &config_map).await.unwrap();
    wait_settled(&scene, "web", 1).await;
    assert_eq!(live(&scene)[0].decoded_user_data().unwrap(), b"#!/bin/sh\n: from a ConfigMap\n");
    let long = json!({"data": {"script": "x".repeat(20_000)}});
    scene.change::<ConfigMap>("boot", long).await;
    let wait = |fleet: &WorkerFleet| condition_of(fleet, "Ready").2.contains("20000 bytes");
    scene.wait("web", "too long", wait).await;
    wait_for_call(&scene, "DescribeInstances").await;
    assert_eq!(live(&scene).len(), 1, "running workers stay");
}
