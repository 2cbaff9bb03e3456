//! AWS on loopback, as a program of its own.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use muster_sandbox::{ClockMode, Sandbox, SandboxConfig, WorkersConfig};
use tokio::signal::unix::{SignalKind, signal};

/// AWS (EC2, Auto Scaling, S3, SSM Parameter Store, SNS, STS, CloudWatch) on loopback. Prints one JSON line with its endpoint when it is
/// ready, and runs until SIGINT or SIGTERM. Point AWS_ENDPOINT_URL at the endpoint; the access key ID AKIASANDBOX
/// followed by twelve digits is the root user of the account with these digits, with any secret.
#[derive(Debug, Parser)]
#[command(name = "muster-sandbox", version)]
struct Args {
    /// The address to listen on. Port 0 takes a free port.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Stop the clock; it moves only through the control API.
    #[arg(long)]
    manual_clock: bool,
    /// Do not throttle calls.
    #[arg(long)]
    no_throttling: bool,
    /// How many milliseconds pass until describe calls see a write.
    #[arg(long, default_value_t = 0, value_name = "MILLIS")]
    describe_lag: u64,
    /// Give each running instance a folder, a metadata service and processes. User data runs if it is a script.
    #[arg(long)]
    workers: bool,
    /// The program muster-agent, which is run on each worker.
    #[arg(long, requires = "workers", value_name = "PROGRAM")]
    agent: Option<PathBuf>,
    /// The configuration file of the agent; `$ROOT` in it is replaced by the worker's folder.
    #[arg(long, requires = "agent", value_name = "FILE")]
    agent_config: Option<PathBuf>,
}

impl Args {
    fn workers(&self) -> anyhow::Result<Option<WorkersConfig>> {
        if !self.workers {
            return Ok(None);
        }
        let read =
            |path: &PathBuf| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
        let agent_config = self.agent_config.as_ref().map(read).transpose()?;
        // Workers start it from their own folders.
        let find = |path: &PathBuf| path.canonicalize().with_context(|| format!("no agent at {}", path.display()));
        let agent = self.agent.as_ref().map(find).transpose()?;
        Ok(Some(WorkersConfig { agent, agent_config, user_data: true, path: None }))
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let config = SandboxConfig {
        workers: args.workers()?,
        listen: args.listen,
        clock: if args.manual_clock { ClockMode::Manual } else { ClockMode::Real },
        throttling: !args.no_throttling,
        describe_lag: Duration::from_millis(args.describe_lag),
        ..SandboxConfig::default()
    };
    let sandbox = Sandbox::start(config).await?;
    let ready = serde_json::json!({ "endpoint": sandbox.endpoint() });
    writeln!(std::io::stdout().lock(), "{ready}").context("cannot print the endpoint")?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    sandbox.stop().await;
    Ok(())
}
