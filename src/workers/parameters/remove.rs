//! Removes parameters that no worker reads any more, and only those that were written for the object.

use std::collections::BTreeSet;

use crate::{
    condition::Reason,
    crd::{fields::CommonStatus, parameters::ParametersStatus, workers_status::WorkersStatus},
    k8s::live::Live,
    reconcile::{Failure, Outcome, context::Context},
    workers::{
        kind::WorkerKind,
        parameters::{
            Ask, Problem, Site, Synced, plan,
            store::{self, Stop},
            sync::record,
        },
    },
    write_ahead::NotSent,
};

/// How many are removed per write of the record: a few seconds in any store.
const AT_ONCE: usize = 20;

/// Removes parameters that nothing uses any more, and adds the state of the others to `outcome`.
///
/// # Errors
/// When the status cannot be written.
pub async fn conclude<K: WorkerKind>(
    live: &mut Live<K>,
    ask: &Ask<'_>,
    in_use: Option<&BTreeSet<String>>,
    synced: Synced,
    outcome: &mut Outcome<K::Status>,
) -> Result<(), Failure> {
    // Until all are written, the first ones look unused.
    let is_written = matches!(synced.problem, None | Some(Problem::StoreChanged));
    let leftover = if is_written { tidy(live, ask, in_use).await? } else { None };
    let mut now = live.status();
    // The outcome must keep the record that was just written.
    AsMut::<WorkersStatus>::as_mut(&mut outcome.status).parameters.clone_from(&now.as_ref().parameters);
    let synced = Synced { leftover, ..synced };
    let plan = AsMut::<WorkersStatus>::as_mut(&mut outcome.status).plan.as_mut();
    if let Some((plan, step)) = plan.zip(synced.step()) {
        plan.begin_with(step);
    }
    let common = AsMut::<CommonStatus>::as_mut(&mut now);
    outcome.verdicts.extend(synced.verdict(&common.conditions));
    let next = synced.requeue(&ask.site.ctx.config.timings);
    outcome.requeue = next.map_or(outcome.requeue, |next| next.min(outcome.requeue));
    Ok(())
}

/// Removes what no worker reads any more. `in_use` are the hashes that the revisions of workers and launches name;
/// `None` if not all of them are known. Returns the problem that prevents it, if any.
///
/// # Errors
/// When the status cannot be written.
async fn tidy<K: WorkerKind>(
    live: &mut Live<K>,
    ask: &Ask<'_>,
    in_use: Option<&BTreeSet<String>>,
) -> Result<Option<Problem>, Failure> {
    let Some(mut status) = record(live).parameters else { return Ok(None) };
    let Some(in_use) = in_use.filter(|_| ask.held.is_none()) else { return Ok(None) };
    let wanted = ask.parameters.is_some_and(|parameters| parameters.store == status.store);
    let current = if wanted { status.hashes.iter().map(|of| of.hash.clone()).collect() } else { BTreeSet::new() };
    let surplus = match (&status.store.s3, wanted) {
        (Some(_), _) => plan::obsolete(&status.written, &current, in_use),
        // Unwanted ones were removed when the others were written.
        (None, true) => return Ok(None),
        (None, false) => status.written.iter().cloned().collect(),
    };
    if !wanted && status.store.parameter_store.is_some() && !status.writing {
        // If they are wanted again before all are gone, they must be compared with the store again.
        status.writing = true;
        store_record(live, ask.site.ctx, &status).await?;
    }
    let status = match remove_in_parts(live, ask.site, status, &surplus).await {
        Ok(status) => status,
        Err(Stop::Problem(problem)) => return Ok(Some(problem)),
        Err(Stop::Failure(failure)) => return Err(failure),
    };
    let mut after = live.status();
    let record = &mut AsMut::<WorkersStatus>::as_mut(&mut after).parameters;
    if !wanted {
        record.parameters_hash = None;
    }
    let hashes = if wanted { status.hashes } else { vec![] };
    let all_gone = !wanted && status.written.is_empty();
    record.parameters = (!all_gone).then_some(ParametersStatus { hashes, ..status });
    live.record(&ask.site.ctx.cluster, after).await?;
    Ok(None)
}

async fn store_record<K: WorkerKind>(
    live: &mut Live<K>,
    ctx: &Context,
    status: &ParametersStatus,
) -> Result<(), Failure> {
    let mut after = live.status();
    AsMut::<WorkersStatus>::as_mut(&mut after).parameters.parameters = Some(status.clone());
    live.record(&ctx.cluster, after).await?;
    Ok(())
}

/// Removes `names` in batches, and removes each batch from the record before the next, so that a restart continues.
/// Returns the record without them; the stored record still has the last batch.
async fn remove_in_parts<K: WorkerKind>(
    live: &mut Live<K>,
    site: Site<'_>,
    mut status: ParametersStatus,
    names: &BTreeSet<String>,
) -> Result<ParametersStatus, Stop> {
    let names: Vec<_> = names.iter().cloned().collect();
    let mut batches = names.chunks(AT_ONCE).peekable();
    while let Some(batch) = batches.next() {
        let batch = batch.iter().cloned().collect();
        store::remove(live, site, &status, &batch).await?;
        status.written = plan::without(&status.written, &batch);
        if batches.peek().is_some() {
            store_record(live, site.ctx, &status).await?;
        }
    }
    Ok(status)
}

/// Removes all parameters of an object that is being deleted, after its workers are terminated.
///
/// # Errors
/// The error of AWS or Kubernetes; the record is kept, and the next call continues.
pub async fn remove<K: WorkerKind>(live: &mut Live<K>, site: Site<'_>) -> Result<(), Failure> {
    let Some(status) = record(live).parameters else { return Ok(()) };
    let all = status.written.iter().cloned().collect();
    match remove_in_parts(live, site, status, &all).await {
        Ok(_) => Ok(()),
        Err(Stop::Failure(failure)) => Err(failure),
        Err(Stop::Problem(Problem::Aws(error))) => Err(error.into()),
        Err(Stop::Problem(Problem::Unfinished)) => Err(NotSent::WindowPassed.into()),
        Err(Stop::Problem(problem)) => Err(Failure::Missing {
            reason: Reason::Deleting,
            message: format!("the parameters were not removed: {}", problem.message()),
        }),
    }
}
