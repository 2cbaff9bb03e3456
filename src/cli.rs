//! The command line.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{CommandFactory, Parser, Subcommand};
use kube::Client;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::util::SubscriberInitExt;

use crate::{
    aws::{Aws, Connection},
    client::{
        report::{self, ReportArgs},
        status::{self, StatusArgs},
    },
    clock::Timings,
    config::ControllerArgs,
    controller,
    crd::schema,
    error_chain::Chain,
    kinds, logs, manifests,
};

/// A Kubernetes controller for fleets of EC2 workers.
#[derive(Debug, Parser)]
#[command(name = "muster", version, after_help = "As kubectl-muster on the PATH it is a plugin: kubectl muster report")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the controller.
    Controller(ControllerArgs),
    /// Show which versions run where, from a kubeconfig or over HTTP.
    Report(ReportArgs),
    /// Show all objects of muster, and what is wrong with them. Exits with 1 unless all are Ready.
    Status(StatusArgs),
    /// Print a script that completes commands in a shell.
    Completions { shell: clap_complete::Shell },
    /// Check manifests without a cluster, beyond the schema: for example the paths of a FleetReport. To check the
    /// schema, use `kubectl apply --dry-run=server`.
    Plan {
        /// A file with manifests; `-` reads standard input.
        #[arg(short, long = "filename", required = true)]
        filename: Vec<PathBuf>,
        /// Ask AWS, with your own credentials, and print what would be done for each LaunchTemplatePin. Nothing is changed.
        #[arg(long)]
        aws: bool,
    },
    /// Print the CustomResourceDefinitions, or write each to a file.
    Crds {
        /// The folder to write to. Other files in it are not changed.
        #[arg(long)]
        dir: Option<PathBuf>,
        /// Write reference pages in Markdown to this folder instead.
        #[arg(long, conflicts_with = "dir")]
        reference: Option<PathBuf>,
    },
}

/// Parses the arguments and runs the command.
pub async fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Controller(args) => control(args).await,
        Command::Report(args) => exit_code("report", report::run(args, &mut std::io::stdout()).await),
        Command::Status(args) => exit_code("status", status::run(args, &mut std::io::stdout()).await),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "muster", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
        Command::Plan { filename, aws } => {
            let aws = if aws { Some(own_aws().await) } else { None };
            exit_code("plan", manifests::check(&filename, aws.as_ref(), &mut std::io::stdout()).await)
        }
        Command::Crds { dir, reference } => {
            exit_code("crds", write_crds(dir.as_deref(), reference.as_deref()).map(|()| true))
        }
    }
}

/// AWS as the caller sees it.
async fn own_aws() -> Aws {
    Aws::connect(Connection::default(), &Timings::default(), Arc::default()).await
}

fn exit_code(command: &str, outcome: Result<bool, Box<dyn std::error::Error>>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("muster {command}: {}", Chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn write_crds(dir: Option<&Path>, reference: Option<&Path>) -> Result<(), Box<dyn std::error::Error>> {
    let (dir, files) = match reference {
        Some(pages) => (Some(pages), schema::reference(&kinds::crds())?),
        None => (dir, schema::render(&kinds::crds())?),
    };
    for (file, text) in files {
        match dir {
            None => print!("---\n{text}"),
            Some(dir) => {
                let path = dir.join(file);
                std::fs::write(&path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
            }
        }
    }
    Ok(())
}

async fn control(args: ControllerArgs) -> ExitCode {
    let requested = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing::level_filters::LevelFilter::INFO.into())
        .from_env_lossy();
    logs::subscriber(requested, tracing_subscriber::fmt::layer().json().flatten_event(true)).init();
    let client = match kube_client().await {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(error = %Chain(&*error), "cannot find a Kubernetes cluster: run in a Pod, or set KUBECONFIG");
            return ExitCode::FAILURE;
        }
    };
    let shutdown = CancellationToken::new();
    let _signals = tokio::spawn(cancel_on_signal(shutdown.clone()));
    match controller::run(args.into(), client, Connection::default(), shutdown).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = %Chain(&error), "the controller stopped");
            ExitCode::FAILURE
        }
    }
}

async fn kube_client() -> Result<Client, Box<dyn std::error::Error + Send + Sync>> {
    let mut config = kube::Config::infer().await?;
    // kube would repeat a write after 429, 503 or 504. muster itself decides which writes are repeated.
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

async fn cancel_on_signal(shutdown: CancellationToken) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("shutting down");
    shutdown.cancel();
}
