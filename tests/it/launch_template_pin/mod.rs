//! LaunchTemplatePin: from a new image to every group, with the EC2 and the Auto Scaling of the sandbox.

mod approval;
mod faults;
mod groups;
mod images;
mod killed_at_every_call;
mod notifications;
mod plan;
mod refresh;
mod retention;
mod rotation;
mod scale;
mod walls;

use std::collections::BTreeMap;

use jiff::SignedDuration;
use muster::{
    clock::Clock,
    crd::launch_template_pin::{LaunchTemplatePin, LaunchTemplatePinStatus},
};
use muster_sandbox::{CallQuery, ClockMode, GroupSpec, ImageSpec, LaunchTemplateSpec, Lifecycle, SandboxConfig};
use serde_json::{Value, json};

use crate::support::{
    fleet::with,
    scene::{REGION, Scene, condition},
};

/// AWS as the account's administrator sees it.
fn sdk(scene: &Scene) -> aws_config::SdkConfig {
    let connection = scene.connection();
    aws_config::SdkConfig::builder()
        .behavior_version(aws_config::BehaviorVersion::latest())
        .region(aws_config::Region::from_static(REGION))
        .endpoint_url(connection.endpoint_url.unwrap())
        .credentials_provider(connection.credentials.unwrap())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build()
}

/// The description of images that a nightly backup makes.
const BACKUP: &str = "nightly EC2_BACKUP of web";

/// A region with a launch template of one version, whose image is older than any other.
struct Estate {
    scene: Scene,
    template: String,
    first: String,
}

impl Estate {
    async fn new() -> Self {
        Self::with(SandboxConfig { throttling: false, ..SandboxConfig::default() }).await
    }

    async fn with(config: SandboxConfig) -> Self {
        Self::of(Scene::with(config).await)
    }

    fn of(scene: Scene) -> Self {
        let at_once = std::time::Duration::from_millis(20);
        if scene.sandbox.clock().mode() == ClockMode::Real {
            let lifecycle =
                Lifecycle { pending: at_once, initializing: at_once, shutting_down: at_once, ..Lifecycle::default() };
            crate::support::fleet::set_lifecycle(&scene, lifecycle);
        }
        let first = image(&scene, "first", 100);
        let spec = LaunchTemplateSpec::new(&scene.account, REGION, "web", &first);
        let template = scene.sandbox.add_launch_template(&spec).unwrap();
        Self { scene, template, first }
    }

    /// A spec that follows the images of the backup.
    fn spec(&self, more: Value) -> Value {
        let spec = json!({
            "aws": self.scene.aws(),
            "launchTemplate": {"name": "web"},
            "ami": {"selector": {"owners": ["self"], "description": "*EC2_BACKUP*"}},
        });
        with(spec, more)
    }

    async fn create(&self, more: Value) {
        self.scene.create::<LaunchTemplatePin>("web", self.spec(more)).await;
    }

    /// Creates an object whose group `web` follows, with a refresh.
    async fn follow(&self, version: &str, refresh: Value) {
        let groups = json!([{"name": "web", "version": version}]);
        self.create(json!({"autoScalingGroups": groups, "refresh": refresh})).await;
    }

    async fn change(&self, change: Value) {
        self.scene.change::<LaunchTemplatePin>("web", change).await;
    }

    async fn wait(&self, what: &str, test: impl Fn(&LaunchTemplatePin) -> bool) -> LaunchTemplatePin {
        self.scene.wait::<LaunchTemplatePin>("web", what, test).await
    }

    /// Waits until `version` is the default and nothing is in progress.
    async fn wait_default(&self, version: i64) -> LaunchTemplatePin {
        let test = |pin: &LaunchTemplatePin| {
            let status = status(pin);
            status.default_version == Some(version) && is_ready(pin)
        };
        self.wait(&format!("version {version} as the default"), test).await
    }

    /// A backup that is so many minutes old.
    fn backup(&self, name: &str, minutes: i64) -> String {
        image(&self.scene, name, minutes)
    }

    fn group(&self, name: &str, version: &str, desired: u32) {
        let spec = GroupSpec::new(&self.scene.account, REGION, name, &self.template, desired);
        self.scene.sandbox.add_group(&GroupSpec { version: version.into(), ..spec }).unwrap();
    }

    /// The version of the launch template that each instance of a group runs.
    fn running(&self, group: &str) -> Vec<String> {
        let group = self.scene.sandbox.group(&self.scene.account, REGION, group).unwrap();
        let live = group.members.values();
        let mut versions: Vec<_> = live
            .filter_map(|member| {
                let instance = self.scene.sandbox.instance(&member.instance_id)?;
                instance.tags.get("aws:ec2launchtemplate:version").cloned()
            })
            .collect();
        versions.sort();
        versions
    }

    fn calls(&self, service: &str, operation: &str) -> usize {
        self.scene.sandbox.calls(&CallQuery::operation(service, operation)).len()
    }

    fn made(&self) -> usize {
        self.calls("ec2", "CreateLaunchTemplateVersion")
    }
}

fn image(scene: &Scene, name: &str, minutes: i64) -> String {
    let created = Clock.now() - SignedDuration::from_mins(minutes);
    let spec = ImageSpec::new(&scene.account, REGION, name);
    scene.sandbox.add_image(ImageSpec { description: Some(BACKUP.into()), created: Some(created), ..spec }).id
}

fn status(pin: &LaunchTemplatePin) -> LaunchTemplatePinStatus {
    pin.status.clone().unwrap_or_default()
}

/// The status and the reason of a condition, and its message.
fn told(pin: &LaunchTemplatePin, type_: &str) -> (String, String) {
    let (status, reason, message) = condition(&status(pin).common.conditions, type_).unwrap_or_default();
    (format!("{status}/{reason}"), message)
}

fn is(pin: &LaunchTemplatePin, type_: &str, expected: &str) -> bool {
    told(pin, type_).0 == expected
}

fn is_ready(pin: &LaunchTemplatePin) -> bool {
    let current = status(pin).common.observed_generation == pin.metadata.generation;
    current && told(pin, "Ready").0.starts_with("True/") && status(pin).intents.is_empty()
}

/// What protects each version.
fn protected(pin: &LaunchTemplatePin) -> BTreeMap<i64, String> {
    let rows = status(pin).retained.into_iter();
    rows.map(|row| (row.version, format!("{:?}", row.protected_by))).collect()
}
