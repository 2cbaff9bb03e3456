//! Lost answers, other writers, and refusals.

use muster_sandbox::{CallQuery, Fault, FaultAction};
use serde_json::json;

use super::{Estate, is, sdk, status, told};

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
    estate.wait("the end", |pin| super::is_ready(pin) && estate.running("web") == ["2", "2"]).await;
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
