//! `template.launchTemplate`: its settings apply where the template has none, and its versions are followed.

use aws_sdk_ec2::{
    Client,
    config::{BehaviorVersion, Credentials, Region},
    types::{
        InstanceType, LaunchTemplateInstanceNetworkInterfaceSpecificationRequest as Interface,
        RequestLaunchTemplateData,
    },
};
use muster::crd::worker_fleet::WorkerFleet;
use muster_sandbox::{AMAZON_LINUX_X86_64, CallQuery, SecurityGroupSpec};
use serde_json::{Value, json};

use super::{launches, spec, wait_false};
use crate::support::{
    fleet::{live, status, wait_settled},
    scene::{REGION, Scene, condition},
};

/// An EC2 client with administrator permissions in the account.
fn ec2(scene: &Scene) -> Client {
    let keys = Credentials::new(format!("AKIASANDBOX{}", scene.account), "sandbox", None, None, "test");
    let config = aws_sdk_ec2::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(scene.sandbox.endpoint())
        .credentials_provider(keys);
    Client::from_conf(config.build())
}

fn data() -> aws_sdk_ec2::types::builders::RequestLaunchTemplateDataBuilder {
    let script = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, "#!/bin/sh\n: base\n");
    RequestLaunchTemplateData::builder()
        .image_id(AMAZON_LINUX_X86_64)
        .instance_type(InstanceType::C5Large)
        .user_data(script)
}

async fn make(scene: &Scene, name: &str, data: RequestLaunchTemplateData) -> String {
    let made = ec2(scene).create_launch_template().launch_template_name(name).launch_template_data(data);
    made.send().await.unwrap().launch_template.unwrap().launch_template_id.unwrap()
}

/// A launch template with an image and an instance type. Returns its id.
pub(super) async fn made(scene: &Scene, name: &str) -> String {
    make(scene, name, data().build()).await
}

/// A template with a launch template and nothing else.
fn bare(base: &Value) -> Value {
    json!({"ami": null, "instanceTypes": null, "subnets": null, "launchTemplate": base})
}

#[tokio::test]
async fn omitted_fields_have_the_values_of_the_launch_template() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    let id = make(&scene, "web", data().build()).await;
    scene.create::<WorkerFleet>("bare", spec(&scene, 3, &bare(&json!({"name": "web"})))).await;
    let fleet = wait_settled(&scene, "bare", 3).await;
    assert_eq!(status(&fleet).workers.ami.unwrap().id.to_string(), AMAZON_LINUX_X86_64);
    for worker in live(&scene) {
        assert_eq!((&*worker.image_id, &*worker.instance_type), (AMAZON_LINUX_X86_64, "c5.large"));
        assert_eq!(worker.decoded_user_data().unwrap(), b"#!/bin/sh\n: base\n");
        assert!(!worker.metadata_options.tags_enabled, "the template does not ask for it, and nor does muster");
    }
    for call in launches(&scene) {
        assert_eq!(call.parameters["LaunchTemplate.LaunchTemplateId"], id);
        assert_eq!(call.parameters["LaunchTemplate.Version"], "1");
    }
    let over = json!({"ami": null, "launchTemplate": {"id": id, "version": "$Latest"}, "instanceTypes": ["m5.large"],
        "userData": {"inline": "#!/bin/sh\n: own\n"}});
    scene.create::<WorkerFleet>("over", spec(&scene, 1, &over)).await;
    wait_settled(&scene, "over", 1).await;
    let worker = live(&scene).into_iter().find(|worker| worker.instance_type == "m5.large").unwrap();
    assert_eq!(worker.decoded_user_data().unwrap(), b"#!/bin/sh\n: own\n");
}

#[tokio::test]
async fn the_subnet_and_groups_apply_to_the_interface_of_the_launch_template() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    let group = |name: &str| SecurityGroupSpec {
        account: scene.account.clone(),
        region: REGION.into(),
        vpc_id: None,
        name: name.into(),
        tags: Default::default(),
    };
    let (of_base, own) =
        (scene.sandbox.add_security_group(group("base")), scene.sandbox.add_security_group(group("own")));
    let subnets = scene.sandbox.subnets(&scene.account, REGION);
    let interface = Interface::builder().device_index(0).subnet_id(&subnets[1].id).groups(&of_base.id);
    make(&scene, "web", data().network_interfaces(interface.build()).build()).await;

    scene.create::<WorkerFleet>("silent", spec(&scene, 1, &bare(&json!({"name": "web"})))).await;
    wait_settled(&scene, "silent", 1).await;
    let worker = &live(&scene)[0];
    assert_eq!((&worker.subnet_id, &worker.security_groups[0].id), (&subnets[1].id, &of_base.id));

    let fields = json!({"ami": null, "instanceTypes": null, "launchTemplate": {"name": "web"},
        "subnets": {"ids": [subnets[2].id]}, "securityGroups": {"ids": [own.id]}});
    scene.create::<WorkerFleet>("said", spec(&scene, 1, &fields)).await;
    wait_settled(&scene, "said", 1).await;
    let worker = live(&scene).into_iter().find(|worker| worker.subnet_id == subnets[2].id).unwrap();
    let groups: Vec<_> = worker.security_groups.iter().map(|group| &group.id).collect();
    assert_eq!(groups, [&own.id]);
}

#[tokio::test]
async fn a_changed_default_version_applies_to_new_workers() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    let id = make(&scene, "web", data().build()).await;
    scene.create::<WorkerFleet>("web", spec(&scene, 1, &bare(&json!({"name": "web"})))).await;
    wait_settled(&scene, "web", 1).await;
    let first = live(&scene)[0].id.clone();
    let newer = data().instance_type(InstanceType::M5Large).build();
    let ec2 = ec2(&scene);
    ec2.create_launch_template_version().launch_template_id(&id).launch_template_data(newer).send().await.unwrap();
    ec2.modify_launch_template().launch_template_id(&id).default_version("2").send().await.unwrap();
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 2}})).await;
    super::wait_for_call(&scene, "DescribeLaunchTemplateVersions").await;
    wait_settled(&scene, "web", 2).await;
    assert!(live(&scene).iter().any(|worker| worker.id == first), "running workers stay");
    // Whichever version was found first, a later worker has the newer one.
    super::wait_for_call(&scene, "DescribeLaunchTemplateVersions").await;
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 3}})).await;
    wait_settled(&scene, "web", 3).await;
    assert!(live(&scene).iter().any(|worker| worker.instance_type == "m5.large"));
    assert_eq!(launches(&scene).last().unwrap().parameters["LaunchTemplate.Version"], "2");
}

#[tokio::test]
async fn a_missing_or_incomplete_launch_template_is_reported() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    make(&scene, "empty", RequestLaunchTemplateData::builder().key_name("ops").build()).await;
    make(&scene, "imaged", RequestLaunchTemplateData::builder().image_id(AMAZON_LINUX_X86_64).build()).await;
    for (name, base, reason, message) in [
        ("missing", json!({"name": "none"}), "AwsNotFound", "spec.template.launchTemplate"),
        ("empty", json!({"name": "empty"}), "AmiNotFound", "add spec.template.ami"),
        ("imaged", json!({"name": "imaged"}), "TemplateUnresolved", "add spec.template.instanceTypes"),
        ("version", json!({"name": "empty", "version": "9"}), "AwsNotFound", "spec.template.launchTemplate"),
    ] {
        scene.create::<WorkerFleet>(name, spec(&scene, 1, &bare(&base))).await;
        let told = wait_false(&scene, name, "Ready", reason).await;
        assert!(told.contains(message), "{name}: {told}");
    }
    assert_eq!(launches(&scene), []);
}

#[tokio::test]
async fn a_launch_template_that_is_not_granted_is_never_read() {
    let scene = Scene::without_account(Default::default()).await;
    let grant =
        json!({"namespaces": {"names": [scene.namespace]}, "kinds": ["WorkerFleet"], "launchTemplates": ["other"]});
    scene.create_account(json!({"regions": [REGION], "grants": [grant]})).await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 1, &bare(&json!({"name": "web"})))).await;
    let stalled = |fleet: &WorkerFleet| {
        condition(&status(fleet).common.conditions, "Stalled")
            .is_some_and(|(_, reason, message)| reason == "NotGranted" && message.contains("launchTemplates: [web]"))
    };
    scene.wait("web", "Stalled", stalled).await;
    assert_eq!(scene.sandbox.calls(&CallQuery { service: Some("ec2".into()), ..CallQuery::default() }), []);
}
