//! Old versions are deleted by reference, last, and never one that is in use.

use muster::crd::worker_fleet::WorkerFleet;
use muster_sandbox::{CallQuery, Fault, FaultAction};
use serde_json::json;

use super::{
    Estate,
    groups::{group_by_override, in_an_override},
    is, is_ready, protected, sdk, status, told,
};
use crate::support::{fleet, scene::REGION};

/// Makes versions 2 to `last` as somebody else.
async fn versions(estate: &Estate, last: i64) {
    let ec2 = aws_sdk_ec2::Client::new(&sdk(&estate.scene));
    for version in 2..=last {
        let data = aws_sdk_ec2::types::RequestLaunchTemplateData::builder().image_id(&estate.first).build();
        let call = ec2.create_launch_template_version().launch_template_id(&estate.template).source_version("1");
        call.launch_template_data(data).version_description(format!("by hand {version}")).send().await.unwrap();
    }
}

fn listed(pin: &muster::crd::launch_template_pin::LaunchTemplatePin) -> Vec<i64> {
    protected(pin).into_keys().collect()
}

#[tokio::test]
async fn the_newest_versions_are_kept_and_those_in_use() {
    let estate = Estate::new().await;
    versions(&estate, 6).await;
    // Version 2 is named by a group of somebody else, version 3 runs on an instance, version 4 is named by a fleet.
    estate.group("strangers", "2", 1);
    let ec2 = aws_sdk_ec2::Client::new(&sdk(&estate.scene));
    let template = aws_sdk_ec2::types::LaunchTemplateSpecification::builder().launch_template_id(&estate.template);
    let run = ec2.run_instances().launch_template(template.version("3").build()).min_count(1).max_count(1);
    run.send().await.unwrap();
    let _controller = estate.scene.start().await;
    let base = json!({"launchTemplate": {"id": estate.template, "version": "4"}});
    let mut fleet = fleet::spec(&estate.scene, 0, base);
    fleet["template"].as_object_mut().unwrap().remove("ami");
    estate.scene.create::<WorkerFleet>("user", fleet).await;
    estate.scene.wait::<WorkerFleet>("user", "seen", |f| f.status.is_some()).await;
    estate.backup("new", 1);
    let retention = json!({"keepVersions": 1, "minAge": "0s", "versions": "All"});
    estate.create(json!({"retention": retention})).await;
    let pin = estate.wait("the deletions", |pin| is_ready(pin) && !protected(pin).contains_key(&5)).await;
    // Version 1 was the default before.
    assert_eq!(listed(&pin), [1, 2, 3, 4, 7], "{:?}", protected(&pin));
    let by = protected(&pin);
    for (version, protection) in [(1, "[Rollback]"), (2, "[Group, Instance]"), (3, "[Instance]"), (4, "[Fleet]")] {
        assert_eq!(by[&version], protection);
    }
    assert!(is(&pin, "PruneBlocked", "True/VersionsInUse"), "{:?}", told(&pin, "PruneBlocked"));
    let calls = estate.scene.sandbox.calls(&CallQuery::operation("ec2", "DeleteLaunchTemplateVersions"));
    assert_eq!(calls.len(), 1, "{calls:#?}");
}

#[tokio::test]
async fn versions_of_others_and_young_ones_are_kept() {
    let estate = Estate::new().await;
    versions(&estate, 3).await;
    let _controller = estate.scene.start().await;
    estate.backup("a", 3);
    estate.create(json!({"retention": {"keepVersions": 1, "minAge": "1h"}})).await;
    estate.wait_default(4).await;
    for (name, minutes, version) in [("b", 2, 5), ("c", 1, 6)] {
        estate.backup(name, minutes);
        estate.wait_default(version).await;
    }
    let pin = estate.wait_default(6).await;
    assert_eq!(listed(&pin), [1, 2, 3, 4, 5, 6]);
    assert_eq!(protected(&pin)[&4], "[Age]");
    estate.change(json!({"spec": {"retention": {"minAge": "0s"}}})).await;
    let pin = estate.wait("the deletion", |pin| is_ready(pin) && !protected(pin).contains_key(&4)).await;
    assert_eq!(listed(&pin), [1, 2, 3, 5, 6], "only its own are counted and deleted");
}

#[tokio::test]
async fn a_version_to_which_a_refresh_of_somebody_else_leads_is_kept() {
    let estate = Estate::new().await;
    versions(&estate, 4).await;
    estate.group("strangers", "4", 1);
    estate
        .scene
        .sandbox
        .suspend_process(&estate.scene.account, REGION, "strangers", "Launch", Some("by hand"))
        .unwrap();
    let client = aws_sdk_autoscaling::Client::new(&sdk(&estate.scene));
    let template = aws_sdk_autoscaling::types::LaunchTemplateSpecification::builder();
    let template = template.launch_template_id(&estate.template).version("2").build();
    let desired = aws_sdk_autoscaling::types::DesiredConfiguration::builder().launch_template(template).build();
    let start = client.start_instance_refresh().auto_scaling_group_name("strangers").desired_configuration(desired);
    start.send().await.unwrap();
    let _controller = estate.scene.start().await;
    estate.backup("new", 1);
    estate.create(json!({"retention": {"keepVersions": 1, "minAge": "0s", "versions": "All"}})).await;
    let pin = estate.wait("the deletion", |pin| is_ready(pin) && !protected(pin).contains_key(&3)).await;
    assert_eq!(listed(&pin), [1, 2, 4, 5], "{:?}", protected(&pin));
}

#[tokio::test]
async fn a_version_to_which_a_refresh_leads_an_override_is_kept() {
    let estate = Estate::new().await;
    versions(&estate, 4).await;
    let base = group_by_override(&estate, "strangers", "4").await;
    let client = aws_sdk_autoscaling::Client::new(&sdk(&estate.scene));
    estate
        .scene
        .sandbox
        .suspend_process(&estate.scene.account, REGION, "strangers", "Launch", Some("by hand"))
        .unwrap();
    let desired = aws_sdk_autoscaling::types::DesiredConfiguration::builder();
    let desired = desired.mixed_instances_policy(in_an_override(&estate, &base, "2")).build();
    let start = client.start_instance_refresh().auto_scaling_group_name("strangers").desired_configuration(desired);
    start.send().await.unwrap();
    let denied = FaultAction::Error { code: "AccessDenied".into(), message: None, status: Some(403) };
    let fault = Fault::always("autoscaling", "DescribeInstanceRefreshes", denied);
    let fault = estate.scene.sandbox.add_fault(fault);
    let _controller = estate.scene.start().await;
    estate.backup("new", 1);
    estate.create(json!({"retention": {"keepVersions": 1, "minAge": "0s", "versions": "All"}})).await;
    let is_told = |pin: &_| told(pin, "PruneBlocked").1.contains("autoscaling:DescribeInstanceRefreshes");
    let pin = estate.wait("not known", |pin| is_ready(pin) && is_told(pin)).await;
    assert_eq!(listed(&pin), [1, 2, 3, 4, 5], "what is not known is kept, and nothing else waits for it");
    estate.scene.sandbox.remove_fault(fault);
    let pin = estate.wait("the deletion", |pin| is_ready(pin) && !protected(pin).contains_key(&3)).await;
    assert_eq!(listed(&pin), [1, 2, 4, 5], "{:?}", protected(&pin));
}

#[tokio::test]
async fn versions_that_ec2_does_not_delete_are_told_and_tried_again_seldom() {
    let estate = Estate::new().await;
    versions(&estate, 3).await;
    let _controller = estate.scene.start().await;
    // Deleted or not, EC2 answers 200: what happened is in the rows.
    let refused = FaultAction::Error { code: "InternalError".into(), message: None, status: Some(500) };
    estate.scene.sandbox.add_fault(Fault::once("ec2", "DeleteLaunchTemplateVersions", refused));
    estate.backup("new", 1);
    estate.create(json!({"retention": {"keepVersions": 1, "minAge": "0s", "versions": "All"}})).await;
    let pin = estate.wait("the deletions", |pin| is_ready(pin) && listed(pin) == [1, 4]).await;
    assert_eq!(status(&pin).versions_total, 2);
}
