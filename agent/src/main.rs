//! `muster-agent`: see the library.

use std::process::ExitCode;

use clap::Parser as _;
use muster_agent::cli::Cli;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt().with_env_filter(cli.log_filter()).with_writer(std::io::stderr).with_ansi(false).init();
    match muster_agent::run::main(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The chain on one line: what failed, then why.
            eprintln!("muster-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}
