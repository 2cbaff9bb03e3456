//! How an object that runs workers is finalized.

use std::collections::BTreeSet;

use crate::{
    condition::{ConditionType, Reason, Truth, Verdict},
    error_chain::Chain,
    ids::list,
    k8s::live::Live,
    reconcile::{Failure, Finalized, Outcome, context::Context, escape},
    workers::{
        adoption::withheld_message,
        kind::{Pass, PassResult, Scope, WorkerKind},
        ledger::Ledger,
        observe::{instances::ObservedInstances, live_owner, observed::Observed},
        parameters::{self, Site},
        plan::{Plan, PlanContext, share::Share},
        status::conditions::{NAMED, termination_failed},
    },
};

/// One step of finalizing an object: `plan` terminates its workers, `has_ended` returns whether nothing is left. Then
/// its parameters are removed, unless the workers are `retained`.
pub async fn finalize<K: WorkerKind>(
    ctx: &Context,
    live: &mut Live<K>,
    memory: &mut K::Memory,
    retained: bool,
    mut plan: impl FnMut(&Observed, &Ledger, &mut PlanContext<'_>) -> Plan + Send,
    has_ended: impl FnOnce(&PassResult<K>) -> bool + Send,
) -> Result<Finalized<K::Status>, Failure> {
    let pinned = live.status().as_ref().aws.clone();
    let aws = live.object().workers_spec().aws.clone();
    let session = match ctx.authorize(live, &aws, pinned.as_ref(), &[]).await {
        Ok(session) => session,
        // The first intent pins the account in the status, so without it nothing was launched, unless the status was
        // lost (etcd restored from a backup). Then EC2 shows it; and without a session there never was one.
        Err(error) if pinned.is_none() && !matches!(error, Failure::NotYet(_)) => {
            tracing::info!(error = %Chain(&error), "finalized without a call to AWS: nothing was ever launched");
            return Ok(Finalized::Done);
        }
        Err(error) => return Err(error),
    };
    memory.as_mut().revisions.follow(&live.status().as_ref().revisions);
    memory.as_mut().revisions.check_cluster(ctx, live).await?;
    let owner = live_owner(ctx, live);
    let revisions = BTreeSet::new();
    let scope = Scope { status_checks: false, places: &[], revisions: &revisions, max_missing: NONE_MISSING };
    let mut pass = Pass { ctx, session: &session, owner: &owner, live, memory };
    let found = pass.rounds(scope, |(observed, _, ledger), _, context| (plan(observed, ledger, context), None));
    let found = Box::pin(found).await?;
    if !has_ended(&found) {
        return Ok(Finalized::Waiting(waiting(&mut pass, &found)));
    }
    if !retained {
        parameters::remove(live, Site { ctx, session: &session, owner: &owner }).await?;
    }
    Ok(Finalized::Done)
}

/// While an object is being deleted, no missing instance is given up early, since no later reconcile would manage it.
pub(super) const NONE_MISSING: Share = Share::Number(0);

/// The status of an object that is being deleted.
fn waiting<K: WorkerKind>(pass: &mut Pass<'_, K>, found: &PassResult<K>) -> Outcome<K::Status> {
    let victims = found.ledger.victims().len();
    let launches = found.ledger.launches.len();
    let (condition, reason, message) = match termination_failed(&pass.memory.as_mut().termination_failed) {
        Some(message) => (ConditionType::Stalled, Reason::DeletionBlocked, format!("{message}{}", escape())),
        None => {
            let mut message = format!("{victims} workers are terminating, {launches} launches are being settled");
            let ObservedInstances { overdue, unlisted, withheld, .. } = &found.observed.instances;
            if !withheld.is_empty() {
                let account = &pass.live.object().workers_spec().aws.account_ref.name;
                message.push_str(&format!("; {}{}", withheld_message(withheld, account), escape()));
            }
            let hidden = overdue.len() + (unlisted.values().sum::<u32>() + K::hidden(&found.observation)) as usize;
            if hidden > 0 {
                let named =
                    if overdue.is_empty() { String::new() } else { format!(" ({})", list(overdue.iter(), NAMED)) };
                message.push_str(&format!(
                    "; {hidden} more{named} are missing from DescribeInstances, muster waits up to 1 hour for them{}",
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
    let message = "not checked while the object is being deleted";
    let unknown = |of: &ConditionType| Verdict::new(*of, Truth::Unknown, Reason::Deleting, message);
    verdicts.extend(K::UNKNOWN_WHILE_STALLED.iter().map(unknown));
    let instances = &found.observed.instances;
    let status = K::with_ledger(pass.live.status(), pass.session, instances, found.ledger.clone());
    let status = K::finalizing(status, instances);
    Outcome { status, verdicts, requeue: pass.ctx.config.timings.progress.max(found.wait.unwrap_or_default()) }
}
