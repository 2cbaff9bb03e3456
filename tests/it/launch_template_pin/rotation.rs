//! A new image becomes a version and the default; nothing else happens at rest.

use kube::api::DeleteParams;
use muster::crd::launch_template_pin::LaunchTemplatePin;
use muster_sandbox::{CallQuery, LaunchTemplateSpec};
use serde_json::json;

use super::{Estate, is, sdk, status, told};
use crate::support::scene::{REGION, Scene};

#[tokio::test]
async fn a_new_image_becomes_a_version_and_the_default() {
    let estate = Estate::new().await;
    let second = estate.backup("second", 60);
    let _controller = estate.scene.start().await;
    estate.create(json!({})).await;
    let pin = estate.wait_default(2).await;
    let now = status(&pin);
    assert_eq!((now.latest_version, now.previous_version), (Some(2), Some(1)));
    assert_eq!(now.current_ami.map(|image| image.id.to_string()), Some(second.clone()));
    assert_eq!(now.launch_template_id.as_deref(), Some(estate.template.as_str()));
    let call = estate.scene.sandbox.calls(&CallQuery::operation("ec2", "CreateLaunchTemplateVersion")).remove(0);
    assert_eq!(call.parameters["SourceVersion"], "1");
    assert_eq!(call.parameters["LaunchTemplateData.ImageId"], second);
    assert!(call.parameters["VersionDescription"].starts_with("muster.dev "), "{:?}", call.parameters);

    let third = estate.backup("third", 1);
    let pin = estate.wait_default(3).await;
    assert_eq!(status(&pin).current_ami.map(|image| image.id.to_string()), Some(third));
    assert_eq!(estate.made(), 2);
}

#[tokio::test]
async fn at_rest_nothing_is_written_and_the_reads_are_shared() {
    let estate = Estate::new().await;
    estate.group("web", "1", 1);
    let _controller = estate.scene.start().await;
    estate.create(json!({"autoScalingGroups": [{"name": "web", "version": "Latest"}]})).await;
    estate.wait_default(1).await;
    let follows = |pin: &LaunchTemplatePin| status(pin).groups.iter().all(|g| g.version.as_deref() == Some("$Latest"));
    estate.wait("the group", |pin| super::is_ready(pin) && follows(pin)).await;
    let sweeps_after = async |number: u64, count: usize| {
        let query = CallQuery { after: Some(number), ..CallQuery::default() };
        let sweeps = |calls: &[muster_sandbox::Call]| {
            calls.iter().filter(|call| call.operation == "DescribeAutoScalingGroups").count() >= count
        };
        estate.scene.sandbox.wait_for_calls(&query, sweeps).await
    };
    sweeps_after(0, estate.calls("autoscaling", "DescribeAutoScalingGroups") + 2).await;
    let before = estate.scene.api::<LaunchTemplatePin>().get("web").await.unwrap().metadata.resource_version;
    let last = estate.scene.sandbox.calls(&CallQuery::default()).last().map_or(0, |call| call.number);
    let calls = sweeps_after(last, 3).await;
    let names: std::collections::BTreeSet<_> = calls.into_iter().map(|call| call.operation).collect();
    let expected = ["DescribeAutoScalingGroups", "DescribeImages", "DescribeLaunchTemplates"];
    assert!(names.iter().all(|name| expected.contains(&name.as_str()) || name == "GetCallerIdentity"), "{names:?}");
    let after = estate.scene.api::<LaunchTemplatePin>().get("web").await.unwrap().metadata.resource_version;
    assert_eq!(before, after, "no write at rest");
    assert_eq!(estate.made(), 0, "the newest version has the newest image already");
}

#[tokio::test]
async fn the_id_of_the_launch_template_may_be_in_a_parameter() {
    let estate = Estate::new().await;
    estate.backup("second", 60);
    let (ssm, value) = (aws_sdk_ssm::Client::new(&sdk(&estate.scene)), estate.template.as_str());
    for (name, type_) in [("/lt/plain", "String"), ("/lt/secret", "SecureString")] {
        ssm.put_parameter().name(name).value(value).r#type(type_.into()).send().await.unwrap();
    }
    let _controller = estate.scene.start().await;
    let by = |parameter: &str| {
        let mut spec = estate.spec(json!({}));
        spec["launchTemplate"] = json!({"idFrom": {"ssmParameter": parameter}});
        spec
    };
    estate.scene.create::<LaunchTemplatePin>("web", by("/lt/secret")).await;
    estate.wait_default(2).await;
    estate.scene.api::<LaunchTemplatePin>().delete("web", &DeleteParams::default()).await.unwrap();
    estate.scene.wait_gone::<LaunchTemplatePin>("web").await;
    estate.scene.create::<LaunchTemplatePin>("web", by("/lt/plain")).await;
    estate.wait_default(2).await;
    assert_eq!(estate.made(), 1, "a new object finds the version of the earlier one");
}

#[tokio::test]
async fn two_objects_do_not_manage_one_launch_template_and_deleting_one_frees_it() {
    let estate = Estate::new().await;
    estate.backup("second", 60);
    let _controller = estate.scene.start().await;
    estate.create(json!({})).await;
    estate.wait_default(2).await;
    estate.scene.create::<LaunchTemplatePin>("other", estate.spec(json!({}))).await;
    let other =
        estate.scene.wait::<LaunchTemplatePin>("other", "a conflict", |pin| is(pin, "Stalled", "True/TemplateTaken"));
    let other = other.await;
    assert!(told(&other, "Conflict").1.contains(&estate.template), "{:?}", told(&other, "Conflict"));
    estate.scene.api::<LaunchTemplatePin>().delete("web", &DeleteParams::default()).await.unwrap();
    estate.scene.wait_gone::<LaunchTemplatePin>("web").await;
    estate.scene.wait::<LaunchTemplatePin>("other", "its turn", super::is_ready).await;
    assert_eq!((estate.made(), estate.calls("ec2", "ModifyLaunchTemplate")), (1, 1));
}

#[tokio::test]
async fn an_object_that_changes_nothing_is_in_nobodys_way() {
    let estate = Estate::new().await;
    estate.backup("second", 60);
    let _controller = estate.scene.start().await;
    estate.scene.create_plan_only::<LaunchTemplatePin>("planned", estate.spec(json!({}))).await;
    estate.scene.wait::<LaunchTemplatePin>("planned", "a plan", |pin| status(pin).plan.is_some()).await;
    estate.create(json!({})).await;
    estate.wait_default(2).await;
}

#[tokio::test]
async fn snapshots_of_the_source_are_carried_over() {
    let scene = Scene::new().await;
    let first = super::image(&scene, "first", 100);
    let mut spec = LaunchTemplateSpec::new(&scene.account, REGION, "web", &first);
    for (key, value) in [
        ("BlockDeviceMapping.1.DeviceName", "/dev/sdf"),
        ("BlockDeviceMapping.1.Ebs.SnapshotId", "snap-0123456789abcdef0"),
        ("BlockDeviceMapping.1.Ebs.VolumeSize", "20"),
        ("BlockDeviceMapping.2.DeviceName", "/dev/sdg"),
        ("BlockDeviceMapping.2.Ebs.VolumeSize", "30"),
    ] {
        spec.data.insert(key.into(), value.into());
    }
    let template = scene.sandbox.add_launch_template(&spec).unwrap();
    let estate = Estate { scene, template, first };
    estate.backup("second", 60);
    let _controller = estate.scene.start().await;
    estate.create(json!({})).await;
    estate.wait_default(2).await;
    let ec2 = aws_sdk_ec2::Client::new(&sdk(&estate.scene));
    let versions = ec2.describe_launch_template_versions().launch_template_id(&estate.template).versions("2");
    let made = versions.send().await.unwrap();
    let data = made.launch_template_versions()[0].launch_template_data().unwrap();
    let devices: Vec<_> = data
        .block_device_mappings()
        .iter()
        .map(|device| {
            let ebs = device.ebs().unwrap();
            (device.device_name().unwrap(), ebs.snapshot_id(), ebs.volume_size())
        })
        .collect();
    assert_eq!(
        devices,
        [("/dev/sdf", Some("snap-0123456789abcdef0"), Some(20)), ("/dev/sdg", None, Some(30))],
        "both devices, one with its snapshot"
    );
}
