//! Which image is used, and what happens when there is none.

use muster_sandbox::ImageState;
use serde_json::json;

use super::{BACKUP, Estate, is, status, told};
use crate::support::scene::REGION;

#[tokio::test]
async fn an_image_that_is_pending_or_young_or_missing_leaves_the_launch_template_untouched() {
    let estate = Estate::new().await;
    let backup = estate.backup("second", 60);
    let sandbox = &estate.scene.sandbox;
    sandbox.set_image_state(REGION, &backup, ImageState::Pending).unwrap();
    sandbox.deregister_image(REGION, &estate.first).unwrap();
    let _controller = estate.scene.start().await;
    estate.create(json!({})).await;
    let pin = estate.wait("pending", |pin| is(pin, "AmiResolved", "False/AmiNotAvailable")).await;
    assert!(told(&pin, "AmiResolved").1.contains(&backup), "{:?}", told(&pin, "AmiResolved"));
    sandbox.deregister_image(REGION, &backup).unwrap();
    let pin = estate.wait("missing", |pin| is(pin, "AmiResolved", "False/AmiNotFound")).await;
    assert!(is(&pin, "Ready", "False/AmiNotFound") && is(&pin, "Stalled", "True/AmiNotFound"), "{pin:#?}");
    let third = estate.backup("third", 5);
    estate.change(json!({"spec": {"ami": {"minAge": "1h"}}})).await;
    let pin = estate.wait("young", |pin| told(pin, "AmiResolved").1.contains("minAge")).await;
    assert!(told(&pin, "AmiResolved").1.contains(&third), "{:?}", told(&pin, "AmiResolved"));
    assert_eq!((estate.made(), estate.calls("ec2", "ModifyLaunchTemplate")), (0, 0));
    estate.change(json!({"spec": {"ami": {"minAge": "1m"}}})).await;
    estate.wait_default(2).await;
}

#[tokio::test]
async fn an_older_image_is_used_only_if_somebody_asks_for_it() {
    let estate = Estate::new().await;
    let second = estate.backup("second", 60);
    let _controller = estate.scene.start().await;
    estate.create(json!({})).await;
    estate.wait_default(2).await;
    // The backup's own retention deregistered the wrong image.
    estate.scene.sandbox.deregister_image(REGION, &second).unwrap();
    estate.change(json!({"metadata": {"annotations": {"muster.dev/requested-at": "now"}}})).await;
    let pin = estate.wait("a warning", |pin| is(pin, "Stalled", "True/AmiGone")).await;
    assert!(told(&pin, "AmiResolved").1.contains(&second), "{:?}", told(&pin, "AmiResolved"));
    assert_eq!(status(&pin).default_version, Some(2));
    estate.change(json!({"spec": {"rejectedAMIs": [second]}})).await;
    let pin = estate.wait_default(1).await;
    assert_eq!(status(&pin).latest_version, Some(2), "version 1 has the image already");
    assert_eq!(estate.made(), 1);
}

#[tokio::test]
async fn a_rejected_image_is_neither_used_nor_a_source() {
    let estate = Estate::new().await;
    let bad = estate.backup("bad", 60);
    estate.group("web", "1", 1);
    let _controller = estate.scene.start().await;
    estate.create(json!({"autoScalingGroups": [{"name": "web", "version": "Latest"}]})).await;
    estate.wait_default(2).await;
    estate.change(json!({"spec": {"rejectedAMIs": [bad]}})).await;
    let pin = estate.wait_default(1).await;
    assert_eq!(status(&pin).groups[0].version.as_deref(), Some("1"), "nothing may follow $Latest now");
    let good = estate.backup("good", 1);
    let pin = estate.wait_default(3).await;
    assert_eq!(status(&pin).current_ami.map(|image| image.id.to_string()), Some(good));
    let pin = estate.wait("$Latest", |pin| status(pin).groups[0].version.as_deref() == Some("$Latest")).await;
    let _ = pin;
    let calls = muster_sandbox::CallQuery::operation("ec2", "CreateLaunchTemplateVersion");
    let sources: Vec<_> =
        estate.scene.sandbox.calls(&calls).into_iter().map(|call| call.parameters["SourceVersion"].clone()).collect();
    assert_eq!(sources, ["1", "1"], "version 2 is no source");
}

#[tokio::test]
async fn a_public_image_that_looks_alike_is_never_used() {
    let estate = Estate::new().await;
    let stranger = "999999999999".parse().unwrap();
    let spec = muster_sandbox::ImageSpec::new(&stranger, REGION, "second");
    estate.scene.sandbox.add_image(muster_sandbox::ImageSpec {
        description: Some(BACKUP.into()),
        public: true,
        ..spec
    });
    let _controller = estate.scene.start().await;
    estate.create(json!({})).await;
    let pin = estate.wait_default(1).await;
    assert_eq!((status(&pin).latest_version, estate.made()), (Some(1), 0));
}
