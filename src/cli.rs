//! The command line.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use kube::Client;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::util::SubscriberInitExt;

use crate::{aws::Connection, config::ControllerArgs, controller, crds, logs, manifests, reconcile::Chain};

/// A Kubernetes controller for fleets of EC2 workers.
#[derive(Debug, Parser)]
#[command(name = "muster", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the controller.
    Controller(ControllerArgs),
    /// Check manifests without a cluster: what only muster can tell of them, like the paths of a FleetReport. The schema is
    /// checked by `kubectl apply --dry-run=server`.
    Plan {
        /// A file of manifests; `-` reads them from standard input.
        #[arg(short, long = "filename", required = true)]
        filename: Vec<PathBuf>,
    },
    /// Print the CustomResourceDefinitions, or write them as one file each.
    Crds {
        /// The folder to write to. Files in it that are no longer generated are left alone.
        #[arg(long)]
        dir: Option<PathBuf>,
        /// Write pages that describe every field, as Markdown, to this folder instead.
        #[arg(long, conflicts_with = "dir")]
        reference: Option<PathBuf>,
    },
}

/// Parses the arguments and does what they say.
pub async fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Controller(args) => control(args).await,
        Command::Plan { filename } => match manifests::check(&filename, &mut std::io::stdout()) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("muster plan: {}", Chain(&*error));
                ExitCode::FAILURE
            }
        },
        Command::Crds { dir, reference } => match write_crds(dir.as_deref(), reference.as_deref()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("muster crds: {}", Chain(&*error));
                ExitCode::FAILURE
            }
        },
    }
}

fn write_crds(dir: Option<&Path>, reference: Option<&Path>) -> Result<(), Box<dyn std::error::Error>> {
    let (dir, files) = match reference {
        Some(pages) => (Some(pages), crds::reference()?),
        None => (dir, crds::render()?),
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
    let asked = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing::level_filters::LevelFilter::INFO.into())
        .from_env_lossy();
    logs::subscriber(asked, tracing_subscriber::fmt::layer().json().flatten_event(true)).init();
    let client = match kube_client().await {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(error = %Chain(&*error), "cannot find a Kubernetes cluster: run in a pod, or set KUBECONFIG");
            return ExitCode::FAILURE;
        }
    };
    let shutdown = CancellationToken::new();
    let _signals = tokio::spawn(cancel_on_signal(shutdown.clone()));
    match controller::run(args.into(), client, Connection::default(), shutdown).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = %Chain(&error), "the controller ends");
            ExitCode::FAILURE
        }
    }
}

async fn kube_client() -> Result<Client, Box<dyn std::error::Error + Send + Sync>> {
    let mut config = kube::Config::infer().await?;
    // kube would send a write again when the answer was 429, 503 or 504. We decide ourselves what is sent twice.
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
