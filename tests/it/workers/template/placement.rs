//! Subnets, security groups and capacity type of workers, and settings that EC2 rejects.

use std::collections::BTreeSet;

use muster::crd::worker_fleet::WorkerFleet;
use muster_sandbox::{Market, SecurityGroupSpec, SubnetSpec};
use serde_json::json;

use super::{launches, spec, wait_false};
use crate::support::{
    fleet::{live, wait_settled},
    scene::{REGION, Scene},
};

fn subnet(scene: &Scene, vpc: Option<&str>, zone: &str, cidr: &str) -> String {
    let spec = SubnetSpec {
        account: scene.account.clone(),
        region: REGION.into(),
        vpc_id: vpc.map(str::to_owned),
        zone: zone.into(),
        cidr: cidr.into(),
        tags: [("tier".to_owned(), "workers".to_owned())].into(),
    };
    scene.sandbox.add_subnet(spec).unwrap().id
}

#[tokio::test]
async fn subnets_and_groups_are_found_by_tags_within_one_vpc() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    let ours: BTreeSet<_> =
        [subnet(&scene, None, "a", "172.31.96.0/24"), subnet(&scene, None, "b", "172.31.97.0/24")].into();
    let tags = [("app".to_owned(), "web".to_owned())];
    let group = |vpc: Option<&str>| SecurityGroupSpec {
        account: scene.account.clone(),
        region: REGION.into(),
        vpc_id: vpc.map(str::to_owned),
        name: format!("web-{}", vpc.unwrap_or("own")),
        tags: tags.clone().into(),
    };
    let own = scene.sandbox.add_security_group(group(None));
    scene.sandbox.add_security_group(group(Some("vpc-0123456789abcdef0")));
    let by_tags = json!({"subnets": {"tags": {"tier": "workers"}}, "securityGroups": {"tags": {"app": "web"}}});
    scene.create::<WorkerFleet>("tags", spec(&scene, 2, &by_tags)).await;
    wait_settled(&scene, "tags", 2).await;
    let workers = live(&scene);
    assert_eq!(workers.iter().map(|worker| worker.subnet_id.clone()).collect::<BTreeSet<_>>(), ours);
    for worker in &workers {
        assert_eq!(worker.security_groups.iter().map(|group| &group.id).collect::<Vec<_>>(), [&own.id]);
    }
    // With subnets by ID, security groups are still looked up in the VPC of the subnets.
    let groups = json!({"securityGroups": {"tags": {"app": "web"}}});
    scene.create::<WorkerFleet>("ids", spec(&scene, 1, &groups)).await;
    wait_settled(&scene, "ids", 1).await;

    let calls = launches(&scene).len();
    subnet(&scene, Some("vpc-0123456789abcdef0"), "a", "10.0.0.0/24");
    // Running workers stay, and the condition names the problem there too.
    let told_too = |fleet: &WorkerFleet| {
        let (truth, _, message) = super::condition_of(fleet, "Ready");
        truth == "True"
            && message.contains("2 of 2 workers are ready; launches are blocked")
            && message.contains("VPCs")
    };
    scene.wait("tags", "why launches are blocked", told_too).await;
    scene.create::<WorkerFleet>("two", spec(&scene, 1, &by_tags)).await;
    let message = wait_false(&scene, "two", "Ready", "TemplateUnresolved").await;
    assert!(message.contains("several VPCs") && message.contains("vpc-0123456789abcdef0"), "{message}");
    let none = json!({"subnets": {"tags": {"tier": "none"}}});
    scene.create::<WorkerFleet>("none", spec(&scene, 1, &none)).await;
    let message = wait_false(&scene, "none", "Ready", "TemplateUnresolved").await;
    assert!(message.contains("no subnet has the tags tier=none"), "{message}");
    let first = ours.first().unwrap();
    let none = json!({"subnets": {"ids": [first]}, "securityGroups": {"tags": {"app": "none"}}});
    scene.create::<WorkerFleet>("groups", spec(&scene, 1, &none)).await;
    let message = wait_false(&scene, "groups", "Ready", "TemplateUnresolved").await;
    assert!(message.contains("no security group of vpc-") && message.contains("app=none"), "{message}");
    assert_eq!(launches(&scene).len(), calls);
}

#[tokio::test]
async fn spot_instances_are_launched_with_capacity_type_spot() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    for (name, capacity_type, market) in [("spot", "Spot", Market::Spot), ("demand", "OnDemand", Market::OnDemand)] {
        scene.create::<WorkerFleet>(name, spec(&scene, 2, &json!({"capacityType": capacity_type}))).await;
        wait_settled(&scene, name, 2).await;
        let path = format!("{}/{name}", scene.namespace);
        let workers: Vec<_> = live(&scene).into_iter().filter(|w| w.tags["muster.dev:fleet"] == path).collect();
        assert!(workers.len() == 2 && workers.iter().all(|worker| worker.market == market), "{name}");
    }
}

#[tokio::test]
async fn a_launch_rejected_by_ec2_names_the_field_to_change() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    for (name, fields, code, advice) in [
        ("key", json!({"keyName": "none"}), "InvalidKeyPair.NotFound", "change spec.template.keyName"),
        (
            "profile",
            json!({"instanceProfile": "none"}),
            "InvalidParameterValue",
            "change spec.template.instanceProfile",
        ),
        (
            "group",
            json!({"securityGroups": {"ids": ["sg-0123456789abcdef0"]}}),
            "InvalidGroup.NotFound",
            "change spec.template.securityGroups",
        ),
        (
            "subnet",
            json!({"subnets": {"ids": ["subnet-0123456789abcdef0"]}}),
            "InvalidSubnetID.NotFound",
            "change spec.template.subnets",
        ),
        (
            "disk",
            json!({"blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": {"volumeSize": "1Gi"}}]}),
            "InvalidBlockDeviceMapping",
            "change spec.template.blockDeviceMappings",
        ),
    ] {
        scene.create::<WorkerFleet>(name, spec(&scene, 1, &fields)).await;
        let refused = move |fleet: &WorkerFleet| {
            let (truth, _, message) = super::condition_of(fleet, "Stalled");
            truth == "True" && message.contains(code)
        };
        let fleet = scene.wait(name, code, refused).await;
        let message = super::condition_of(&fleet, "Ready").2;
        assert!(message.contains(advice), "{name}: {message}");
    }
    assert_eq!(live(&scene), []);
}
