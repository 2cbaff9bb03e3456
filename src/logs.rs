//! The filter of log lines: the requested ones, without those in which libraries would show secrets.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt, Targets},
    layer::SubscriberExt,
    registry::Registry,
};

/// Writes the `requested` lines with `lines`, within [`limit`].
///
/// The limit is a separate filter: a directive in `requested` would lose against a more specific one of the user.
pub fn subscriber<L>(requested: EnvFilter, lines: L) -> impl tracing::Subscriber
where
    L: Layer<Registry> + Send + Sync + 'static,
{
    Registry::default().with(lines.with_filter(requested.and(limit())))
}

/// The maximum level of each target.
///
/// Parameters contain values of Secrets and pass through libraries that may log them, so all targets but muster stay at
/// debug. At trace, aws-smithy-runtime shows requests (client/orchestrator.rs, `trace!(request = ?request)`), whose
/// bodies are hidden only while they happen to be wrapped, and, with `LOG_SENSITIVE_BODIES` and `LOG_SIGNABLE_BODY`
/// set, responses and signed bodies; aws-config shows the output of a credential process. In a warning, kube-client
/// quotes any response that it cannot parse (client/mod.rs, `warn!("{}, {:?}", text, e)`). Its other lines are about
/// watches, which are restarted, and about refused requests, which muster reports itself.
fn limit() -> Targets {
    Targets::new()
        .with_default(LevelFilter::DEBUG)
        .with_target("muster", LevelFilter::TRACE)
        .with_target("kube_client::client", LevelFilter::ERROR)
        .with_target("kube_client::client::builder", LevelFilter::DEBUG)
}
