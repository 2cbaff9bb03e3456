//! The commands.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use aws_config::BehaviorVersion;
use aws_config::provider_config::ProviderConfig;
use aws_types::region::Region;
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};

use crate::cadence::{Cadence, Why};
use crate::cli::{Cli, Command};
use crate::clock;
use crate::config::Config;
use crate::instance::{Instance, InstanceReader};
use crate::key::object_key;
use crate::report::{Facts, ROOM_FOR_PROCESSES};
use crate::sources;
use crate::upload::{Uploader, backoff};

pub async fn main(cli: Cli) -> anyhow::Result<()> {
    let config = Config::load(cli.options.config.as_deref(), cli.options.overrides())?;
    match cli.command {
        Command::Check => say(&format!("the configuration is good: reports go to bucket {}", config.bucket)),
        Command::Once { print, attempts } => Agent::new(config).once(print, attempts).await,
        Command::Run => Agent::new(config).run().await,
    }
}

struct Agent {
    config: Config,
    instance: InstanceReader,
}

impl Agent {
    fn new(config: Config) -> Self {
        let instance = InstanceReader::new(&ProviderConfig::default(), &config.proc);
        Self { config, instance }
    }

    /// Reads all facts again. A source that fails is logged and omitted: the other facts are still reported, and a missing
    /// version is noticed more easily than a wrong one.
    async fn gather(&self) -> anyhow::Result<Facts> {
        let instance = self.instance.read().await?;
        let app_version = match &self.config.app_version {
            None => None,
            Some(source) => sources::value(source).await.map_err(|error| left_out("app_version", error)).ok(),
        };
        // An empty list means that nothing runs. If no source could be read, this is unknown.
        let mut processes = self.config.processes.is_empty().then(Vec::new);
        let mut room = ROOM_FOR_PROCESSES;
        for source in &self.config.processes {
            match sources::entries(source, &mut room).await {
                Ok(entries) => processes.get_or_insert_default().extend(entries),
                Err(error) => left_out("processes", error),
            }
        }
        let name = instance.name.clone().or_else(|| self.config.name.clone());
        Ok(Facts { instance, name, app_version, processes })
    }

    async fn uploader(&self, instance: &Instance) -> Uploader {
        let Config { bucket, prefix, key, region, .. } = &self.config;
        let region = region.clone().unwrap_or_else(|| instance.region.clone());
        // With the region given, the SDK does not search for one.
        let here = Region::new(instance.region.clone());
        let sdk = aws_config::defaults(BehaviorVersion::latest()).region(here).load().await;
        Uploader::new(&sdk, region, bucket.clone(), object_key(prefix, *key, instance))
    }

    async fn once(&self, print: bool, attempts: u32) -> anyhow::Result<()> {
        if print {
            return say(&String::from_utf8_lossy(&self.gather().await?.body(clock::now())?));
        }
        let mut failures = 0;
        while let Err(error) = self.report().await {
            failures += 1;
            if failures >= attempts {
                let times = if attempts == 1 { "once" } else { &format!("{attempts} times") };
                return Err(error).with_context(|| format!("tried {times}"));
            }
            let wait = backoff(failures, rand::random());
            tracing::warn!(error = format!("{error:#}"), retry_in = ?wait, "the report was not sent");
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    async fn report(&self) -> anyhow::Result<()> {
        let facts = self.gather().await?;
        let uploader = self.uploader(&facts.instance).await;
        uploader.put(facts.body(clock::now())?).await?;
        tracing::info!(to = %uploader.address(), "reported");
        Ok(())
    }

    async fn run(&self) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let mut resident = Resident { agent: self, cadence: None, failures: 0 };
        loop {
            let turn = async {
                let wait = resident.turn().await;
                tokio::time::sleep(wait).await;
            };
            tokio::select! {
                // A report that is being sent is cancelled: the bucket contains either the complete object or none.
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                () = turn => {}
            }
        }
        tracing::info!("stopping on a signal");
        Ok(())
    }
}

struct Resident<'a> {
    agent: &'a Agent,
    cadence: Option<(Cadence, Uploader)>,
    failures: u32,
}

impl Resident<'_> {
    /// Checks once, and sends a report if one is due. Returns the delay until the next check.
    async fn turn(&mut self) -> Duration {
        match self.check().await {
            Ok(next) => {
                self.failures = 0;
                until(next, self.agent.config.check_interval)
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                let wait = backoff(self.failures, rand::random());
                tracing::warn!(error = format!("{error:#}"), retry_in = ?wait, "the report was not sent");
                wait
            }
        }
    }

    async fn check(&mut self) -> anyhow::Result<Timestamp> {
        let facts = self.agent.gather().await?;
        let (cadence, uploader) = match &mut self.cadence {
            Some(known) => known,
            none @ None => {
                let cadence = Cadence::new(&facts.instance.instance_id, self.agent.config.interval);
                none.insert((cadence, self.agent.uploader(&facts.instance).await))
            }
        };
        if let Some(why) = cadence.due(&facts, clock::now()) {
            let now = clock::now();
            uploader.put(facts.body(now)?).await?;
            tracing::info!(to = %uploader.address(), why = why.as_str(), "reported");
            cadence.sent(facts, now);
        }
        Ok(cadence.next_after(clock::now()))
    }
}

impl Why {
    fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Changed => "facts changed",
            Self::Interval => "interval",
        }
    }
}

fn say(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{text}").context("cannot write to the standard output")
}

fn left_out(field: &'static str, error: sources::SourceError) {
    let error = anyhow::Error::new(error);
    tracing::warn!(field, error = format!("{error:#}"), "omitted from the report");
}

/// The delay until the next check: at most the check interval, and no later than the report time of the instance.
fn until(next: Timestamp, check_interval: Duration) -> Duration {
    let left = Duration::try_from(next.duration_since(clock::now())).unwrap_or_default();
    left.clamp(Duration::from_millis(10), check_interval)
}
