//! Takes away what nobody reads any more, and only what was written for the object.

use std::collections::BTreeSet;

use super::{
    crd::ParametersStatus,
    plan,
    problem::Problem,
    store::{self, Stop},
    sync::{Ask, WithParameters, record},
};
use crate::{
    aws::Session,
    condition::Reason,
    context::Context,
    live::Live,
    reconcile::Failure,
    workers::{ownership::Owner, status::WorkersStatus},
    write_ahead::NotSent,
};

/// So many are removed in a few seconds, wherever the store is.
const AT_ONCE: usize = 20;

/// Removes what no worker reads any more. `in_use` are the hashes that the revisions of workers and launches name; `None`
/// when not all of these are known. Gives what is in the way.
///
/// # Errors
/// When the status cannot be written.
pub async fn tidy<K: WithParameters>(
    ctx: &Context,
    session: &Session,
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
        // What is not wanted of those was removed when the others were written.
        (None, true) => return Ok(None),
        (None, false) => status.written.iter().cloned().collect(),
    };
    if !wanted && status.store.parameter_store.is_some() && !status.writing {
        // Were they wanted again before all are gone, those that are would be missing.
        status.writing = true;
        let mut begun = live.status();
        AsMut::<WorkersStatus>::as_mut(&mut begun).parameters.parameters = Some(status.clone());
        live.record(ctx, begun).await?;
    }
    let status = match remove_in_parts(ctx, session, live, status, ask.owner, &surplus).await {
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
    live.record(ctx, after).await?;
    Ok(None)
}

/// Removes them some at a time, each lot of which is struck from the record before the next, so that however many there
/// are it comes to an end. Gives the record without them; the last lot is not struck from the one that is stored.
async fn remove_in_parts<K: WithParameters>(
    ctx: &Context,
    session: &Session,
    live: &mut Live<K>,
    mut status: ParametersStatus,
    owner: &Owner,
    names: &BTreeSet<String>,
) -> Result<ParametersStatus, Stop> {
    let names: Vec<_> = names.iter().cloned().collect();
    let mut lots = names.chunks(AT_ONCE).peekable();
    while let Some(lot) = lots.next() {
        let lot = lot.iter().cloned().collect();
        store::remove(ctx, session, live, &status, owner, &lot).await?;
        status.written = plan::without(&status.written, &lot);
        if lots.peek().is_some() {
            let mut after = live.status();
            AsMut::<WorkersStatus>::as_mut(&mut after).parameters.parameters = Some(status.clone());
            live.record(ctx, after).await?;
        }
    }
    Ok(status)
}

/// Removes all that was written for an object that is being deleted. To be done when its workers have ended.
///
/// # Errors
/// What AWS or Kubernetes answered; nothing is forgotten then, and a further call goes on.
pub async fn remove<K: WithParameters>(
    ctx: &Context,
    session: &Session,
    live: &mut Live<K>,
    owner: &Owner,
) -> Result<(), Failure> {
    let Some(status) = record(live).parameters else { return Ok(()) };
    let all = status.written.iter().cloned().collect();
    match remove_in_parts(ctx, session, live, status, owner, &all).await {
        Ok(_) => Ok(()),
        Err(Stop::Failure(failure)) => Err(failure),
        Err(Stop::Problem(Problem::Aws(error))) => Err(error.into()),
        Err(Stop::Problem(Problem::Unfinished)) => Err(NotSent::WindowPassed.into()),
        Err(Stop::Problem(problem)) => Err(Failure::Missing {
            reason: Reason::Deleting,
            message: format!("removing parameters: {}", problem.message()),
        }),
    }
}
