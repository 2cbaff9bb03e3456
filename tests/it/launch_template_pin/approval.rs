//! What waits: approvals and windows. What does not: rollbacks.

use jiff::{Zoned, tz::TimeZone};
use muster::clock::Clock;
use serde_json::json;

use super::{Estate, is, is_ready, sdk, status, told};
use crate::support::scene::REGION;

#[tokio::test]
async fn an_image_waits_for_its_approval() {
    let estate = Estate::new().await;
    let second = estate.backup("second", 60);
    estate.group("web", "1", 1);
    let _controller = estate.scene.start().await;
    estate.create(json!({"approval": "Manual", "autoScalingGroups": [{"name": "web", "version": "Latest"}]})).await;
    let pin = estate.wait("waiting", |pin| is(pin, "TemplateUpdated", "False/AwaitingApproval") && is_ready(pin)).await;
    assert!(told(&pin, "TemplateUpdated").1.contains(&format!("muster.dev/approve={second}")));
    assert_eq!(status(&pin).candidate_ami.map(|image| image.id.to_string()), Some(second.clone()));
    assert_eq!(status(&pin).groups[0].version.as_deref(), Some("$Latest"), "following is no roll-out");
    assert_eq!(estate.made(), 0);
    let third = estate.backup("third", 1);
    let approve = |image: &str| json!({"metadata": {"annotations": {"muster.dev/approve": image}}});
    // What was approved is used although a newer image waits.
    estate.change(approve(&second)).await;
    let pin = estate.wait_default(2).await;
    assert_eq!(status(&pin).current_ami.map(|image| image.id.to_string()), Some(second));
    estate.wait("waiting again", |pin| told(pin, "TemplateUpdated").1.contains(&third)).await;
    assert_eq!(estate.made(), 1);
    estate.change(approve(&third)).await;
    estate.wait_default(3).await;
}

#[tokio::test]
async fn a_version_of_somebody_else_needs_the_approval_too() {
    let estate = Estate::new().await;
    let second = estate.backup("second", 60);
    let spec = muster_sandbox::ImageSpec::new(&estate.scene.account, REGION, "evil");
    let evil = estate.scene.sandbox.add_image(spec).id;
    estate.group("web", "1", 1);
    let _controller = estate.scene.start().await;
    let groups = json!([{"name": "web", "version": "Pinned"}]);
    estate.create(json!({"approval": "Manual", "autoScalingGroups": groups, "refresh": {}})).await;
    let pin = estate.wait("waiting", |pin| is(pin, "TemplateUpdated", "False/AwaitingApproval") && is_ready(pin)).await;
    // Anybody who may make versions can write the description of this object.
    let ec2 = aws_sdk_ec2::Client::new(&sdk(&estate.scene));
    let uid = pin.metadata.uid.clone().unwrap();
    for (image, description) in [(&evil, format!("muster.dev {uid} 0123456789abcdef")), (&second, "by hand".to_owned())]
    {
        let data = aws_sdk_ec2::types::RequestLaunchTemplateData::builder().image_id(image).build();
        let call = ec2.create_launch_template_version().launch_template_id(&estate.template).source_version("1");
        call.launch_template_data(data).version_description(description).send().await.unwrap();
    }
    let pin = estate.wait("the versions", |pin| status(pin).latest_version == Some(3) && is_ready(pin)).await;
    assert!(is(&pin, "TemplateUpdated", "False/AwaitingApproval"), "{:?}", told(&pin, "TemplateUpdated"));
    assert_eq!((status(&pin).default_version, status(&pin).groups[0].version.as_deref()), (Some(1), Some("1")));
    assert_eq!(estate.calls("autoscaling", "StartInstanceRefresh"), 0);
    estate.change(json!({"metadata": {"annotations": {"muster.dev/approve": second}}})).await;
    estate.wait("version 3", |pin| status(pin).default_version == Some(3)).await;
    assert_eq!(estate.made(), 2, "none of them by muster");
}

/// A window that begins every day at an hour that is not now, in a zone that is not UTC.
fn closed() -> serde_json::Value {
    let zone = TimeZone::get("Asia/Tokyo").unwrap();
    let now: Zoned = Clock.now().to_zoned(zone);
    let hour = (now.hour() + 12) % 24;
    json!({"schedule": format!("0 {hour} * * *"), "timeZone": "Asia/Tokyo", "duration": "1h"})
}

#[tokio::test]
async fn a_roll_out_waits_for_the_window_and_a_rollback_does_not() {
    let estate = Estate::new().await;
    estate.backup("second", 60);
    estate.group("web", "1", 1);
    let _controller = estate.scene.start().await;
    let groups = json!([{"name": "web", "version": "Latest"}]);
    estate.create(json!({"autoScalingGroups": groups})).await;
    estate.wait_default(2).await;
    estate.change(json!({"spec": {"window": closed()}})).await;
    estate.backup("third", 1);
    estate.wait("waiting", |pin| is(pin, "TemplateUpdated", "False/WindowClosed")).await;
    assert_eq!(estate.made(), 1);
    estate.change(json!({"spec": {"rollbackTo": 1}})).await;
    let pin = estate.wait_default(1).await;
    assert!(is(&pin, "RolledBack", "True/PinnedByRollback"), "{:?}", told(&pin, "RolledBack"));
    assert_eq!(status(&pin).previous_version, Some(2));
    assert_eq!(status(&pin).groups[0].version.as_deref(), Some("1"));
    estate.change(json!({"spec": {"rollbackTo": null, "window": null}})).await;
    let pin = estate.wait_default(3).await;
    let follows = |pin: &_| status(pin).groups[0].version.as_deref() == Some("$Latest");
    assert!(follows(&pin) || follows(&estate.wait("$Latest", follows).await));
}

#[tokio::test]
async fn a_rollback_to_a_version_that_does_not_exist_changes_nothing() {
    let estate = Estate::new().await;
    let _controller = estate.scene.start().await;
    estate.create(json!({"rollbackTo": 9})).await;
    let pin = estate.wait("refused", |pin| is(pin, "Stalled", "True/VersionNotFound")).await;
    assert!(told(&pin, "Ready").1.contains('9'), "{:?}", told(&pin, "Ready"));
    assert_eq!(estate.calls("ec2", "ModifyLaunchTemplate"), 0);
}

#[tokio::test]
async fn a_rejection_and_its_end_wait_for_the_window() {
    let estate = Estate::new().await;
    let second = estate.backup("second", 60);
    estate.group("web", "1", 1);
    let _controller = estate.scene.start().await;
    estate.create(json!({"autoScalingGroups": [{"name": "web", "version": "Latest"}]})).await;
    let follows = |pin: &_, version: &str| status(pin).groups[0].version.as_deref() == Some(version);
    estate.wait("version 2", |pin| status(pin).default_version == Some(2) && follows(pin, "$Latest")).await;
    estate.change(json!({"spec": {"window": closed(), "rejectedAMIs": [second]}})).await;
    let pin = estate.wait("waiting", |pin| is(pin, "GroupsFollowing", "False/GroupsMoving") && is_ready(pin)).await;
    assert!(
        told(&pin, "Ready").1.starts_with("version 2 is in place; version 1 is to become"),
        "{:?}",
        told(&pin, "Ready")
    );
    assert!(follows(&pin, "$Latest") && status(&pin).default_version == Some(2));
    estate.change(json!({"spec": {"window": null}})).await;
    estate.wait("version 1", |pin| is_ready(pin) && follows(pin, "1") && status(pin).default_version == Some(1)).await;
    estate.change(json!({"spec": {"window": closed(), "rejectedAMIs": []}})).await;
    let pin =
        estate.wait("waiting again", |pin| is(pin, "GroupsFollowing", "False/GroupsMoving") && is_ready(pin)).await;
    assert!(follows(&pin, "1") && status(&pin).default_version == Some(1), "{:?}", told(&pin, "Ready"));
    assert_eq!(estate.made(), 1);
}

#[tokio::test]
async fn going_back_needs_neither_an_image_nor_a_correct_annotation() {
    let estate = Estate::new().await;
    let second = estate.backup("second", 60);
    let _controller = estate.scene.start().await;
    estate.create(json!({})).await;
    estate.wait_default(2).await;
    for image in [&estate.first, &second] {
        estate.scene.sandbox.deregister_image(REGION, image).unwrap();
    }
    estate
        .change(json!({
            "metadata": {"annotations": {"muster.dev/approve": "yes"}},
            "spec": {"approval": "Manual", "rollbackTo": 1},
        }))
        .await;
    let pin = estate.wait_default(1).await;
    assert_eq!(told(&pin, "Stalled").0, "/");
    let third = estate.backup("third", 1);
    estate.change(json!({"spec": {"rollbackTo": null}})).await;
    let waits = |pin: &_| told(pin, "TemplateUpdated").1.contains(&third);
    let pin = estate.wait("waiting", |pin| is(pin, "TemplateUpdated", "False/AwaitingApproval") && waits(pin)).await;
    assert!(told(&pin, "TemplateUpdated").1.contains("\"yes\" is not the id of an image"));
}

#[tokio::test]
async fn an_image_that_has_a_version_gets_no_second_one_after_a_rollback() {
    let estate = Estate::new().await;
    estate.backup("second", 60);
    estate.group("web", "1", 1);
    let _controller = estate.scene.start().await;
    estate.create(json!({"autoScalingGroups": [{"name": "web", "version": "Latest"}]})).await;
    estate.wait_default(2).await;
    let third = estate.backup("third", 1);
    estate.wait_default(3).await;
    estate.scene.sandbox.deregister_image(REGION, &third).unwrap();
    estate.wait("its image is gone", |pin| is(pin, "AmiResolved", "False/AmiGone")).await;
    estate.change(json!({"spec": {"rollbackTo": 2}})).await;
    estate.wait_default(2).await;
    estate.change(json!({"spec": {"rollbackTo": null}})).await;
    let pin = estate.wait_default(2).await;
    assert_eq!((estate.made(), status(&pin).groups[0].version.as_deref()), (2, Some("2")));
    estate.backup("fourth", 0);
    let follows = |pin: &_| status(pin).groups[0].version.as_deref() == Some("$Latest");
    estate.wait("the next one", |pin| status(pin).default_version == Some(4) && follows(pin)).await;
}
