//! Each image becomes a version once, one refresh runs at a time, and the default is where it belongs, whenever the
//! controller is killed.

use futures::{FutureExt, future::BoxFuture};
use muster::crd::launch_template_pin::{LaunchTemplatePin, Protection};
use serde_json::json;

use super::{Estate, is_ready, status};
use crate::support::{
    crash::{Scenario, converges_after_every_kill, start, stepped},
    scene::{Controller, REGION, Scene},
    tap::{GROUPS, Moment, Point, Tap},
};

const READS: [&str; 8] = [
    "DescribeAutoScalingGroups",
    "DescribeAutoScalingGroups by name",
    "DescribeImages",
    "DescribeInstanceRefreshes",
    "DescribeInstances",
    "DescribeLaunchTemplateVersions",
    "DescribeLaunchTemplates",
    "GetCallerIdentity",
];

struct Part {
    name: &'static str,
    /// How the group follows.
    version: &'static str,
    /// Whether a rotation is over at the beginning.
    rotated: bool,
    act: for<'a> fn(&'a Scene, &'static str) -> BoxFuture<'a, ()>,
    /// The default in the end.
    default: i64,
    /// How many versions there are in the end.
    versions: usize,
    /// How many refreshes there were.
    refreshes: usize,
    calls: &'static [&'static str],
}

/// The template is found again in the sandbox, because a scenario only has a scene.
fn estate(scene: &Scene, version: &str) -> serde_json::Value {
    json!({
        "aws": scene.aws(),
        "launchTemplate": {"name": "web"},
        "ami": {"selector": {"owners": ["self"], "description": "*EC2_BACKUP*"}},
        "autoScalingGroups": [{"name": "web", "version": version}],
        "refresh": {"minHealthyPercentage": 0, "instanceWarmup": "0s"},
        "retention": {"keepVersions": 1, "minAge": "0s", "versions": "All"},
    })
}

impl Scenario for Part {
    type Object = ();

    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn calls(&self) -> &[&str] {
        self.calls
    }

    fn sweep(&self) -> &'static str {
        GROUPS
    }

    /// How often something is read depends on the clock. To be killed before a read is to be killed after the write before
    /// it.
    fn unpredictable(&self) -> &[&str] {
        &READS
    }

    fn moments(&self, point: &Point) -> &'static [Moment] {
        if point.is_read() { &[Moment::Before] } else { &[Moment::Before, Moment::After] }
    }

    async fn scene(&self) -> Scene {
        let estate = Estate::of(Scene::with(stepped()).await);
        estate.backup("second", 60);
        estate.group("web", "1", 2);
        estate.scene
    }

    async fn begin(&self, scene: &Scene, tap: &Tap, stop: Option<(Point, Moment)>) -> Controller {
        if !self.rotated {
            tap.begin(stop);
            return start(scene, tap).await;
        }
        let controller = start(scene, tap).await;
        scene.create::<LaunchTemplatePin>("web", estate(scene, self.version)).await;
        rotated(scene, tap, self.name, (2, 2, 1)).await;
        tap.begin(stop);
        tap.until(|points| points.iter().any(|point| point.operation == GROUPS)).await;
        controller
    }

    async fn act(&self, scene: &Scene) {
        (self.act)(scene, self.version).await;
    }

    async fn assert_ended(&self, scene: &Scene, tap: &Tap, (): &(), case: &str) {
        rotated(scene, tap, case, (self.default, self.versions, self.refreshes)).await;
    }
}

/// Waits for the default, and asserts how many versions and refreshes there are.
async fn rotated(scene: &Scene, tap: &Tap, case: &str, (default, versions, refreshes): (i64, usize, usize)) {
    let over = |pin: &LaunchTemplatePin| {
        let status = status(pin);
        let group = status.groups.first();
        let is_refreshed = group.is_some_and(|g| g.outdated == 0 && g.refresh_status.as_deref() == Some("Successful"));
        // The instances of the other versions are gone, and it was noticed.
        let mut others = status.retained.iter().filter(|row| row.version != default);
        let is_replaced = others.all(|row| {
            !row.protected_by.contains(&Protection::Group) && !row.protected_by.contains(&Protection::Instance)
        });
        is_replaced
            && status.default_version == Some(default)
            && status.versions_total == i32::try_from(versions).unwrap()
            && is_refreshed
            && group.and_then(|group| group.refresh_version) == Some(default)
            && is_ready(pin)
    };
    scene.wait::<LaunchTemplatePin>("web", &format!("{case}: version {default}"), over).await;
    // What protects versions changes while the last instances end. Then two further sweeps write nothing.
    for attempt in 0.. {
        let before = tap.points().len();
        let sweeps = |points: &[Point]| points[before..].iter().filter(|point| point.operation == GROUPS).count();
        tap.until(|points| sweeps(points) >= 2).await;
        let writes: Vec<_> = tap.points().split_off(before).into_iter().filter(|point| !point.is_read()).collect();
        if writes.is_empty() {
            break;
        }
        let is_status = |point: &Point| point.operation == "PUT launchtemplatepins/status";
        assert!(attempt < 10 && writes.iter().all(is_status), "{case}: {writes:?} at rest");
    }
    let group = scene.sandbox.group(&scene.account, REGION, "web").unwrap();
    assert_eq!(group.refreshes.len(), refreshes, "{case}: {:#?}", group.refreshes);
    assert_eq!(group.members.len(), 2, "{case}");
}

const ROTATION: Part = Part {
    name: "rotation",
    version: "Latest",
    rotated: false,
    act: |scene, version| {
        async move { drop(scene.create::<LaunchTemplatePin>("web", estate(scene, version)).await) }.boxed()
    },
    default: 2,
    versions: 2,
    refreshes: 1,
    calls: &[
        "CreateTags",
        "CreateLaunchTemplateVersion",
        "ModifyLaunchTemplate",
        "UpdateAutoScalingGroup",
        "StartInstanceRefresh",
        "PUT launchtemplatepins/status",
    ],
};

/// The group gets its number from the refresh.
const PINNED: Part = Part {
    name: "rotation of a pinned group",
    version: "Pinned",
    calls: &[
        "CreateTags",
        "CreateLaunchTemplateVersion",
        "ModifyLaunchTemplate",
        "StartInstanceRefresh",
        "PUT launchtemplatepins/status",
    ],
    ..ROTATION
};

const NEXT: Part = Part {
    name: "next rotation",
    version: "Latest",
    rotated: true,
    act: |scene, _| async { drop(super::image(scene, "third", 1)) }.boxed(),
    default: 3,
    // Version 2 ran before, version 1 is deleted.
    versions: 2,
    refreshes: 2,
    calls: &[
        "CreateLaunchTemplateVersion",
        "ModifyLaunchTemplate",
        "StartInstanceRefresh",
        "DeleteLaunchTemplateVersions",
        "PUT launchtemplatepins/status",
    ],
};

const ROLLBACK: Part = Part {
    name: "rollback",
    version: "Latest",
    rotated: true,
    act: |scene, _| {
        async { scene.change::<LaunchTemplatePin>("web", json!({"spec": {"rollbackTo": 1}})).await }.boxed()
    },
    default: 1,
    versions: 2,
    refreshes: 2,
    calls: &["ModifyLaunchTemplate", "UpdateAutoScalingGroup", "StartInstanceRefresh", "PUT launchtemplatepins/status"],
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_call_of_a_rotation_the_image_is_one_version_and_one_refresh() {
    converges_after_every_kill(&ROTATION).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_call_of_a_rotation_a_pinned_group_is_refreshed_once() {
    converges_after_every_kill(&PINNED).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_call_of_the_next_rotation_old_versions_go_last() {
    converges_after_every_kill(&NEXT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_call_of_a_rollback_default_and_group_are_on_the_earlier_version() {
    converges_after_every_kill(&ROLLBACK).await;
}
