//! `make dev`: a local environment for development.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use nix::{sys::signal::kill, unistd::Pid};

use crate::{
    controller,
    objects::{Object, is},
    progress::{Progress, print},
    world::{ACCOUNT, Options, REGION, World},
};

const BUCKET: &str = "reports";

/// What workers report, unless their user data changes it.
const AGENT: &str = r#"
bucket = "reports"
check_interval = "2s"
[app_version]
files = "$ROOT/release"
keys = ["version"]
"#;

const GRANTS: &str = r#"
apiVersion: muster.dev/v1alpha1
kind: AwsAccount
metadata:
  name: default
spec:
  regions: [us-east-1, us-east-2, us-west-2, eu-west-1, eu-central-1, ap-northeast-1]
  grants:
    - namespaces: {names: [default]}
      kinds: ["*"]
      instanceProfiles: ["*"]
      launchTemplates: ["*"]
      autoScalingGroups: ["*"]
      topics: ["*"]
      subnets: ["*"]
      securityGroups: ["*"]
      keyNames: ["*"]
      kmsKeys: ["*"]
      buckets: [{name: "*", uses: [Reports, Results, Parameters]}]
      parameterPaths: ["*"]
"#;

/// Starts the world, writes `env` into `folder`, and keeps everything running until `stop` resolves.
pub async fn dev(root: &Path, folder: &Path, user_data: bool, stop: impl Future<Output = ()>) -> Result<()> {
    let folder = Folder::make(folder)?;
    let work = async {
        let progress = Progress::new();
        let options = Options {
            root: root.to_owned(),
            logs: folder.path.join("logs"),
            controller_manager: true,
            user_data,
            agent_config: Some(AGENT.to_owned()),
            muster: None,
        };
        let world = World::start(&options, &progress).await?;
        progress
            .step("Granting all of AWS to the namespace default", async |_| {
                world.kube.kubectl_with_input(&["apply", "-f", "-"], GRANTS).await?;
                world.sandbox.s3().ensure_bucket(ACCOUNT, REGION, BUCKET)?;
                world.prepare_quickstart()?;
                let account = Object::cluster_wide(world.kube.admin().await?, "AwsAccount", "default");
                account.wait(std::time::Duration::from_secs(30), |status| is(status, "Ready")).await
            })
            .await?;
        let env = folder.write_env(&world)?;
        let user_data = if user_data { "runs on this computer, as you" } else { "is stored, not run" };
        print(format_args!(
            "\nEverything is running. In another shell:\n\n    . {env}\n    kubectl get muster -A\n    aws ec2 describe-subnets\n\n\
             The AwsAccount `default` grants everything to the namespace `default`. Workers report to the bucket \
             `{BUCKET}`;\ntheir user data {user_data}. Logs: {logs}\n\
             Ctrl-C ends all of it.",
            env = env.display(),
            logs = options.logs.display(),
        ))?;
        anyhow::Ok(world)
    };
    let mut stop = std::pin::pin!(stop);
    let mut world = tokio::select! {
        world = work => world?,
        () = &mut stop => {
            let _ = print("Stopped; nothing is left running.");
            return Ok(());
        }
    };
    let kept = tokio::select! {
        Err(error) = world.keep_controller() => Err(error.context("the controller cannot be restarted")),
        () = stop => Ok(()),
    };
    let _ = print("\nStopping ...");
    let stopped = world.stop().await;
    drop(folder);
    kept.and(stopped)
}

/// The file for other shells. It is removed with the world.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn make(path: &Path) -> Result<Self> {
        let path = std::path::absolute(path)?;
        let owner = path.join("pid");
        if let Some(pid) = fs::read_to_string(&owner).ok().and_then(|text| text.trim().parse().ok())
            && kill(Pid::from_raw(pid), None).is_ok()
        {
            bail!("process {pid} already runs a world: use it with `. {}/env`, or stop it first", path.display());
        }
        // Left by a killed process.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        let folder = Self { path };
        fs::write(owner, std::process::id().to_string())?;
        Ok(folder)
    }

    fn write_env(&self, world: &World) -> Result<PathBuf> {
        let mut folders: Vec<String> =
            world.kube.tool_folders().iter().map(|folder| folder.display().to_string()).collect();
        folders.extend(controller::binary("muster")?.parent().map(|folder| folder.display().to_string()));
        let mut text = format!(
            "# Written by `make dev`, and removed when it ends.\nexport PATH={}:\"$PATH\"\nunset AWS_PROFILE AWS_SESSION_TOKEN\n",
            quoted(&folders.join(":"))
        );
        let tools =
            world.kube.tool_environment().into_iter().map(|(name, path)| (name.to_owned(), path.display().to_string()));
        for (name, value) in tools.chain(world.aws_environment()) {
            text.push_str(&format!("export {name}={}\n", quoted(&value)));
        }
        let path = self.path.join("env");
        fs::write(&path, text)?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Quotes the text as one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
