//! The command behind `make demo`, `make dev` and `make memory`.

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
    memory::{Measurement, memory},
};
use tokio::signal::unix::{SignalKind, signal};

/// Runs a Kubernetes API server, AWS on loopback and muster on this computer.
#[derive(Debug, Parser)]
#[command(name = "muster-world")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show what muster does, and exit.
    Demo {
        /// The checkout, with the chart and the examples.
        #[arg(long, default_value = ".")]
        root: PathBuf,
    },
    /// Start everything, and run until Ctrl-C.
    Dev {
        /// The checkout, with the chart.
        #[arg(long, default_value = ".")]
        root: PathBuf,
        /// The folder for `env`, which sets up a shell, and for logs. It is removed when the command ends.
        #[arg(long, default_value = ".dev")]
        folder: PathBuf,
        /// Run the user data of workers on this computer, as you, in a separate folder. Without it, user data is only
        /// stored.
        #[arg(long)]
        user_data: bool,
    },
    /// Measure the memory of the controller with many WorkerFleets without workers. Fails above the limits.
    Memory {
        /// The checkout, which has the chart and the examples.
        #[arg(long, default_value = ".")]
        root: PathBuf,
        /// The program to measure, such as a release build. Default: the one that was built beside this one.
        #[arg(long)]
        muster: Option<PathBuf>,
        /// The number of WorkerFleets.
        #[arg(long, default_value = "10000")]
        objects: usize,
        /// The limit for the controller, in MiB.
        #[arg(long)]
        max_rss: Option<f64>,
        /// The limit for each WorkerFleet, in KiB.
        #[arg(long)]
        max_per_object: Option<f64>,
    },
    /// Run only the Kubernetes API server until Ctrl-C. Prints the path of its kubeconfig.
    Kube {
        /// Run kube-controller-manager too, so that namespaces can be deleted.
        #[arg(long)]
        controller_manager: bool,
    },
}

/// The exit code of a shell for a program that Ctrl-C ended.
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
        Verb::Memory { root, muster, objects, max_rss, max_per_object } => {
            let root = checkout(&root)?;
            memory(&Measurement { root, muster, objects, max_rss, max_per_object }, stop).await?;
        }
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
