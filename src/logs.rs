//! Which log lines there are: those that are asked for, but for those that other people's code would show secrets in.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt, Targets},
    layer::SubscriberExt,
    registry::Registry,
};

/// Writes what `asked` asks for with `lines`, as far as it may be shown.
///
/// A limit of its own, and no directive added to `asked`: there the user's more specific one would win.
pub fn subscriber<L>(asked: EnvFilter, lines: L) -> impl tracing::Subscriber
where
    L: Layer<Registry> + Send + Sync + 'static,
{
    Registry::default().with(lines.with_filter(asked.and(limit())))
}

/// The most that may be shown of each target.
///
/// Parameters hold values of Secrets and pass through libraries that know nothing of that, so all but muster stays at debug.
/// At trace, aws-smithy-runtime shows requests (client/orchestrator.rs, `trace!(request = ?request)`), whose bodies are hidden
/// only while something happens to wrap them; answers and signed bodies, with `LOG_SENSITIVE_BODIES` and `LOG_SIGNABLE_BODY`
/// set; and aws-config what a credential process prints. kube-client quotes any answer that it cannot read in a warning
/// (client/mod.rs, `warn!("{}, {:?}", text, e)`). Its other lines there are about watches, which are begun anew, and about
/// what Kubernetes refused, which comes back as an error that muster tells.
fn limit() -> Targets {
    Targets::new()
        .with_default(LevelFilter::DEBUG)
        .with_target("muster", LevelFilter::TRACE)
        .with_target("kube_client::client", LevelFilter::ERROR)
        .with_target("kube_client::client::builder", LevelFilter::DEBUG)
}
