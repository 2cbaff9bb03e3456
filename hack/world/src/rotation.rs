//! The part of the demo about LaunchTemplatePins: a new image reaches the instances of a group, and they report it.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_sandbox::{GroupSpec, ImageSpec, LaunchTemplateSpec, TopicSpec};

use crate::{
    objects::{Object, is},
    progress::{Progress, print},
    versions::{count, version_table},
    world::{ACCOUNT, Options, REGION, World},
};

const NAMESPACE: &str = "rotation";
const NAME: &str = "rotation-web";
const BACKUP_REGION: &str = "us-west-2";
const BUCKET: &str = "muster-rotation-reports";
const PROFILE: &str = "muster-rotation-worker";
const INSTANCES: i64 = 2;
const WITHIN: Duration = Duration::from_secs(90);

/// What every image has: the configuration of the agent. `$ROOT` is the folder of the instance in the sandbox.
const AGENT: &str = r#"
bucket = "muster-rotation-reports"
check_interval = "2s"
interval = "60s"

[app_version]
files = "$ROOT/opt/web/release"
keys = ["version"]
"#;

/// Runs examples/rotation: the first image is in place, then a newer one appears.
pub(crate) async fn show(options: &Options, progress: &Progress, world: &World) -> Result<()> {
    progress
        .step("Applying examples/rotation: images, launch templates and groups in two regions", async |_| {
            prepare(world)?;
            let examples = options.root.join("examples/rotation").display().to_string();
            world.kube.kubectl(&["apply", "-f", &examples]).await
        })
        .await?;
    let client = world.kube.admin().await?;
    let home = Object::namespaced(client.clone(), "LaunchTemplatePin", NAMESPACE, "home");
    let report = Object::namespaced(client, "FleetReport", NAMESPACE, "web");
    progress
        .step("Waiting until the group follows its launch template, and its instances report", async |_| {
            home.wait(WITHIN, |status| is(status, "Ready")).await?;
            report.wait(WITHIN, |status| count(status, "app", "1.0.0") == INSTANCES).await
        })
        .await?;
    print_all(world).await?;

    image(world, REGION, "web-2", "1.1.0");
    // Without the annotation it would be noticed within a minute.
    let now = ["annotate", "-n", NAMESPACE, "launchtemplatepin/home", "muster.dev/requested-at=now"];
    world.kube.kubectl(&now).await?;
    progress
        .step(
            "A backup made image web-2 with version 1.1.0 of the application. Waiting for its roll-out",
            async |step| {
                home.wait(WITHIN, |status| {
                    step.say(status["refreshSummary"].as_str().unwrap_or("making a version").to_owned());
                    status["defaultVersion"] == 2 && status["groups"][0]["refreshStatus"] == "Successful"
                })
                .await
            },
        )
        .await?;
    let last = progress
        .step("Waiting until the instances report it", async |_| {
            report.wait(WITHIN, |status| count(status, "app", "1.1.0") == INSTANCES).await
        })
        .await?;
    print_all(world).await?;
    print(format_args!(
        "Which versions were reported within two minutes; the instances with 1.0.0 are gone:\n\n{}",
        version_table(&last)
    ))?;
    Ok(())
}

async fn print_all(world: &World) -> Result<()> {
    print("\n$ kubectl get ltp,fr --namespace rotation")?;
    print(world.kube.kubectl(&["get", "ltp,fr", "--namespace", NAMESPACE]).await?)?;
    Ok(())
}

/// Creates the requirements of examples/rotation in an account.
pub(crate) fn prepare(world: &World) -> Result<()> {
    let account = ACCOUNT.parse()?;
    let sandbox = &world.sandbox;
    sandbox.put_instance_profile(&account, PROFILE, PROFILE);
    sandbox.s3().ensure_bucket(ACCOUNT, REGION, BUCKET)?;
    sandbox.add_topic(&TopicSpec::new(&account, REGION, "rotation"))?;
    for (region, instances) in [(REGION, 2), (BACKUP_REGION, 0)] {
        let image = image(world, region, "web-1", "1.0.0");
        let mut spec = LaunchTemplateSpec::new(&account, region, NAME, &image);
        spec.data.insert("IamInstanceProfile.Name".into(), PROFILE.into());
        spec.data.insert("UserData".into(), STANDARD.encode("#!/bin/sh\n"));
        let template = sandbox.add_launch_template(&spec)?;
        // As the tool that made it left it.
        let group = GroupSpec::new(&account, region, NAME, &template, instances);
        sandbox.add_group(&GroupSpec { version: "1".into(), max: 4, ..group })?;
        if region == BACKUP_REGION {
            sandbox.set_parameter(&account, region, "/rotation/launch-template", &template);
        }
    }
    Ok(())
}

/// An image with a version of the application on its disk.
fn image(world: &World, region: &str, name: &str, version: &str) -> String {
    let account = ACCOUNT.parse().unwrap_or_else(|_| unreachable!("a constant"));
    let files = [("opt/web/release", format!("version = {version}\n")), ("etc/muster-agent/agent.toml", AGENT.into())];
    let spec = ImageSpec {
        description: Some(format!("Copied from us-east-1, {name}")),
        tags: BTreeMap::from([("app".into(), "web".into())]),
        files: files.map(|(path, text)| (path.to_owned(), text)).into(),
        ..ImageSpec::new(&account, region, name)
    };
    world.sandbox.add_image(spec).id
}
