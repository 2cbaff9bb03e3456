//! The command behind `make demo` and `make dev`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};
use muster_world::{KubeApi, dev::dev, kubernetes::Options};
use tokio::signal::unix::{SignalKind, signal};

/// Runs a Kubernetes API server, AWS on loopback and muster between them, on this machine alone.
#[derive(Debug, Parser)]
#[command(name = "muster-world")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Start all of it and stay up until Ctrl-C.
    Dev {
        /// The checkout, which has the chart.
        #[arg(long, default_value = ".")]
        root: PathBuf,
        /// Where to put `env`, which tells a shell how to use the world, and logs. Goes when the world does.
        #[arg(long, default_value = ".dev")]
        folder: PathBuf,
    },
    /// Only the Kubernetes API server, until Ctrl-C. Prints the path of its kubeconfig.
    Kube {
        /// Run kube-controller-manager too, so that namespaces can be deleted.
        #[arg(long)]
        controller_manager: bool,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse().verb).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(verb: Verb) -> Result<ExitCode> {
    let stop = stop_signal()?;
    match verb {
        Verb::Dev { root, folder } => dev(&root.canonicalize()?, &folder, stop).await?,
        Verb::Kube { controller_manager } => {
            let api = KubeApi::start_with(&Options { controller_manager, logs: None }).await?;
            println!("{}", api.kubeconfig().display());
            stop.await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Resolves at the first Ctrl-C or request to end after this call.
fn stop_signal() -> Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
