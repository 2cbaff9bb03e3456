//! How an object that runs workers is let go.

use std::collections::BTreeSet;

use crate::{
    aws::Session,
    condition::{ConditionType, Reason, Truth, Verdict},
    context::Context,
    ids::list,
    live::Live,
    reconcile::{Chain, Failure, Finalized, Outcome, escape},
    workers::{
        conditions::NAMED,
        draft::{Observed, Pass, Plan},
        ledger::Ledger,
        look::{Found, Look, NONE_MAY_VANISH, Scope, WorkerKind},
        observe::live_owner,
        parameters::{self, WithParameters},
        roster::Roster,
    },
};

/// One step towards letting go: `end` plans it, `has_ended` tells whether nothing is left. What was written for the workers
/// goes with them, unless they are to be `retained`.
pub async fn part<K: WorkerKind + WithParameters>(
    ctx: &Context,
    live: &mut Live<K>,
    session: Result<Session, Failure>,
    retained: bool,
    mut end: impl FnMut(&Observed, &Ledger, &mut Pass<'_>) -> Plan + Send,
    has_ended: impl FnOnce(&Found<K::Sight>) -> bool + Send,
) -> Result<Finalized<K::Status>, Failure> {
    let pinned = live.status().as_ref().aws.is_some();
    let Some(session) = unless_never_launched(session, pinned)? else { return Ok(Finalized::Done) };
    let memory = ctx.workers.of(live.uid());
    let mut memory = memory.lock().await;
    memory.revisions.check_cluster(ctx, live).await?;
    let revisions = BTreeSet::new();
    let scope = Scope { status_checks: false, places: &[], revisions: &revisions, may_vanish: NONE_MAY_VANISH };
    let mut look = Look { ctx, session: &session, live, memory: &mut memory };
    let found = look.rounds(scope, |observed, _, ledger, _, pass| end(observed, ledger, pass));
    let found = Box::pin(found).await?;
    if !has_ended(&found) {
        return Ok(Finalized::Waiting(parting(&look, &found)));
    }
    if !retained {
        let owner = live_owner(ctx, live);
        parameters::remove(ctx, &session, live, &owner).await?;
    }
    Ok(Finalized::Done)
}

/// The session to end the workers with, or `None` when there is nothing to end. `pinned`: the status names an account, as it
/// does from the first intent on. So without one nothing was launched, unless the status was lost since (etcd restored from
/// a backup): then a look tells, and where there can be none, there never was one.
fn unless_never_launched(session: Result<Session, Failure>, pinned: bool) -> Result<Option<Session>, Failure> {
    match session {
        Ok(session) => Ok(Some(session)),
        Err(error) if !pinned && !matches!(error, Failure::NotYet(_)) => {
            tracing::info!(error = %Chain(&error), "let go without a look: nothing was ever launched");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// What an object that is being deleted tells.
fn parting<K: WorkerKind>(look: &Look<'_, K>, found: &Found<K::Sight>) -> Outcome<K::Status> {
    let victims = found.ledger.victims().len();
    let launches = found.ledger.launches.len();
    let (condition, reason, message) = match look.memory.undying.iter().next() {
        Some((id, error)) => {
            (ConditionType::Stalled, Reason::DeletionBlocked, format!("{id} is not ended: {error}{}", escape()))
        }
        None => {
            let mut message = format!("{victims} workers are ending, {launches} launches are being settled");
            let Roster { vanished, nameless, .. } = &found.answer.observed.roster;
            let hidden = vanished.len() + (nameless.values().sum::<u32>() + K::hidden(&found.sight)) as usize;
            if hidden > 0 {
                let named =
                    if vanished.is_empty() { String::new() } else { format!(" ({})", list(vanished.iter(), NAMED)) };
                message.push_str(&format!(
                    "; EC2 shows nothing of {hidden} more{named}, neither running nor ended: they are waited for, an hour at \
                     most{}",
                    escape()
                ));
            }
            (ConditionType::Reconciling, Reason::Deleting, message)
        }
    };
    let mut verdicts = vec![
        Verdict::new(ConditionType::Ready, false, reason, message.clone()),
        Verdict::new(condition, true, reason, message),
    ];
    // What was true of it before is not looked after any more.
    let not_known =
        |of: &ConditionType| Verdict::new(*of, Truth::Unknown, Reason::Deleting, "not known while it is being deleted");
    verdicts.extend(K::UNKNOWN_WHILE_STALLED.iter().map(not_known));
    let roster = &found.answer.observed.roster;
    let status = K::with_ledger(look.live.status(), look.session, roster, found.ledger.clone());
    let status = K::parting(status, roster);
    Outcome { status, verdicts, requeue: look.ctx.config.timings.progress.max(found.wait.unwrap_or_default()) }
}
