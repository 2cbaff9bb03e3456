//! Collects the sources, each with its AwsAccount.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use jiff::Timestamp;

use crate::{
    access::Claim,
    aws::Session,
    crd::{
        aws_account::BucketUse,
        fleet_report::{FleetReport, FleetReportStatus, Source, Trust},
    },
    error_chain::Chain,
    k8s::live::Live,
    kinds::fleet_report::{
        aggregate::{aggregate, newest},
        collector::{Collector, Latest, Request, SourcePlace},
        desired::{Desired, TOGETHER},
        expected::{Expected, expected},
        index::Index,
        problem::Problem,
        publish::publish,
        readers::{Evaluation, Memory, Reader, SharedMemory},
        status::{Collected, Since, SourceFound},
        view::View,
    },
    reconcile::{Failure, context::Context},
};

/// The state of all sources.
#[derive(Debug)]
pub(super) struct Observed {
    sources: Vec<(SourceFound, Trust, Arc<Index>)>,
    pub(super) expected: Vec<Expected>,
    /// The time until the next source is due.
    pub(super) due: Duration,
    /// A collection was requested by annotation.
    pub(super) requested: bool,
}

/// A source, and the session to read it with.
struct Turn<'a> {
    source: &'a Source,
    session: Result<Session, Failure>,
    /// What the session may read.
    place: Option<SourcePlace>,
}

/// What one FleetReport collected itself, by the names of its sources. While a source cannot be read, only this is
/// shown: a collector may know more, from a FleetReport that may read other places.
#[derive(Debug, Default)]
pub(super) struct Own(HashMap<String, Share>);

#[derive(Debug)]
struct Share {
    source: Source,
    place: SourcePlace,
    latest: Latest,
}

impl Own {
    /// What was collected for `turn` under its present spec. An account that is not available keeps it, a refusal does
    /// not.
    fn of(&self, turn: &Turn<'_>) -> Option<&Share> {
        let read = |s: &Source| (s.aws.clone(), s.bucket.clone(), s.prefix.clone());
        let share = self.0.get(&turn.source.name).filter(|share| read(&share.source) == read(turn.source))?;
        matches!(turn.session, Ok(_) | Err(Failure::Missing { .. })).then_some(share)
    }

    /// Forgets what [`Own::of`] does not show for any of `turns`.
    fn retain(&mut self, turns: &[Turn<'_>]) {
        let shown: Vec<_> = turns.iter().filter(|t| self.of(t).is_some()).map(|t| t.source.name.clone()).collect();
        self.0.retain(|name, _| shown.contains(name));
    }
}

/// Collects the sources that are due, all at the same time.
///
/// # Errors
/// If no source may be read, and no older data exists that would become doubtful. Otherwise the sources that may not be
/// read are reported with their problem.
pub(super) async fn observe(
    ctx: &Context,
    reader: &Reader,
    own: &mut Own,
    live: &Live<FleetReport>,
    desired: &Desired,
) -> Result<Observed, Failure> {
    let status = live.status();
    let mut turns = Vec::with_capacity(desired.sources.len());
    for source in &desired.sources {
        turns.push(turn(ctx, live, source, &status).await);
    }
    let collected = status.last_collected_time.as_ref().map(|at| at.0);
    let temporary = collected.is_none_or(|at| is_current(at, desired, ctx.clock.now()));
    let fails = |turn: &Turn<'_>| match &turn.session {
        Ok(_) => false,
        Err(Failure::Missing { .. }) => temporary,
        Err(_) => collected.is_none(),
    };
    if turns.iter().all(|t| t.session.is_err())
        && let Some(first) = turns.iter().position(fails)
        && let Err(failure) = turns.swap_remove(first).session
    {
        return Err(failure);
    }
    let requested = live.is_reconcile_requested();
    let retry = desired.interval.min(ctx.config.timings.sweep);
    let started = ctx.clock.monotonic();
    let not_before = if requested { started } else { started.checked_sub(retry).unwrap_or(started) };
    let latest = collect(ctx, reader, own, desired, &turns, requested).await;
    // After the reports, so that what has reported just now is seen to run.
    let expected = expected(ctx, live, desired, not_before).await;
    let now = ctx.clock.monotonic();
    let doubtful = expected.iter().any(|one| one.found.is_err());
    let mut due = if doubtful { retry } else { desired.interval };
    let mut sources = Vec::with_capacity(turns.len());
    for (Turn { source, session, .. }, latest) in turns.into_iter().zip(latest) {
        let age = latest.begun.map(|begun| now.saturating_duration_since(begun));
        let left = match (&session, age) {
            (Ok(_), Some(age)) => period(&latest, desired.interval, retry).saturating_sub(age),
            (Ok(_), None) => ctx.config.timings.progress,
            (Err(_), _) => retry,
        };
        due = due.min(left);
        let Latest { index, known, mut problem, .. } = latest;
        let refused = matches!(session, Err(Failure::Refused { .. }));
        let aws = match session {
            Ok(session) => Some(session.place()),
            Err(failure) => {
                let lasting = matches!(failure, Failure::Refused { .. } | Failure::InvalidSpec(_));
                problem = Some(Problem { message: Chain(&failure).to_string(), lasting });
                None
            }
        };
        sources.push((SourceFound { name: source.name.clone(), aws, known, problem, refused }, source.trust, index));
    }
    Ok(Observed { sources, expected, due: due.max(Duration::from_millis(10)), requested })
}

/// Whether the last collection is recent. Then a missing AwsAccount, which may be created soon or not be in the cache
/// yet, does not affect the reports.
fn is_current(collected: Timestamp, desired: &Desired, now: Timestamp) -> bool {
    now.duration_since(collected).unsigned_abs() < desired.interval * 2
}

async fn turn<'a>(ctx: &Context, live: &Live<FleetReport>, source: &'a Source, status: &FleetReportStatus) -> Turn<'a> {
    let pinned = status.sources.iter().find(|s| s.name == source.name).and_then(|s| s.aws.as_ref());
    let (name, prefix) = (source.bucket.clone(), source.prefix.clone());
    let claim = Claim::Bucket { name, prefix, used_for: BucketUse::Reports };
    let session = ctx.authorize(live, &source.aws, pinned, std::slice::from_ref(&claim)).await;
    let owned = session.and_then(|session| {
        let owner = ctx.bucket_owner(live, &source.aws, &session, &claim)?;
        Ok((session, owner))
    });
    match owned {
        Ok((session, owner)) => {
            let place = SourcePlace {
                aws_account: source.aws.account_ref.name.clone(),
                identity: session.identity(),
                region: session.region.clone(),
                bucket: source.bucket.clone(),
                prefix: source.prefix.clone(),
                owner,
            };
            Turn { source, session: Ok(session), place: Some(place) }
        }
        Err(failure) => Turn { source, session: Err(failure), place: None },
    }
}

/// The current state of each source.
async fn collect(
    ctx: &Context,
    reader: &Reader,
    own: &mut Own,
    desired: &Desired,
    turns: &[Turn<'_>],
    requested: bool,
) -> Vec<Latest> {
    let now = ctx.clock.monotonic();
    own.retain(turns);
    // A place that cannot be read now is kept, so that its objects need not be read again.
    let at = |turn: &Turn<'_>| turn.place.clone().or_else(|| own.of(turn).map(|share| share.place.clone()));
    let places: Vec<Option<SourcePlace>> = turns.iter().map(at).collect();
    let mut collectors =
        reader.of(&places.iter().flatten().cloned().collect::<Vec<_>>(), desired.object_size).into_iter();
    let collections = turns.iter().zip(&places).map(|(turn, place)| {
        let collector = place.as_ref().and_then(|_| collectors.next());
        let share = own.of(turn);
        async move {
            match (collector, &turn.session) {
                (Some((collector, object_size, members)), Ok(session)) => {
                    let since = if requested { Some(now) } else { since(ctx, desired, &collector.latest(), now) };
                    let deadline = ctx.config.timings.call_deadline;
                    let (session, concurrency) = (session.clone(), desired.concurrency);
                    wait(collector, Request { session, members, since, object_size, concurrency, deadline }).await
                }
                (None | Some(_), _) => share.map(|share| share.latest.clone()).unwrap_or_default(),
            }
        }
    });
    let latest = join_all(collections).await;
    for ((turn, place), latest) in turns.iter().zip(places).zip(&latest) {
        if let (Ok(_), Some(place)) = (&turn.session, place) {
            let share = Share { source: turn.source.clone(), place, latest: latest.clone() };
            own.0.insert(turn.source.name.clone(), share);
        }
    }
    latest
}

/// Waits for a collection, but not longer than for one call: the first collection of a large bucket takes longer, and
/// continues.
async fn wait(collector: Arc<Collector>, request: Request) -> Latest {
    let patience = request.deadline;
    let task = tokio::spawn({
        let collector = collector.clone();
        async move { collector.collect(request).await }
    });
    match tokio::time::timeout(patience, task).await {
        Ok(Ok(latest)) => latest,
        Ok(Err(_)) | Err(_) => collector.latest(),
    }
}

/// The earliest beginning of a collection that is recent enough; `None` if there was none yet.
fn since(ctx: &Context, desired: &Desired, latest: &Latest, now: Instant) -> Option<Instant> {
    let retry = desired.interval.min(ctx.config.timings.sweep);
    now.checked_sub(period(latest, desired.interval, retry).mul_f64(1.0 - TOGETHER)).or(latest.begun)
}

fn period(latest: &Latest, interval: Duration, retry: Duration) -> Duration {
    if latest.problem.is_some() { retry } else { interval }
}

/// Reads the new and changed objects, and sums up all reports. On a separate thread, because it takes long with many
/// reports, and only few at the same time, because each holds a parsed report and a summary.
pub(super) async fn summarise(
    reader: &Reader,
    memory: &SharedMemory,
    live: &Live<FleetReport>,
    (desired, publishes): (&Arc<Desired>, bool),
    mut observed: Observed,
    now: Timestamp,
) -> Result<Collected, Failure> {
    let stored = live.status().outliers;
    let (desired, member) = (desired.clone(), reader.member().clone());
    // An evaluation goes on when its reconcile ends early. The next one waits for it before it takes a turn.
    let mut remembered = memory.clone().lock_owned().await;
    let evaluation = reader.evaluation().await;
    let work = move || {
        let mut evaluation = evaluation;
        let memory = remembered.get_or_insert_with(|| Memory {
            view: View::new(desired.reading.clone(), member),
            since: Since::default(),
        });
        let indexes: Vec<_> =
            observed.sources.iter().map(|(found, trust, index)| (found.name.clone(), *trust, index.clone())).collect();
        memory.view.update(&desired.reading, &indexes, &mut || evaluation.iter_mut().for_each(Evaluation::let_others));
        for (name, objects) in memory.view.left_out() {
            if let Some((found, ..)) = observed.sources.iter_mut().find(|(found, ..)| found.name == name) {
                let message = format!(
                    "not all values fit into the memory: those of {objects} objects are left out. The FleetReports of this namespace use all of their \
                     memory; give the source a longer prefix, remove fields, or raise --report-memory-mib of the controller"
                );
                found.problem.get_or_insert(Problem { message, lasting: true });
            }
        }
        let known = observed.sources.iter().any(|(found, ..)| found.known.is_some());
        let is_whole = observed.sources.iter().all(|(found, ..)| found.known.is_some() && found.problem.is_none());
        let expected = observed.expected.as_slice();
        let newest = newest(&memory.view);
        let summary = known.then(|| aggregate(&desired, &memory.view, (expected, is_whole), &newest, now));
        let at = observed.sources.iter().filter_map(|(found, ..)| found.known.map(|known| known.at)).max();
        let published = summary.as_ref().zip(at).filter(|_| publishes).map(|(summary, at)| {
            let failed = observed.sources.iter().filter(|(found, ..)| found.problem.is_some());
            let failed = failed.map(|(found, ..)| found.name.clone()).collect();
            publish(&desired, &memory.view, (&newest, summary), (at, failed))
        });
        if let Some(summary) = &summary {
            memory.since.update(&summary.outliers, &stored, now);
        }
        let sources = observed.sources.into_iter().map(|(found, ..)| found).collect();
        Collected { sources, expected: observed.expected, summary, published }
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| Failure::Deadline)
}
