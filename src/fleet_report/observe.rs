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
    desired::{Desired, TOGETHER},
    index::Index,
    status::{Found, Problem, Since, SourceFound},
    view::View,
};
use crate::{
    aws::Session,
    aws_account::{Claim, authorize},
    context::Context,
    fields::AwsStatus,
    ids::{AccountId, Region},
    live::Live,
    reconcile::{Chain, Failure, Kind},
};

/// What the sources gave.
#[derive(Debug)]
pub(super) struct Observed {
    sources: Vec<(SourceFound, Trust, Arc<Index>)>,
    /// When the first of them is due again.
    pub(super) due: Duration,
    /// Somebody asked for this look.
    pub(super) requested: bool,
}

/// A source, and whether it may be called.
struct Turn<'a> {
    source: &'a Source,
    session: Result<Session, Failure>,
    /// Absent where it may not be called, and what was collected before may not be shown either.
    place: Option<Place>,
}

/// Looks at the sources whose turn has come, all at once.
///
/// # Errors
/// When not even one source may be called, and there is no older data that this makes doubtful. Otherwise the sources that
/// may not be called are reported with what they lack.
pub(super) async fn observe(ctx: &Context, live: &Live<FleetReport>, desired: &Desired) -> Result<Observed, Failure> {
    let status = live.status();
    let mut turns = Vec::with_capacity(desired.sources.len());
    for source in &desired.sources {
        turns.push(turn(ctx, live, source, &status).await);
    }
    let collected = status.last_collected_time.as_ref().map(|at| at.0);
    let passing = collected.is_none_or(|at| is_current(at, desired, ctx.clock.now()));
    let telling = |turn: &Turn<'_>| match &turn.session {
        Ok(_) => false,
        Err(Failure::Missing { .. }) => passing,
        Err(_) => collected.is_none(),
    };
    if turns.iter().all(|t| t.session.is_err())
        && let Some(first) = turns.iter().position(telling)
        && let Err(failure) = turns.swap_remove(first).session
    {
        return Err(failure);
    }
    let requested = live.is_look_requested();
    let latest = collect(ctx, live, desired, &turns, requested).await;
    let now = ctx.clock.monotonic();
    let retry = desired.interval.min(ctx.config.timings.sweep);
    let mut due = desired.interval;
    let mut sources = Vec::with_capacity(turns.len());
    for (Turn { source, session, .. }, latest) in turns.into_iter().zip(latest) {
        let age = latest.looked.map(|looked| now.saturating_duration_since(looked));
        let left = match (&session, age) {
            (Ok(_), Some(age)) => period(&latest, desired.interval, retry).saturating_sub(age),
            (Ok(_), None) => ctx.config.timings.progress,
            (Err(_), _) => retry,
        };
        due = due.min(left);
        let Latest { index, known, mut problem, .. } = latest;
        let aws = match session {
            Ok(session) => Some(AwsStatus::from(&session)),
            Err(failure) => {
                let lasting = matches!(failure, Failure::Refused { .. } | Failure::InvalidSpec(_));
                problem = Some(Problem { message: Chain(&failure).to_string(), lasting });
                None
            }
        };
        sources.push((SourceFound { name: source.name.clone(), aws, known, problem }, source.trust, index));
    }
    Ok(Observed { sources, due: due.max(Duration::from_millis(10)), requested })
}

/// An AwsAccount that is not there may be on its way (or this process may be), which takes nothing away from what was
/// collected a moment ago.
fn is_current(collected: Timestamp, desired: &Desired, now: Timestamp) -> bool {
    now.duration_since(collected).unsigned_abs() < desired.interval * 2
}

async fn turn<'a>(ctx: &Context, live: &Live<FleetReport>, source: &'a Source, status: &FleetReportStatus) -> Turn<'a> {
    let pinned = status.sources.iter().find(|s| s.name == source.name).and_then(|s| s.aws.as_ref());
    let claims = [Claim::Bucket(source.bucket.clone())];
    let session = authorize(ctx, FleetReport::NAME, live.namespace(), &source.aws, pinned, &claims).await;
    let at = match &session {
        Ok(session) => Some((session.account.clone(), session.region.clone())),
        Err(Failure::Missing { .. }) => pinned.and_then(|pinned| {
            let account = AccountId::try_from(pinned.account_id.as_str()).ok()?;
            Some((account, Region::try_from(pinned.region.as_str()).ok()?))
        }),
        Err(_) => None,
    };
    let place = at.map(|(account, region)| Place {
        aws_account: source.aws.account_ref.name.clone(),
        account,
        region,
        bucket: source.bucket.clone(),
        prefix: source.prefix.clone(),
    });
    Turn { source, session, place }
}

/// What is known of each source now.
async fn collect(
    ctx: &Context,
    live: &Live<FleetReport>,
    desired: &Desired,
    turns: &[Turn<'_>],
    requested: bool,
) -> Vec<Latest> {
    let now = ctx.clock.monotonic();
    let places: Vec<Place> = turns.iter().filter_map(|t| t.place.clone()).collect();
    let mut collectors = ctx.reports.of(live.uid(), &places, desired.object_size).into_iter();
    let looks = turns.iter().map(|turn| {
        let collector = turn.place.as_ref().and_then(|_| collectors.next());
        async move {
            match (collector, &turn.session) {
                (None, _) => Latest::default(),
                (Some((collector, _)), Err(_)) => collector.latest(),
                (Some((collector, object_size)), Ok(session)) => {
                    let since = if requested { Some(now) } else { since(ctx, desired, &collector.latest(), now) };
                    let deadline = ctx.config.timings.call_deadline;
                    let (session, concurrency) = (session.clone(), desired.concurrency);
                    look(collector, Ask { session, since, object_size, concurrency, deadline }).await
                }
            }
        }
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

/// The earliest begin of a look that will do; `None` where there was none yet.
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
