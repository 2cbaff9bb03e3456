//! What is not granted is neither changed nor shown.

use muster::crd::launch_template_pin::LaunchTemplatePin;
use muster_sandbox::{CallQuery, GroupSpec};
use serde_json::{Value, json};

use super::{Estate, is, status, told};
use crate::support::{
    fleet::with,
    scene::{REGION, Scene},
};

/// An estate whose AwsAccount grants launch template `web` and group `ours`, changed by `more`.
async fn narrow(more: Value) -> Estate {
    let scene = Scene::without_account(Default::default()).await;
    let grant = json!({
        "namespaces": {"names": [scene.namespace]}, "kinds": ["LaunchTemplatePin"],
        "launchTemplates": ["web"], "autoScalingGroups": ["ours"],
    });
    scene.create_account(json!({"regions": [REGION], "grants": [with(grant, more)]})).await;
    let estate = Estate::of(scene);
    estate.scene.sandbox.set_throttling(false);
    estate
}

#[tokio::test]
async fn what_is_not_granted_is_refused_before_any_call() {
    for (grant, spec, line) in [
        (json!({"launchTemplates": []}), json!({}), "launchTemplates: [web]"),
        (
            json!({}),
            json!({"autoScalingGroups": [{"name": "theirs", "version": "Latest"}]}),
            "autoScalingGroups: [theirs]",
        ),
        (
            json!({}),
            json!({"notify": {"sns": {"topicARN": format!("arn:aws:sns:{REGION}:111111111111:ops")}}}),
            "topics: [arn:aws:sns:",
        ),
    ] {
        let estate = narrow(grant).await;
        estate.backup("second", 60);
        let _controller = estate.scene.start().await;
        estate.create(spec).await;
        let pin = estate.wait("refused", |pin| is(pin, "Stalled", "True/NotGranted")).await;
        assert!(told(&pin, "Ready").1.contains(line), "{:?}", told(&pin, "Ready"));
        let calls = estate.scene.sandbox.calls(&CallQuery::default());
        assert!(calls.iter().all(|call| call.operation == "GetCallerIdentity"), "{calls:#?}");
    }
}

#[tokio::test]
async fn a_launch_template_is_granted_by_what_it_is_and_not_by_what_a_parameter_says() {
    let estate = narrow(json!({"launchTemplates": ["another"], "parameterPaths": ["/lt"]})).await;
    estate.backup("second", 60);
    let ssm = aws_sdk_ssm::Client::new(&super::sdk(&estate.scene));
    let put = ssm.put_parameter().name("/lt/web").value(&estate.template).r#type("String".into());
    put.send().await.unwrap();
    let _controller = estate.scene.start().await;
    let mut spec = estate.spec(json!({}));
    spec["launchTemplate"] = json!({"idFrom": {"ssmParameter": "/lt/web"}});
    estate.scene.create::<LaunchTemplatePin>("web", spec).await;
    let pin = estate.wait("refused", |pin| is(pin, "Stalled", "True/TemplateUnresolved")).await;
    let (_, message) = told(&pin, "Ready");
    assert!(message.contains("of parameter /lt/web") && !message.contains(&estate.template), "{message}");
    assert_eq!(estate.made(), 0);
}

#[tokio::test]
async fn a_group_of_others_with_the_tags_of_the_selector_is_left_alone_and_not_named() {
    let estate = narrow(json!({})).await;
    estate.backup("second", 60);
    for name in ["ours", "theirs"] {
        let spec = GroupSpec::new(&estate.scene.account, REGION, name, &estate.template, 1);
        let tags = [("app".to_owned(), "web".to_owned())].into();
        estate.scene.sandbox.add_group(&GroupSpec { version: "1".into(), tags, ..spec }).unwrap();
    }
    let _controller = estate.scene.start().await;
    estate.create(json!({"autoScalingGroupSelector": {"tags": {"app": "web"}, "version": "Latest"}})).await;
    let pin = estate.wait("its own group", |pin| is(pin, "GroupsFollowing", "True/AllGroupsFollow")).await;
    let groups: Vec<_> = status(&pin).groups.into_iter().map(|group| group.name).collect();
    assert_eq!(groups, ["ours"]);
    assert!(told(&pin, "GroupsFollowing").1.contains("not granted: 1"), "{:?}", told(&pin, "GroupsFollowing"));
    assert!(!serde_json::to_string(&pin.status).unwrap().contains("theirs"));
    let updates = estate.scene.sandbox.calls(&CallQuery::operation("autoscaling", "UpdateAutoScalingGroup"));
    assert!(updates.iter().all(|call| call.parameters["AutoScalingGroupName"] == "ours"), "{updates:#?}");
}
