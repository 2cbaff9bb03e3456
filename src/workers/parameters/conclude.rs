//! The end of a look, as far as it is about parameters.

use std::collections::BTreeSet;

use super::{
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
    let leftover = tidy(ctx, session, live, ask, in_use).await?;
    let mut now = live.status();
    // What it changed of the status is what stays of it.
    *outcome.status.as_mut() = AsRef::<super::ParametersRecord>::as_ref(&now).clone();
    let synced = Synced { leftover, ..synced };
    let common: &mut CommonStatus = now.as_mut();
    outcome.verdicts.extend(synced.verdict(&common.conditions));
    let next = synced.requeue(&ctx.config.timings);
    outcome.requeue = next.map_or(outcome.requeue, |next| next.min(outcome.requeue));
    Ok(())
}
