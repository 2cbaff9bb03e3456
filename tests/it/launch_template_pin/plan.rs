//! What would be done is told, with what would be in the way, and nothing is changed.

use muster::crd::launch_template_pin::LaunchTemplatePin;
use muster_sandbox::CallQuery;
use serde_json::json;

use super::{Estate, status};
use crate::support::scene::REGION;

#[tokio::test]
async fn the_plan_tells_all_steps_and_changes_nothing() {
    let estate = Estate::new().await;
    let second = estate.backup("second", 60);
    estate.group("web", "1", 2);
    let _controller = estate.scene.start().await;
    let spec = estate.spec(json!({
        "autoScalingGroups": [{"name": "web", "version": "Latest"}],
        "refresh": {"minHealthyPercentage": 50},
        "retention": {"keepVersions": 1, "minAge": "0s", "versions": "All"},
    }));
    estate.scene.create_plan_only::<LaunchTemplatePin>("web", spec).await;
    let pin = estate.wait("a plan", |pin| status(pin).plan.is_some()).await;
    let steps = status(&pin).plan.unwrap().steps;
    let template = &estate.template;
    assert_eq!(
        steps,
        [
            format!("tag launch template {template} as managed by this object"),
            format!("create a version of launch template {template} from version 1 with image {second}"),
            format!("make version 2 the default of launch template {template}"),
            "set Auto Scaling group web to version $Latest".into(),
            "start an instance refresh of Auto Scaling group web to version 2".into(),
        ],
    );
    let writes = estate.scene.sandbox.calls(&CallQuery::default());
    let writes: Vec<_> = writes
        .iter()
        .map(|call| call.operation.as_str())
        .filter(|name| !name.starts_with("Describe") && !name.starts_with("Get") && *name != "AssumeRole")
        .collect();
    assert!(writes.is_empty(), "{writes:?}");
}

#[tokio::test]
async fn the_command_line_tells_the_plan_of_a_manifest_without_a_cluster() {
    let estate = Estate::new().await;
    let second = estate.backup("second", 60);
    estate.group("web", "1", 2);
    let manifest = json!({
        "apiVersion": "muster.dev/v1alpha1", "kind": "LaunchTemplatePin", "metadata": {"name": "web"},
        "spec": estate.spec(json!({"autoScalingGroups": [{"name": "web", "version": "Latest"}]})),
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), manifest.to_string()).unwrap();
    let told = command_line(&estate, &file).await;
    let template = &estate.template;
    assert_eq!(
        String::from_utf8_lossy(&told.stdout).lines().collect::<Vec<_>>(),
        [
            "LaunchTemplatePin web: ok".to_owned(),
            format!("  would tag launch template {template} as managed by this object"),
            format!("  would create a version of launch template {template} from version 1 with image {second}"),
            format!("  would make version 2 the default of launch template {template}"),
            "  would set Auto Scaling group web to version $Latest".into(),
        ],
        "{told:?}"
    );
    assert_eq!((told.status.code(), estate.made()), (Some(0), 0));
}

async fn command_line(estate: &Estate, file: &tempfile::NamedTempFile) -> std::process::Output {
    let keys = format!("AKIASANDBOX{}", estate.scene.account);
    tokio::process::Command::new(env!("CARGO_BIN_EXE_muster"))
        .args(["plan", "--aws", "-f"])
        .arg(file.path())
        .env("AWS_ENDPOINT_URL", estate.scene.sandbox.endpoint())
        .envs([("AWS_ACCESS_KEY_ID", keys.as_str()), ("AWS_SECRET_ACCESS_KEY", "sandbox")])
        .envs([("AWS_REGION", REGION), ("AWS_EC2_METADATA_DISABLED", "true")])
        .output()
        .await
        .unwrap()
}

#[tokio::test]
async fn the_command_line_tells_what_would_be_in_the_way() {
    let estate = Estate::new().await;
    let second = estate.backup("second", 60);
    for (part, lines, code) in [
        (json!({"rollbackTo": 9}), vec!["would be Stalled, nothing would be changed", "VersionNotFound: version 9"], 1),
        (
            json!({"autoScalingGroups": [{"name": "absent", "version": "Latest"}]}),
            vec![
                "would be Stalled",
                "would tag",
                "GroupsNotFollowing: groups that cannot follow: absent does not exist",
            ],
            1,
        ),
        (json!({"approval": "Manual"}), vec![": ok", &*format!("AwaitingApproval: image {second} waits")], 0),
    ] {
        let manifest = json!({
            "apiVersion": "muster.dev/v1alpha1", "kind": "LaunchTemplatePin", "metadata": {"name": "web"},
            "spec": estate.spec(part),
        });
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), manifest.to_string()).unwrap();
        let told = command_line(&estate, &file).await;
        let text = String::from_utf8_lossy(&told.stdout).into_owned();
        assert!(lines.iter().all(|line| text.contains(line)), "{text} {told:?}");
        assert_eq!(told.status.code(), Some(code), "{text}");
    }
    assert_eq!(estate.made(), 0);
}
