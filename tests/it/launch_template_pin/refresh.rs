//! Instances are replaced by instance refreshes, one of them at a time.

use muster_sandbox::{CallQuery, Fault, FaultAction};
use serde_json::json;

use super::{Estate, is, is_ready, sdk, status, told};
use crate::support::scene::REGION;

#[tokio::test]
async fn instances_are_replaced_and_the_old_ones_are_gone() {
    let estate = Estate::new().await;
    estate.group("web", "1", 3);
    estate.backup("second", 60);
    let _controller = estate.scene.start().await;
    estate.follow("Latest", json!({"minHealthyPercentage": 0, "instanceWarmup": "0s", "skipMatching": true})).await;
    estate.wait("a refresh", |pin| is(pin, "Refreshing", "True/RefreshInProgress")).await;
    let pin = estate.wait("the end of it", |pin| {
        is_ready(pin) && status(pin).groups[0].refresh_status.as_deref() == Some("Successful")
    });
    let pin = pin.await;
    assert_eq!(estate.running("web"), ["2", "2", "2"]);
    assert_eq!((status(&pin).groups[0].outdated, status(&pin).groups[0].refresh_version), (0, Some(2)));
    let calls = estate.scene.sandbox.calls(&CallQuery::operation("autoscaling", "StartInstanceRefresh"));
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].parameters["Preferences.MinHealthyPercentage"], "0");
    assert!(
        !calls[0].parameters.keys().any(|key| key.starts_with("DesiredConfiguration")),
        "{:?}",
        calls[0].parameters
    );
}

#[tokio::test]
async fn a_pinned_group_gets_the_number_by_its_refresh() {
    let estate = Estate::new().await;
    estate.group("web", "1", 2);
    estate.backup("second", 60);
    let _controller = estate.scene.start().await;
    estate.follow("Pinned", json!({"minHealthyPercentage": 0, "instanceWarmup": "0s", "autoRollback": true})).await;
    let pin = estate.wait("the refresh", |pin| is_ready(pin) && status(pin).groups[0].version.as_deref() == Some("2"));
    pin.await;
    assert_eq!(estate.running("web"), ["2", "2"]);
    let calls = estate.scene.sandbox.calls(&CallQuery::operation("autoscaling", "StartInstanceRefresh"));
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].parameters["DesiredConfiguration.LaunchTemplate.Version"], "2");
    assert_eq!(estate.calls("autoscaling", "UpdateAutoScalingGroup"), 0, "so that AWS can roll back");
}

#[tokio::test]
async fn a_refresh_of_somebody_else_is_waited_for() {
    let estate = Estate::new().await;
    estate.group("web", "1", 2);
    let client = aws_sdk_autoscaling::Client::new(&sdk(&estate.scene));
    let other = client.start_instance_refresh().auto_scaling_group_name("web").send().await.unwrap();
    let other = other.instance_refresh_id.unwrap();
    let process = |reason| {
        estate.scene.sandbox.suspend_process(&estate.scene.account, REGION, "web", "Launch", reason).unwrap();
    };
    process(Some("so that it lasts"));
    estate.backup("second", 60);
    let _controller = estate.scene.start().await;
    estate.follow("Latest", json!({"minHealthyPercentage": 0, "instanceWarmup": "0s"})).await;
    estate.wait("waiting", |pin| told(pin, "Refreshing").1.contains(&other)).await;
    assert_eq!(estate.calls("autoscaling", "CancelInstanceRefresh"), 0);
    client.cancel_instance_refresh().auto_scaling_group_name("web").send().await.unwrap();
    process(None);
    estate.wait("its own", |pin| is_ready(pin) && estate.running("web") == ["2", "2"]).await;
    assert_eq!(estate.calls("autoscaling", "StartInstanceRefresh"), 2);
}

#[tokio::test]
async fn a_refresh_to_an_older_version_is_cancelled_for_a_newer_one() {
    let estate = Estate::new().await;
    estate.group("web", "1", 2);
    estate.backup("second", 60);
    let _controller = estate.scene.start().await;
    let topic = muster_sandbox::TopicSpec::new(&estate.scene.account, REGION, "ops");
    let topic = estate.scene.sandbox.add_topic(&topic).unwrap();
    estate
        .create(json!({
            "autoScalingGroups": [{"name": "web", "version": "Latest"}],
            "refresh": {"minHealthyPercentage": 50, "instanceWarmup": "4s"},
            "notify": {"sns": {"topicARN": topic}},
        }))
        .await;
    estate.wait("a refresh", |pin| is(pin, "Refreshing", "True/RefreshInProgress")).await;
    estate.backup("third", 1);
    let newer = |pin: &_| {
        let status = status(pin);
        status.groups[0].refresh_version == Some(3) && status.intents.is_empty()
    };
    estate.wait("the newer one", newer).await;
    assert_eq!(estate.calls("autoscaling", "CancelInstanceRefresh"), 1);
    let group = estate.scene.sandbox.group(&estate.scene.account, REGION, "web").unwrap();
    assert_eq!(group.refreshes.len(), 2);
    assert!(estate.scene.sandbox.messages(&topic).is_empty(), "what muster cancels itself did not fail");
}

#[tokio::test]
async fn instances_that_appear_later_are_replaced_too() {
    let estate = Estate::new().await;
    estate.group("web", "1", 1);
    estate.backup("second", 60);
    let _controller = estate.scene.start().await;
    estate.follow("Latest", json!({"minHealthyPercentage": 0, "instanceWarmup": "0s", "skipMatching": true})).await;
    estate.wait("the refresh", |pin| is_ready(pin) && estate.running("web") == ["2"]).await;
    // The tool that made the group sets it back, and it scales out.
    let client = aws_sdk_autoscaling::Client::new(&sdk(&estate.scene));
    let old = aws_sdk_autoscaling::types::LaunchTemplateSpecification::builder();
    let old = old.launch_template_id(&estate.template).version("1").build();
    let call = client.update_auto_scaling_group().auto_scaling_group_name("web").launch_template(old);
    call.desired_capacity(2).send().await.unwrap();
    estate.wait("all of them", |pin| is_ready(pin) && estate.running("web") == ["2", "2"]).await;
    assert_eq!(estate.calls("autoscaling", "StartInstanceRefresh"), 2);
}

#[tokio::test]
async fn a_refresh_of_somebody_else_is_not_taken_for_one_whose_answer_was_lost() {
    let estate = Estate::new().await;
    estate.group("web", "1", 1);
    estate.backup("second", 60);
    let lost = FaultAction::Error { code: "InternalFailure".into(), message: None, status: Some(500) };
    estate.scene.sandbox.add_fault(Fault::once("autoscaling", "StartInstanceRefresh", lost));
    let _controller = estate.scene.start().await;
    estate.follow("Latest", json!({})).await;
    estate
        .scene
        .sandbox
        .wait_for_calls(&CallQuery::operation("autoscaling", "StartInstanceRefresh"), |c| !c.is_empty())
        .await;
    let client = aws_sdk_autoscaling::Client::new(&sdk(&estate.scene));
    let template = aws_sdk_autoscaling::types::LaunchTemplateSpecification::builder();
    let template = template.launch_template_id(&estate.template).version("1").build();
    let desired = aws_sdk_autoscaling::types::DesiredConfiguration::builder().launch_template(template).build();
    let start = client.start_instance_refresh().auto_scaling_group_name("web").desired_configuration(desired);
    let Ok(started) = start.send().await else { return };
    let other = started.instance_refresh_id.unwrap();
    let pin = estate.wait("waiting", |pin| told(pin, "Refreshing").1.contains(&other)).await;
    assert_ne!(status(&pin).groups[0].refresh_id.as_ref(), Some(&other));
}

#[tokio::test]
async fn suspended_processes_are_named_before_a_refresh_starts() {
    let estate = Estate::new().await;
    estate.group("web", "1", 1);
    estate.scene.sandbox.suspend_process(&estate.scene.account, REGION, "web", "Launch", Some("by hand")).unwrap();
    estate.backup("second", 60);
    let _controller = estate.scene.start().await;
    estate.follow("Latest", json!({})).await;
    let pin = estate.wait("blocked", |pin| is(pin, "Refreshing", "False/RefreshBlocked")).await;
    assert!(told(&pin, "Refreshing").1.contains("Launch"), "{:?}", told(&pin, "Refreshing"));
    assert_eq!(estate.calls("autoscaling", "StartInstanceRefresh"), 0);
}

#[tokio::test]
async fn a_refresh_that_fails_is_told_and_started_again_only_on_request() {
    let estate = Estate::new().await;
    estate.group("web", "1", 2);
    estate.backup("second", 60);
    estate.scene.sandbox.set_alarm(&estate.scene.account, REGION, "errors", true);
    let topic = muster_sandbox::TopicSpec::new(&estate.scene.account, REGION, "ops");
    let topic = estate.scene.sandbox.add_topic(&topic).unwrap();
    let _controller = estate.scene.start().await;
    estate
        .create(json!({
            "autoScalingGroups": [{"name": "web", "version": "Latest"}],
            "refresh": {"minHealthyPercentage": 0, "instanceWarmup": "0s", "alarms": ["errors"]},
            "notify": {"sns": {"topicARN": topic, "events": ["Failed"]}},
        }))
        .await;
    let pin = estate.wait("the failure", |pin| is(pin, "Stalled", "True/RefreshFailed")).await;
    assert!(told(&pin, "Refreshing").1.contains("web: "), "{:?}", told(&pin, "Refreshing"));
    estate.wait("the notification", |pin| !status(pin).notified.is_empty()).await;
    let messages = estate.scene.sandbox.messages(&topic);
    assert_eq!(messages.len(), 1, "{messages:?}");
    let started = || estate.calls("autoscaling", "StartInstanceRefresh");
    assert_eq!(started(), 1);
    estate.scene.sandbox.set_alarm(&estate.scene.account, REGION, "errors", false);
    estate.change(json!({"metadata": {"annotations": {"muster.dev/requested-at": "again"}}})).await;
    estate.wait("another refresh", |pin| is_ready(pin) && estate.running("web") == ["2", "2"]).await;
    assert_eq!(started(), 2);
    assert_eq!(estate.scene.sandbox.messages(&topic).len(), 1);
}

#[tokio::test]
async fn a_group_that_is_set_back_during_its_refresh_is_corrected_and_refreshed_again() {
    let estate = Estate::new().await;
    estate.group("web", "1", 3);
    estate.backup("second", 60);
    let _controller = estate.scene.start().await;
    estate.follow("Latest", json!({"minHealthyPercentage": 60, "instanceWarmup": "1s", "skipMatching": true})).await;
    estate.wait("a refresh", |pin| is(pin, "Refreshing", "True/RefreshInProgress")).await;
    // As an update of a CloudFormation stack does.
    let client = aws_sdk_autoscaling::Client::new(&sdk(&estate.scene));
    let old = aws_sdk_autoscaling::types::LaunchTemplateSpecification::builder();
    let old = old.launch_template_id(&estate.template).version("1").build();
    client.update_auto_scaling_group().auto_scaling_group_name("web").launch_template(old).send().await.unwrap();
    let pin = estate.wait("all of them", |pin| is_ready(pin) && estate.running("web") == ["2", "2", "2"]).await;
    assert_eq!(status(&pin).groups[0].version.as_deref(), Some("$Latest"));
}

#[tokio::test]
async fn the_preferences_of_a_refresh_are_sent_as_aws_names_them() {
    let estate = Estate::new().await;
    estate.group("web", "1", 1);
    estate.backup("second", 60);
    let _controller = estate.scene.start().await;
    let refresh = json!({
        "minHealthyPercentage": 90, "maxHealthyPercentage": 110, "instanceWarmup": "5m", "skipMatching": true,
        "bakeTime": "10m", "checkpoints": {"percentages": [20, 100], "delay": "30m"}, "alarms": ["errors"],
        "autoRollback": true, "scaleInProtectedInstances": "Refresh", "standbyInstances": "Refresh",
    });
    estate.follow("Pinned", refresh).await;
    let started = CallQuery::operation("autoscaling", "StartInstanceRefresh");
    let calls = estate.scene.sandbox.wait_for_calls(&started, |calls| !calls.is_empty()).await;
    let sent: std::collections::BTreeMap<_, _> = calls[0]
        .parameters
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix("Preferences.")?, value.as_str())))
        .collect();
    let expected = [
        ("AlarmSpecification.Alarms.member.1", "errors"),
        ("AutoRollback", "true"),
        ("BakeTime", "600"),
        ("CheckpointDelay", "1800"),
        ("CheckpointPercentages.member.1", "20"),
        ("CheckpointPercentages.member.2", "100"),
        ("InstanceWarmup", "300"),
        ("MaxHealthyPercentage", "110"),
        ("MinHealthyPercentage", "90"),
        ("ScaleInProtectedInstances", "Refresh"),
        ("SkipMatching", "true"),
        ("StandbyInstances", "Terminate"),
    ];
    assert_eq!(sent.into_iter().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn aws_rolls_a_pinned_group_back_and_its_reason_is_told() {
    let estate = Estate::new().await;
    estate.group("web", "1", 2);
    estate.backup("second", 60);
    estate.scene.sandbox.set_alarm(&estate.scene.account, REGION, "errors", true);
    let _controller = estate.scene.start().await;
    let refresh = json!({
        "minHealthyPercentage": 0, "instanceWarmup": "0s", "alarms": ["errors"], "autoRollback": true,
    });
    estate.follow("Pinned", refresh).await;
    let pin = estate.wait("rolled back", |pin| told(pin, "Refreshing").1.contains("RollbackSuccessful")).await;
    assert!(told(&pin, "Refreshing").1.contains("errors"), "{:?}", told(&pin, "Refreshing"));
    assert!(is(&pin, "GroupsFollowing", "False/GroupsMoving"), "{:?}", told(&pin, "GroupsFollowing"));
    assert_eq!(status(&pin).groups[0].version.as_deref(), Some("1"));
    assert_eq!(estate.calls("autoscaling", "StartInstanceRefresh"), 1);
}
