//! Lost answers, other writers, and refusals.

use muster::crd::launch_template_pin::LaunchTemplatePin;
use muster_sandbox::{CallQuery, Fault, FaultAction, LaunchTemplateSpec};
use serde_json::json;

use super::{Estate, is, is_ready, sdk, status, told};
use crate::support::scene::REGION;

#[tokio::test]
async fn a_version_whose_answer_is_lost_is_made_once() {
    let estate = Estate::new().await;
    estate.backup("second", 60);
    for call in ["CreateLaunchTemplateVersion", "ModifyLaunchTemplate"] {
        estate.scene.sandbox.add_fault(Fault::once("ec2", call, FaultAction::DropAfter));
    }
    let _controller = estate.scene.start().await;
    estate.create(json!({})).await;
    let pin = estate.wait_default(2).await;
    assert_eq!(status(&pin).latest_version, Some(2));
}

#[tokio::test]
async fn a_refresh_whose_answer_is_lost_is_found_again() {
    let estate = Estate::new().await;
    estate.group("web", "1", 2);
    estate.backup("second", 60);
    estate.scene.sandbox.add_fault(Fault::once("autoscaling", "StartInstanceRefresh", FaultAction::DropAfter));
    let _controller = estate.scene.start().await;
    estate.follow("Latest", json!({"minHealthyPercentage": 0, "instanceWarmup": "0s"})).await;
    estate.wait("the end", |pin| is_ready(pin) && estate.running("web") == ["2", "2"]).await;
    assert_eq!(estate.calls("autoscaling", "StartInstanceRefresh"), 1);
}

#[tokio::test]
async fn a_version_of_somebody_else_becomes_the_source_and_a_fight_ends() {
    let estate = Estate::new().await;
    estate.backup("second", 60);
    let _controller = estate.scene.start().await;
    estate.create(json!({})).await;
    estate.wait_default(2).await;
    let ec2 = aws_sdk_ec2::Client::new(&sdk(&estate.scene));
    let meddle = async |source: &str| {
        let data = aws_sdk_ec2::types::RequestLaunchTemplateData::builder().image_id(&estate.first).build();
        let call = ec2.create_launch_template_version().launch_template_id(&estate.template).source_version(source);
        call.launch_template_data(data).send().await.unwrap();
    };
    for version in [4, 6, 8] {
        meddle(&(version - 2).to_string()).await;
        estate.wait_default(version).await;
    }
    let calls = estate.scene.sandbox.calls(&CallQuery::operation("ec2", "CreateLaunchTemplateVersion"));
    let ours = calls.iter().filter(|call| call.parameters.contains_key("VersionDescription"));
    let sources: Vec<_> = ours.map(|call| call.parameters["SourceVersion"].as_str()).collect();
    assert_eq!(sources, ["1", "3", "5", "7"]);
    meddle("8").await;
    let pin = estate.wait("a conflict", |pin| is(pin, "Conflict", "True/OtherWriter")).await;
    assert!(is(&pin, "Stalled", "True/OtherWriter"), "{:?}", told(&pin, "Ready"));
    assert_eq!(status(&pin).default_version, Some(8), "the version of the other one is not made the default");
}

#[tokio::test]
async fn a_refused_call_is_told_with_the_right_that_is_missing() {
    let estate = Estate::new().await;
    estate.backup("second", 60);
    let message = "User: x is not authorized to perform: ec2:CreateLaunchTemplateVersion on resource: lt because no \
                   identity-based policy allows it";
    let refused =
        FaultAction::Error { code: "UnauthorizedOperation".into(), message: Some(message.into()), status: Some(403) };
    estate.scene.sandbox.add_fault(Fault::once("ec2", "CreateLaunchTemplateVersion", refused));
    let _controller = estate.scene.start().await;
    estate.create(json!({})).await;
    let pin = estate.wait("refused", |pin| is(pin, "Stalled", "True/CallRefused")).await;
    assert!(told(&pin, "Ready").1.contains("allow ec2:CreateLaunchTemplateVersion"), "{:?}", told(&pin, "Ready"));
    estate.wait_default(2).await;
}

pub(super) fn refused(code: &str, message: &str) -> FaultAction {
    FaultAction::Error { code: code.into(), message: Some(message.into()), status: Some(400) }
}

#[tokio::test]
async fn a_group_whose_refreshes_cannot_be_read_does_not_hold_up_the_others() {
    let estate = Estate::new().await;
    for name in ["bad", "good"] {
        estate.group(name, "1", 1);
    }
    estate.backup("second", 60);
    let fault = Fault::always("autoscaling", "DescribeInstanceRefreshes", refused("ValidationError", "no such group"));
    let fault = estate.scene.sandbox.add_fault(fault.parameter("AutoScalingGroupName", "bad"));
    let _controller = estate.scene.start().await;
    let groups = json!([{"name": "bad", "version": "Latest"}, {"name": "good", "version": "Latest"}]);
    estate
        .create(json!({"autoScalingGroups": groups, "refresh": {"minHealthyPercentage": 0, "instanceWarmup": "0s"}}))
        .await;
    let pin = estate.wait("the good one", |_| estate.running("good") == ["2"]).await;
    assert_eq!(estate.running("bad"), ["1"]);
    let pin = if told(&pin, "Ready").1.contains("bad") {
        pin
    } else {
        estate.wait("the bad one named", |pin| told(pin, "Ready").1.contains("bad")).await
    };
    assert!(told(&pin, "Ready").0.starts_with("False/"), "{:?}", told(&pin, "Ready"));
    estate.scene.sandbox.remove_fault(fault);
    estate.wait("both", |pin| is_ready(pin) && estate.running("bad") == ["2"]).await;
}

#[tokio::test]
async fn a_launch_template_that_is_made_again_under_its_name_is_another_one() {
    let estate = Estate::new().await;
    let _controller = estate.scene.start().await;
    estate.create(json!({})).await;
    estate.wait("version 1", is_ready).await;
    let ec2 = aws_sdk_ec2::Client::new(&sdk(&estate.scene));
    ec2.delete_launch_template().launch_template_id(&estate.template).send().await.unwrap();
    let again = LaunchTemplateSpec::new(&estate.scene.account, REGION, "web", &estate.first);
    let again = estate.scene.sandbox.add_launch_template(&again).unwrap();
    estate.backup("second", 60);
    let pin = estate.wait("told", |pin| is(pin, "Stalled", "True/TemplateChanged")).await;
    let (_, message) = told(&pin, "Ready");
    assert!(message.contains(&estate.template) && message.contains(&again), "{message}");
    assert_eq!(estate.made(), 0);
}

#[tokio::test]
async fn an_image_that_follows_a_parameter_by_itself_is_left_unless_the_spec_names_images() {
    let estate = Estate::new().await;
    estate.scene.sandbox.set_parameter(&estate.scene.account, REGION, "/ami/web", &estate.first);
    let dynamic = LaunchTemplateSpec::new(&estate.scene.account, REGION, "dynamic", "resolve:ssm:/ami/web");
    estate.scene.sandbox.add_launch_template(&dynamic).unwrap();
    let second = estate.backup("second", 60);
    let _controller = estate.scene.start().await;
    let mut spec = estate.spec(json!({}));
    spec["launchTemplate"] = json!({"name": "dynamic"});
    let selector = std::mem::take(&mut spec["ami"]);
    spec.as_object_mut().unwrap().remove("ami");
    estate.scene.create::<LaunchTemplatePin>("web", spec).await;
    let pin = estate.wait("version 1", is_ready).await;
    assert_eq!((estate.made(), status(&pin).default_version), (0, Some(1)));
    estate.change(json!({"spec": {"ami": selector}})).await;
    let pin = estate.wait_default(2).await;
    assert_eq!(status(&pin).current_ami.map(|image| image.id.to_string()), Some(second));
}

#[tokio::test]
async fn a_refresh_of_an_override_whose_answer_is_lost_is_found_again() {
    let estate = Estate::new().await;
    super::groups::group_by_override(&estate, "web", "1").await;
    estate.backup("second", 60);
    estate.scene.sandbox.add_fault(Fault::once("autoscaling", "StartInstanceRefresh", FaultAction::DropAfter));
    let _controller = estate.scene.start().await;
    estate.follow("Pinned", json!({"minHealthyPercentage": 0, "instanceWarmup": "0s"})).await;
    estate.wait("the end", |pin| is_ready(pin) && status(pin).groups[0].version.as_deref() == Some("2")).await;
    assert_eq!(estate.calls("autoscaling", "StartInstanceRefresh"), 1);
}
