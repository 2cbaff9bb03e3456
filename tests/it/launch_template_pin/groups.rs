//! Groups follow the launch template, wherever they name it; what cannot follow is named.

use aws_sdk_autoscaling::types::{
    LaunchTemplate, LaunchTemplateOverrides, LaunchTemplateSpecification, MixedInstancesPolicy,
};
use muster::crd::launch_template_pin::GroupVia;
use muster_sandbox::{GroupSpec, LaunchTemplateSpec};
use serde_json::json;

use super::{Estate, is, sdk, status, told};
use crate::support::scene::REGION;

#[tokio::test]
async fn a_group_that_appears_later_pinned_to_version_1_is_moved() {
    let estate = Estate::new().await;
    estate.backup("second", 60);
    let _controller = estate.scene.start().await;
    let selector = json!({"tags": {"app": "web"}, "version": "Latest"});
    estate.create(json!({"autoScalingGroupSelector": selector})).await;
    estate.wait("no groups", |pin| is(pin, "GroupsFollowing", "False/NoGroups")).await;
    // CloudFormation cannot say $Latest.
    let spec = GroupSpec::new(&estate.scene.account, REGION, "web-7", &estate.template, 1);
    let tags = [("app".to_owned(), "web".to_owned())].into();
    estate.scene.sandbox.add_group(&GroupSpec { version: "1".into(), tags, ..spec }).unwrap();
    let follows = |pin: &_| {
        is(pin, "GroupsFollowing", "True/AllGroupsFollow")
            && status(pin).groups.iter().any(|group| group.version.as_deref() == Some("$Latest"))
    };
    estate.wait("the group", follows).await;
    assert_eq!(estate.calls("autoscaling", "UpdateAutoScalingGroup"), 1);
}

/// A policy that names the launch template in its base and in one override.
fn policy(estate: &Estate, other: &str) -> MixedInstancesPolicy {
    let of = |id: &str| LaunchTemplateSpecification::builder().launch_template_id(id).version("1").build();
    let override_of = |kind: &str, id: Option<&str>| {
        LaunchTemplateOverrides::builder().instance_type(kind).set_launch_template_specification(id.map(of)).build()
    };
    let template = LaunchTemplate::builder()
        .launch_template_specification(of(&estate.template))
        .overrides(override_of("t3.small", None))
        .overrides(override_of("t3.medium", Some(&estate.template)))
        .overrides(override_of("t3.large", Some(other)))
        .build();
    MixedInstancesPolicy::builder().launch_template(template).build()
}

/// A policy whose base is `base` and whose override names the launch template in `version`.
pub(super) fn in_an_override(estate: &Estate, base: &str, version: &str) -> MixedInstancesPolicy {
    let of = |id: &str, version: &str| {
        LaunchTemplateSpecification::builder().launch_template_id(id).version(version).build()
    };
    let row = LaunchTemplateOverrides::builder().instance_type("t3.medium");
    let row = row.launch_template_specification(of(&estate.template, version)).build();
    let template = LaunchTemplate::builder().launch_template_specification(of(base, "1")).overrides(row).build();
    MixedInstancesPolicy::builder().launch_template(template).build()
}

/// Creates a group of one instance that names the launch template only in an override. Returns the id of its base.
pub(super) async fn group_by_override(estate: &Estate, name: &str, version: &str) -> String {
    let base = LaunchTemplateSpec::new(&estate.scene.account, REGION, "base", &estate.first);
    let base = estate.scene.sandbox.add_launch_template(&base).unwrap();
    let client = aws_sdk_autoscaling::Client::new(&sdk(&estate.scene));
    let subnet = estate.scene.sandbox.subnets(&estate.scene.account, REGION).remove(0).id;
    let made = client.create_auto_scaling_group().auto_scaling_group_name(name).min_size(0).max_size(2);
    let made = made.desired_capacity(1).vpc_zone_identifier(subnet);
    made.mixed_instances_policy(in_an_override(estate, &base, version)).send().await.unwrap();
    base
}

#[tokio::test]
async fn a_mixed_policy_keeps_everything_but_the_version() {
    let estate = Estate::new().await;
    estate.backup("second", 60);
    let other = LaunchTemplateSpec::new(&estate.scene.account, REGION, "other", &estate.first);
    let other = estate.scene.sandbox.add_launch_template(&other).unwrap();
    let client = aws_sdk_autoscaling::Client::new(&sdk(&estate.scene));
    let subnets = estate.scene.sandbox.subnets(&estate.scene.account, REGION);
    client
        .create_auto_scaling_group()
        .auto_scaling_group_name("mixed")
        .mixed_instances_policy(policy(&estate, &other))
        .min_size(0)
        .max_size(2)
        .desired_capacity(0)
        .vpc_zone_identifier(&subnets[0].id)
        .send()
        .await
        .unwrap();
    let _controller = estate.scene.start().await;
    estate.create(json!({"autoScalingGroups": [{"name": "mixed", "version": "Default"}]})).await;
    let pin = estate.wait_default(2).await;
    let pin = if is(&pin, "GroupsFollowing", "True/AllGroupsFollow") {
        pin
    } else {
        estate.wait("the group", |pin| is(pin, "GroupsFollowing", "True/AllGroupsFollow")).await
    };
    assert_eq!(status(&pin).groups[0].via, Some(GroupVia::MixedPolicy));
    let shown = client.describe_auto_scaling_groups().auto_scaling_group_names("mixed").send().await.unwrap();
    let template = shown.auto_scaling_groups()[0].mixed_instances_policy().unwrap().launch_template().unwrap();
    let version = |spec: Option<&LaunchTemplateSpecification>| spec.and_then(|spec| spec.version().map(str::to_owned));
    assert_eq!(version(template.launch_template_specification()).as_deref(), Some("$Default"));
    let overrides: Vec<_> = template
        .overrides()
        .iter()
        .map(|row| (row.instance_type().unwrap().to_owned(), version(row.launch_template_specification())))
        .collect();
    let expected = [("t3.small", None), ("t3.medium", Some("$Default")), ("t3.large", Some("1"))];
    assert_eq!(overrides, expected.map(|(kind, version)| (kind.to_owned(), version.map(str::to_owned))));
}

#[tokio::test]
async fn groups_that_cannot_follow_are_named_and_left_alone() {
    let estate = Estate::new().await;
    let other = LaunchTemplateSpec::new(&estate.scene.account, REGION, "other", &estate.first);
    let other = estate.scene.sandbox.add_launch_template(&other).unwrap();
    let of_another = GroupSpec::new(&estate.scene.account, REGION, "another", &other, 0);
    estate.scene.sandbox.add_group(&GroupSpec { max: 1, ..of_another }).unwrap();
    estate.group("managed", "1", 1);
    estate
        .scene
        .sandbox
        .set_group_operator(&estate.scene.account, REGION, "managed", Some("eks.amazonaws.com"))
        .unwrap();
    let client = aws_sdk_autoscaling::Client::new(&sdk(&estate.scene));
    let subnet = estate.scene.sandbox.subnets(&estate.scene.account, REGION).remove(0).id;
    let made = client.create_auto_scaling_group().auto_scaling_group_name("old").launch_configuration_name("lc");
    made.min_size(0).max_size(1).desired_capacity(0).vpc_zone_identifier(subnet).send().await.unwrap();
    let _controller = estate.scene.start().await;
    let names = ["another", "managed", "old", "absent"];
    let groups: Vec<_> = names.iter().map(|name| json!({"name": name, "version": "Latest"})).collect();
    estate.create(json!({"autoScalingGroups": groups})).await;
    let pin = estate.wait("refused groups", |pin| is(pin, "GroupsFollowing", "False/GroupsNotFollowing")).await;
    let (_, message) = told(&pin, "GroupsFollowing");
    for said in [
        "absent does not exist",
        "another: it does not name launch template",
        "managed: only eks.amazonaws.com may change it",
        "old: it has a launch configuration",
    ] {
        assert!(message.contains(said), "{message}");
    }
    assert_eq!(estate.calls("autoscaling", "UpdateAutoScalingGroup"), 0);
}

#[tokio::test]
async fn of_more_than_200_groups_those_that_are_named_come_first_and_the_rest_is_counted() {
    let estate = Estate::new().await;
    let tags: std::collections::BTreeMap<_, _> = [("app".to_owned(), "web".to_owned())].into();
    for number in 0..=201 {
        let spec = GroupSpec::new(&estate.scene.account, REGION, &format!("web-{number:03}"), &estate.template, 0);
        estate
            .scene
            .sandbox
            .add_group(&GroupSpec { version: "$Latest".into(), max: 1, tags: tags.clone(), ..spec })
            .unwrap();
    }
    let _controller = estate.scene.start().await;
    estate
        .create(json!({
            "autoScalingGroups": [{"name": "web-201", "version": "Latest"}],
            "autoScalingGroupSelector": {"tags": {"app": "web"}, "version": "Latest"},
        }))
        .await;
    let pin = estate.wait("too many", |pin| is(pin, "GroupsFollowing", "False/GroupsNotFollowing")).await;
    assert!(told(&pin, "GroupsFollowing").1.contains("200"), "{:?}", told(&pin, "GroupsFollowing"));
    let names: Vec<_> = status(&pin).groups.into_iter().map(|group| group.name).collect();
    assert!(names.len() <= 200 && names.contains(&"web-201".to_owned()), "{}", names.len());
}
