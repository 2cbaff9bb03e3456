//! Flags and environment.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use tracing_subscriber::filter::Targets;

use crate::config::{KeyStyle, Overrides};

/// Reports to S3 what runs on this EC2 instance.
#[derive(Debug, Parser)]
#[command(name = "muster-agent", version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub options: Options,
}

#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Keep running and report: at start, when a fact changes, and once per interval, at an offset derived from its ID.
    Run,
    /// Report once and exit.
    Once {
        /// Print the report instead of uploading it.
        #[arg(long)]
        print: bool,
        /// The number of attempts.
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
        attempts: u32,
    },
    /// Check the configuration, print its errors, and exit.
    Check,
}

#[derive(Debug, Clone, Default, Args)]
pub struct Options {
    /// The configuration file. Without one, flags and environment must give all required values [default:
    /// /etc/muster-agent/agent.toml, if it exists]
    #[arg(long, global = true, env = "MUSTER_AGENT_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Bucket to report to; overrides `bucket` in the file.
    #[arg(long, global = true, env = "MUSTER_AGENT_BUCKET")]
    pub bucket: Option<String>,
    /// Prefix of the object's key; overrides `prefix` in the file.
    #[arg(long, global = true, env = "MUSTER_AGENT_PREFIX")]
    pub prefix: Option<String>,
    /// Name the object by the instance's ID or its ARN; overrides `key` in the file.
    #[arg(long, global = true, env = "MUSTER_AGENT_KEY", value_enum)]
    pub key: Option<KeyStyle>,
    /// Region of the bucket; overrides `region` in the file.
    #[arg(long, global = true, env = "MUSTER_AGENT_REGION")]
    pub region: Option<String>,
    /// Name of the instance if its Name tag cannot be read; overrides `name` in the file.
    #[arg(long, global = true, env = "MUSTER_AGENT_NAME")]
    pub name: Option<String>,
    /// The log filter: for example `muster_agent=debug`, or `debug` to include the SDK.
    #[arg(long, global = true, env = "MUSTER_AGENT_LOG", default_value = "muster_agent=info,error")]
    pub log: Targets,
}

impl Cli {
    pub fn log_filter(&self) -> Targets {
        self.options.log.clone()
    }
}

impl Options {
    pub fn overrides(&self) -> Overrides {
        Overrides {
            bucket: self.bucket.clone(),
            prefix: self.prefix.clone(),
            key: self.key,
            region: self.region.clone(),
            name: self.name.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::config::DEFAULT_CONFIG;

    #[test]
    fn the_command_line_definition_is_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_names_the_configuration_file() {
        let help = Cli::command().render_long_help().to_string();
        assert!(help.contains(&format!("{DEFAULT_CONFIG}, if it exists")), "{help}");
    }
}
