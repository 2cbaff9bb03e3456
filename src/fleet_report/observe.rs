//! The only reads: every source, each as the AwsAccount that it names.

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use futures::future::join_all;
use jiff::Timestamp;

use super::{
    FleetReport,
    aggregate::aggregate,
    collector::{Ask, Collector, Latest, Memory, Place},
    crd::{FleetReportStatus, Source, Trust},
    desired::Desired,
    index::Index,
    status::{Found, Problem, Since, SourceFound},
    view::View,
};
use crate::{
    aws::Session,
    aws_account::{Claim, authorize},
    context::Context,
    fields::AwsStatus,
    live::{Live, REQUESTED_AT},
    reconcile::{Chain, Failure, Kind},
};

/// Sources whose turn comes this much later, as a part of the interval, are looked at together with those that are due.
const TOGETHER: f64 = 0.1;

/// What the sources gave.
#[derive(Debug)]
pub(super) struct Observed {
    sources: Vec<(SourceFound, Trust, Arc<Index>)>,
    /// When the first of them is due again.
    pub(super) due: Duration,
}

/// Looks at the sources whose turn has come, all at once.
///
/// # Errors
/// When not even one source may be called. If some may, the others are reported with what they lack.
pub(super) async fn observe(ctx: &Context, live: &Live<FleetReport>, desired: &Desired) -> Result<Observed, Failure> {
    let status = live.status();
    let mut allowed = Vec::new();
    let mut refused = Vec::new();
    for source in &desired.sources {
        match session(ctx, live, source, &status).await {
            Ok(session) => allowed.push((source, session)),
            Err(failure) => refused.push((source, failure)),
        }
    }
    if allowed.is_empty()
        && let Some((_, failure)) = refused.pop()
    {
        return Err(failure);
    }
    let latest = collect(ctx, live, desired, &allowed).await;
    let now = ctx.clock.monotonic();
    let retry = desired.interval.min(ctx.config.timings.sweep);
    let mut due = if refused.is_empty() { desired.interval } else { retry };
    let mut sources = Vec::with_capacity(desired.sources.len());
    for ((source, session), latest) in allowed.into_iter().zip(latest) {
        let period = period(&latest, desired.interval, retry);
        let age = latest.looked.map_or(Duration::ZERO, |looked| now.saturating_duration_since(looked));
        let left = if latest.looked.is_none() { ctx.config.timings.progress } else { period.saturating_sub(age) };
        due = due.min(left);
        let aws = AwsStatus { account_id: session.account.to_string(), region: session.region.to_string() };
        let Latest { index, known, problem, .. } = latest;
        sources.push((SourceFound { name: source.name.clone(), aws: Some(aws), known, problem }, source.trust, index));
    }
    for (source, failure) in refused {
        let lasting = matches!(failure, Failure::Refused { .. } | Failure::InvalidSpec(_));
        let problem = Some(Problem { message: Chain(&failure).to_string(), lasting });
        let found = SourceFound { name: source.name.clone(), aws: None, known: None, problem };
        sources.push((found, source.trust, Arc::default()));
    }
    let place = |name: &str| desired.sources.iter().position(|s| s.name == name);
    sources.sort_by_key(|(found, ..)| place(&found.name));
    Ok(Observed { sources, due: due.max(Duration::from_millis(10)) })
}

async fn session(
    ctx: &Context,
    live: &Live<FleetReport>,
    source: &Source,
    status: &FleetReportStatus,
) -> Result<Session, Failure> {
    let pinned = status.sources.iter().find(|s| s.name == source.name).and_then(|s| s.aws.as_ref());
    let claims = [Claim::Bucket(source.bucket.clone())];
    authorize(ctx, FleetReport::NAME, live.namespace(), &source.aws, pinned, &claims).await
}

async fn collect(
    ctx: &Context,
    live: &Live<FleetReport>,
    desired: &Desired,
    sources: &[(&Source, Session)],
) -> Vec<Latest> {
    let places: Vec<Place> = sources
        .iter()
        .map(|(source, session)| Place {
            aws_account: source.aws.account_ref.name.clone(),
            account: session.account.clone(),
            region: session.region.clone(),
            bucket: source.bucket.clone(),
            prefix: source.prefix.clone(),
        })
        .collect();
    let now = ctx.clock.monotonic();
    let requested = live.annotation(REQUESTED_AT).is_some_and(|at| {
        let handled = live.status().common.last_handled_requested_at;
        handled.as_deref() != Some(&*at.chars().take(256).collect::<String>())
    });
    let collectors = ctx.reports.of(live.uid(), &places, desired.object_size);
    let looks = collectors.into_iter().zip(sources).map(|((collector, object_size), (_, session))| {
        let ask = Ask {
            session: session.clone(),
            since: if requested { Some(now) } else { since(ctx, desired, &collector.latest(), now) },
            object_size,
            concurrency: desired.concurrency,
            deadline: ctx.config.timings.call_deadline,
        };
        look(collector, ask)
    });
    join_all(looks).await
}

/// Waits for a look, but not longer than for one call: a first look at a large bucket takes its time, and goes on
/// meanwhile.
async fn look(collector: Arc<Collector>, ask: Ask) -> Latest {
    let patience = ask.deadline;
    let task = tokio::spawn({
        let collector = collector.clone();
        async move { collector.collect(ask).await }
    });
    match tokio::time::timeout(patience, task).await {
        Ok(Ok(latest)) => latest,
        Ok(Err(_)) | Err(_) => collector.latest(),
    }
}

/// How old a look may be. `None` when this place is too young for any look to be too old.
fn since(ctx: &Context, desired: &Desired, latest: &Latest, now: Instant) -> Option<Instant> {
    let retry = desired.interval.min(ctx.config.timings.sweep);
    now.checked_sub(period(latest, desired.interval, retry).mul_f64(1.0 - TOGETHER)).or(latest.looked)
}

fn period(latest: &Latest, interval: Duration, retry: Duration) -> Duration {
    if latest.problem.is_some() { retry } else { interval }
}

/// Reads what is new in what the sources gave, and sums it all up. Takes its time with many reports, so it has a thread
/// of its own.
pub(super) async fn summarise(
    ctx: &Context,
    live: &Live<FleetReport>,
    desired: &Arc<Desired>,
    observed: Observed,
    now: Timestamp,
) -> Result<(Found, Arc<std::sync::Mutex<Option<Memory>>>), Failure> {
    let memory = ctx.reports.memory(live.uid());
    let stored = live.status().outliers;
    let (desired, remembered) = (desired.clone(), memory.clone());
    let work = move || {
        let mut remembered = remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = remembered
            .get_or_insert_with(|| Memory { view: View::new(desired.reading.clone()), since: Since::default() });
        let indexes: Vec<_> =
            observed.sources.iter().map(|(found, trust, index)| (found.name.clone(), *trust, index.clone())).collect();
        memory.view.update(&desired.reading, &indexes);
        let known = observed.sources.iter().any(|(found, ..)| found.known.is_some());
        let summary = known.then(|| aggregate(&desired, &memory.view, now));
        if let Some(summary) = &summary {
            memory.since.update(&summary.outliers, &stored, now);
        }
        Found { sources: observed.sources.into_iter().map(|(found, ..)| found).collect(), summary }
    };
    let found = tokio::task::spawn_blocking(work).await.map_err(|_| Failure::Deadline)?;
    Ok((found, memory))
}
