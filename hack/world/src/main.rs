//! The command behind `make demo` and `make dev`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use muster_world::{
    KubeApi,
    demo::{Ending, demo},
    dev::dev,
    kubernetes::Options,
};
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
    /// Show what muster does, and end.
    Demo {
        /// The checkout, which has the chart and the examples.
        #[arg(long, default_value = ".")]
        root: PathBuf,
    },
    /// Start all of it and stay up until Ctrl-C.
    Dev {
        /// The checkout, which has the chart.
        #[arg(long, default_value = ".")]
        root: PathBuf,
        /// Where to put `env`, which tells a shell how to use the world, and logs. Goes when the world does.
        #[arg(long, default_value = ".dev")]
        folder: PathBuf,
        /// Run the user data of workers on this machine, as you, in a folder of its own. Without it, user data is only
        /// stored.
        #[arg(long)]
        user_data: bool,
    },
    /// Only the Kubernetes API server, until Ctrl-C. Prints the path of its kubeconfig.
    Kube {
        /// Run kube-controller-manager too, so that namespaces can be deleted.
        #[arg(long)]
        controller_manager: bool,
    },
}

/// What a shell says of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

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
        Verb::Demo { root } => {
            return Ok(match demo(&checkout(&root)?, stop).await? {
                Ending::Done => ExitCode::SUCCESS,
                Ending::Interrupted => ExitCode::from(INTERRUPTED),
            });
        }
        Verb::Dev { root, folder, user_data } => dev(&checkout(&root)?, &folder, user_data, stop).await?,
        Verb::Kube { controller_manager } => {
            let api = KubeApi::start_own(&Options { controller_manager, logs: None }).await?;
            println!("{}", api.kubeconfig().display());
            stop.await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn checkout(root: &Path) -> Result<PathBuf> {
    root.canonicalize().with_context(|| format!("cannot find the checkout {}", root.display()))
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
