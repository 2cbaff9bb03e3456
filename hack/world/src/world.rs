//! The API server, AWS and the controller together.

use std::{
    convert::Infallible,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use muster_sandbox::{Sandbox, SandboxConfig, WorkersConfig};

use crate::{
    KubeApi,
    controller::{Controller, Release, binary},
    environment, kubernetes,
    progress::{Progress, print},
};

/// The region, unless a manifest sets another.
pub const REGION: &str = "us-east-1";
/// The AWS account of the identity of the controller.
pub const ACCOUNT: &str = "123456789012";

/// The first back-off of kubelet. No state shows when another attempt is useful.
const RESTART_PAUSE: Duration = Duration::from_secs(5);

/// The options of a world.
#[derive(Debug, Clone)]
pub struct Options {
    /// The checkout, which has the chart and the examples.
    pub root: PathBuf,
    /// The folder of all logs.
    pub logs: PathBuf,
    /// Runs kube-controller-manager too, so that namespaces can be deleted.
    pub controller_manager: bool,
    /// Runs the user data of workers as the user of this process: only for trusted scripts.
    pub user_data: bool,
    /// The configuration of the agent on workers whose user data writes none.
    pub agent_config: Option<String>,
    /// The controller's program; without it, the one that was built beside this one.
    pub muster: Option<PathBuf>,
}

/// A running world. All parts stop when it is dropped, or when this process ends.
#[derive(Debug)]
pub struct World {
    controller: Controller,
    release: Release,
    logs: PathBuf,
    /// AWS on loopback.
    pub sandbox: Sandbox,
    /// Kubernetes.
    pub kube: KubeApi,
}

impl World {
    /// Starts all parts, one after another.
    pub async fn start(options: &Options, progress: &Progress) -> Result<Self> {
        let chart = options.root.join("charts/muster");
        fs::metadata(&chart).with_context(|| format!("{} is missing: run this in a checkout", chart.display()))?;
        fs::create_dir_all(&options.logs).with_context(|| format!("cannot create {}", options.logs.display()))?;

        let kube = progress
            .step("Starting a Kubernetes API server", async |_| {
                let options = kubernetes::Options {
                    controller_manager: options.controller_manager,
                    logs: Some(options.logs.clone()),
                };
                KubeApi::start_own(&options).await
            })
            .await?;
        let sandbox = progress
            .step("Starting AWS on loopback", async |_| {
                let workers = WorkersConfig {
                    agent: Some(binary("muster-agent")?),
                    agent_config: options.agent_config.clone(),
                    user_data: options.user_data,
                    path: environment::path_text(),
                };
                Sandbox::start(SandboxConfig { workers: Some(workers), ..SandboxConfig::default() }).await
            })
            .await?;
        let release = progress
            .step("Installing muster with helm", async |_| {
                install(&kube, &chart, options.muster.clone().map_or_else(|| binary("muster"), Ok)?).await
            })
            .await?;
        let controller = progress
            .step("Starting the controller", async |_| {
                release.run_replica(&kube, 0, &aws_environment(&sandbox), &options.logs).await
            })
            .await?;
        Ok(Self { controller, release, logs: options.logs.clone(), sandbox, kube })
    }

    /// The environment of a program that uses the sandbox as the root user of [`ACCOUNT`].
    pub fn aws_environment(&self) -> Vec<(String, String)> {
        aws_environment(&self.sandbox)
    }

    /// Creates the requirements of examples/quickstart in an account: a bucket and an instance profile.
    pub fn prepare_quickstart(&self) -> Result<()> {
        let profile = "muster-quickstart-worker";
        self.sandbox.put_instance_profile(&ACCOUNT.parse()?, profile, profile);
        Ok(self.sandbox.s3().ensure_bucket(ACCOUNT, REGION, "muster-quickstart-reports")?)
    }

    /// Restarts the controller when it ends, as kubelet would. Returns only if that is not possible.
    pub async fn keep_controller(&mut self) -> Result<Infallible> {
        loop {
            let status = self.controller.ended().await;
            let _ = print(format_args!("The controller has ended ({status}); it is restarted."));
            self.controller =
                self.release.run_replica(&self.kube, 0, &aws_environment(&self.sandbox), &self.logs).await?;
            let _ = print(
                "The controller runs again, and acts when the lease of the previous one has expired: within a minute.",
            );
            // Do not restart a failing controller all the time.
            tokio::time::sleep(RESTART_PAUSE).await;
        }
    }

    /// The controller that runs now.
    pub fn controller(&self) -> &Controller {
        &self.controller
    }

    /// Stops the controller, and starts another one after it has ended.
    pub async fn restart_controller(self) -> Result<Self> {
        let Self { controller, release, logs, sandbox, kube } = self;
        controller.stop().await?;
        let controller = release.run_replica(&kube, 0, &aws_environment(&sandbox), &logs).await?;
        Ok(Self { controller, release, logs, sandbox, kube })
    }

    /// Stops all parts, in an order in which each can finish its work.
    pub async fn stop(self) -> Result<()> {
        let Self { controller, sandbox, kube, .. } = self;
        controller.stop().await?;
        sandbox.stop().await;
        drop(kube);
        Ok(())
    }
}

async fn install(kube: &KubeApi, chart: &Path, program: PathBuf) -> Result<Release> {
    let release = Release { name: "muster".to_owned(), namespace: "muster-system".to_owned(), program };
    release.install(kube, chart, &["clusterName=sandbox".to_owned()]).await
}

fn aws_environment(sandbox: &Sandbox) -> Vec<(String, String)> {
    let pairs = [
        ("AWS_ENDPOINT_URL", sandbox.endpoint()),
        ("AWS_REGION", REGION.to_owned()),
        ("AWS_DEFAULT_REGION", REGION.to_owned()),
        ("AWS_ACCESS_KEY_ID", format!("AKIASANDBOX{ACCOUNT}")),
        ("AWS_SECRET_ACCESS_KEY", "sandbox".to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        // Credentials of the user for the real AWS must never be used here.
        ("AWS_CONFIG_FILE", "/dev/null".to_owned()),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null".to_owned()),
        ("NO_PROXY", "127.0.0.1,localhost".to_owned()),
        ("no_proxy", "127.0.0.1,localhost".to_owned()),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
