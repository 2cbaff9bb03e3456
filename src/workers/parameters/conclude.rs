//! The end of a look, as far as it is about parameters.

use std::collections::BTreeSet;

use super::{
    problem::Problem,
    remove::tidy,
    sync::{Ask, WithParameters},
    synced::Synced,
};
use crate::{
    aws::Session,
    context::Context,
    fields::CommonStatus,
    live::Live,
    reconcile::{Failure, Outcome},
    workers::status::WorkersStatus,
};

/// Removes what nothing uses any more, and adds to `outcome` what there is to tell.
///
/// # Errors
/// When the status cannot be written.
pub async fn conclude<K: WithParameters>(
    ctx: &Context,
    session: &Session,
    live: &mut Live<K>,
    ask: &Ask<'_>,
    in_use: Option<&BTreeSet<String>>,
    synced: Synced,
    outcome: &mut Outcome<K::Status>,
) -> Result<(), Failure> {
    // Until all are written, what was written first looks as if nobody used it.
    let leftover = match &synced.problem {
        None | Some(Problem::StoreChanged) => tidy(ctx, session, live, ask, in_use).await?,
        Some(
            Problem::Missing { .. }
            | Problem::Unreadable { .. }
            | Problem::Unusable(_)
            | Problem::Taken { .. }
            | Problem::Aws(_)
            | Problem::Unfinished
            | Problem::Held { .. },
        ) => None,
    };
    let mut now = live.status();
    // What it changed of the status is what stays of it.
    AsMut::<WorkersStatus>::as_mut(&mut outcome.status).parameters.clone_from(&now.as_ref().parameters);
    let synced = Synced { leftover, ..synced };
    let plan = AsMut::<WorkersStatus>::as_mut(&mut outcome.status).plan.as_mut();
    if let Some((plan, step)) = plan.zip(synced.step()) {
        plan.begin_with(step);
    }
    let common = AsMut::<CommonStatus>::as_mut(&mut now);
    outcome.verdicts.extend(synced.verdict(&common.conditions));
    let next = synced.requeue(&ctx.config.timings);
    outcome.requeue = next.map_or(outcome.requeue, |next| next.min(outcome.requeue));
    Ok(())
}
