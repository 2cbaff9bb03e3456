//! Instances that should report: missing ones, ghosts, and what a namespace may see of them.

use muster::crd::fleet_report::{FleetReport, OutlierReason};
use muster_sandbox::CallQuery;
use serde_json::{Value, json};

use super::{bucket, collect_now, condition_of, id, jiff_now, message, report, spec, status, wait, with};
use crate::support::{
    fleet::set_lifecycle,
    scene::{REGION, Scene},
};

/// Launches `count` instances with `team` and `app` as tags.
async fn launched(scene: &Scene, team: &str, app: &str, count: usize) -> Vec<String> {
    let at_once = std::time::Duration::from_millis(10);
    let lifecycle = muster_sandbox::Lifecycle { pending: at_once, initializing: at_once, ..Default::default() };
    set_lifecycle(scene, lifecycle);
    let image = scene.sandbox.add_image(muster_sandbox::ImageSpec::new(&scene.account, REGION, "app")).id;
    let subnet = scene.sandbox.subnets(&scene.account, REGION).remove(0).id;
    let count = count.to_string();
    let parameters = [
        ("ImageId", image.as_str()),
        ("InstanceType", "t3.micro"),
        ("SubnetId", &subnet),
        ("MinCount", &count),
        ("MaxCount", &count),
        ("TagSpecification.1.ResourceType", "instance"),
        ("TagSpecification.1.Tag.1.Key", "team"),
        ("TagSpecification.1.Tag.1.Value", team),
        ("TagSpecification.1.Tag.2.Key", "app"),
        ("TagSpecification.1.Tag.2.Value", app),
    ];
    let ids = scene.sandbox.launch(&scene.account, REGION, &parameters).unwrap();
    let running = |id: &String| {
        scene
            .sandbox
            .instance(id)
            .is_some_and(|instance| format!("{:?}", instance.state).eq_ignore_ascii_case("running"))
    };
    while !ids.iter().all(running) {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    ids
}

fn put(scene: &Scene, instance: &str) {
    let body = json!({"update_date": jiff_now().to_string(), "instance_id": instance, "app_version": "1.0.0"});
    scene.sandbox.s3().put("prod", &format!("{instance}.json"), body.to_string()).unwrap();
}

fn expecting(scene: &Scene, tags: Value, more: Value) -> Value {
    let core = with(json!({"name": "core", "aws": scene.aws(), "tags": tags}), more);
    with(spec(scene, &["prod"]), json!({"expect": {"instances": [core]}}))
}

#[tokio::test]
async fn an_instance_is_missing_until_it_reports() {
    let scene = Scene::new().await;
    bucket(&scene, "prod");
    let running = launched(&scene, "ml", "core", 2).await;
    // Of the same team and another application, and of another team.
    launched(&scene, "ml", "web", 1).await;
    launched(&scene, "others", "core", 1).await;
    put(&scene, &running[0]);
    let _controller = scene.start().await;
    let tags = json!({"team": "ml", "app": "core"});
    scene.create::<FleetReport>("prod", expecting(&scene, tags, json!({"gracePeriod": "0s"}))).await;
    let found =
        wait(&scene, "prod", "a missing one", |r| status(r).reports.is_some_and(|c| c.missing == Some(1))).await;
    assert_eq!(condition_of(&found, "UpToDate"), "False/InstancesMissing", "{:?}", found.status);
    let told = &status(&found).expected[0];
    assert_eq!((told.running, told.missing, &told.error), (Some(2), Some(1), &None));
    let outliers = status(&found).outliers;
    assert_eq!((outliers.len(), &outliers[0].instance, outliers[0].reason), (1, &running[1], OutlierReason::Missing));
    let since = outliers[0].since.clone();
    let found = collect_now(&scene, "prod", "again").await;
    assert_eq!(status(&found).outliers[0].since, since);
    put(&scene, &running[1]);
    let found = collect_now(&scene, "prod", "reported").await;
    assert_eq!(status(&found).reports.unwrap().missing, Some(0), "{:?}", found.status);
    assert_eq!(condition_of(&found, "UpToDate"), "True/AllAsExpected");
    // A new one has a grace period.
    let tags = json!({"team": "ml", "app": "core"});
    let more = expecting(&scene, tags, json!({"gracePeriod": "1h"}));
    scene.change::<FleetReport>("prod", json!({"spec": {"expect": more["expect"]}})).await;
    launched(&scene, "ml", "core", 1).await;
    let found = collect_now(&scene, "prod", "a new one").await;
    let told = &status(&found).expected[0];
    assert_eq!((told.running, told.missing), (Some(3), Some(0)));
}

#[tokio::test]
async fn what_is_expected_must_be_granted_and_readable() {
    let scene = Scene::new().await;
    bucket(&scene, "prod");
    scene.sandbox.s3().put("prod", &format!("{}.json", id(1)), report(1, "1.0.0")).unwrap();
    launched(&scene, "others", "core", 1).await;
    let _controller = scene.start().await;
    scene.create::<FleetReport>("prod", expecting(&scene, json!({"team": "others"}), json!({}))).await;
    let found = wait(&scene, "prod", "refused", |r| condition_of(r, "Ready") == "False/InstancesUnknown").await;
    assert!(message(&found, "Ready").contains("targetTags: {team: others}"), "{}", message(&found, "Ready"));
    assert_eq!(condition_of(&found, "Stalled"), "True/InstancesUnknown");
    assert_eq!(condition_of(&found, "Collected"), "True/AllSourcesCollected", "the reports are shown all the same");
    let counts = status(&found).reports.unwrap();
    assert_eq!((counts.fresh, counts.missing, counts.ghost), (1, None, None));
    // The sweep of muster's own instances names the cluster.
    let calls = scene.sandbox.calls(&CallQuery::operation("ec2", "DescribeInstances"));
    let all_running = |call: &muster_sandbox::Call| call.parameters.values().all(|value| !value.starts_with("tag:"));
    assert!(!calls.iter().any(all_running), "{calls:#?}");
}
