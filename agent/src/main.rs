//! `muster-agent`: see the library.

use std::process::ExitCode;

use clap::Parser as _;
use muster_agent::cli::Cli;
use tracing_subscriber::{Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    tracing_subscriber::registry().with(lines.with_filter(cli.log_filter())).init();
    match muster_agent::run::main(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The chain on one line: what failed, then why.
            eprintln!("muster-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}
