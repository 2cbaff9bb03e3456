//! Machines of this cluster whose owner is gone: let go by an annotation, or left behind by an object that was torn away.
//! They are reported and never touched.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{AwsAccount, OWN_SESSION, PROOF_PERIOD_IN_SWEEPS};
use crate::{
    aws::sweep::Snapshot,
    condition::{ConditionType, Reason, Verdict},
    config::Namespaces,
    context::Context,
    ids::{AccountId, Region},
    reconcile::Chain,
    workers::{
        instance::Instance,
        ownership::{JOB_TAG, OWNER_TAG},
    },
};

/// So many are named.
const NAMED: usize = 5;

/// What the sweeps of other objects show of `account`, and its own where nobody looks any more. `None` where nobody ever
/// looked, where not all objects are known, and where there is nothing to report and nothing was.
pub(super) async fn verdict(
    ctx: &Context,
    object: &AwsAccount,
    account: &AccountId,
    before: &[Condition],
) -> Option<Verdict> {
    let before = before.iter().find(|condition| condition.type_ == ConditionType::OrphansFound.as_str());
    let told = before.filter(|condition| condition.status == "True");
    let (seen, complete) = look(ctx, object, account, told.is_some()).await;
    let say = |truth: bool, reason, message: String| Verdict::new(ConditionType::OrphansFound, truth, reason, message);
    // Where one of the regions cannot be looked at, nothing proves that they are gone.
    if let Some(told) = told.filter(|_| !complete) {
        return Some(say(true, Reason::OrphansFound, told.message.clone()));
    }
    let known = ctx.references.holdings().ok().filter(|_| !seen.is_empty())?;
    let mut unowned = BTreeSet::new();
    for (region, snapshot) in &seen {
        for (_, machines) in snapshot.owners().filter(|(uid, _)| !known.uids.contains(uid)) {
            let live = machines.iter().filter(|m| !m.state.is_over() && !known.adopted.contains(&m.id));
            let ours = live.filter_map(|machine| Some((machine, owner(machine)?)));
            let ours = ours.filter(|(_, owner)| is_watched(&ctx.config.namespaces, owner));
            unowned.extend(ours.map(|(machine, owner)| format!("{} in {region} (of {owner})", machine.id)));
        }
    }
    if unowned.is_empty() {
        let message = "every machine that muster launched here has an owner";
        return before.map(|_| say(false, Reason::NoOrphans, message.into()));
    }
    let more = unowned.len().saturating_sub(NAMED);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let named: Vec<_> = unowned.iter().take(NAMED).cloned().collect();
    let message = format!(
        "machines run whose owner is gone: {}{more}; end them, or take them over with spec.adopt of a WorkerFleet",
        named.join(", ")
    );
    Some(say(true, Reason::OrphansFound, message))
}

/// What others saw last, region by region, and whether that is all that was asked for. Where machines were `told` of, it
/// looks itself: nobody else may any more.
async fn look(
    ctx: &Context,
    object: &AwsAccount,
    account: &AccountId,
    told: bool,
) -> (Vec<(Region, Arc<Snapshot>)>, bool) {
    let now = ctx.clock.monotonic();
    let not_before = now.checked_sub(ctx.config.timings.sweep * PROOF_PERIOD_IN_SWEEPS).unwrap_or(now);
    let (mut seen, mut complete) = (Vec::new(), true);
    for region in object.spec.regions.iter().filter_map(|region| Region::try_from(region.as_str()).ok()) {
        let role = object.spec.role_session(OWN_SESSION, &region);
        let session = ctx.aws.session(account.clone(), region.clone(), role.as_ref()).await;
        let snapshot = if told {
            ctx.sweeps.instances(&session, &ctx.config.cluster_name, not_before).await.map(Some)
        } else {
            Ok(ctx.sweeps.last_seen(&session))
        };
        match snapshot {
            Ok(snapshot) => seen.extend(snapshot.map(|snapshot| (region, snapshot))),
            Err(error) => {
                complete = false;
                tracing::debug!(%region, error = %Chain(&error), "not looked for machines without an owner");
            }
        }
    }
    (seen, complete)
}

/// Namespace and name of the object that it was launched for.
fn owner(machine: &Instance) -> Option<&str> {
    [OWNER_TAG, JOB_TAG].iter().find_map(|tag| machine.tags.get(*tag)).map(String::as_str)
}

fn is_watched(namespaces: &Namespaces, owner: &str) -> bool {
    match namespaces {
        Namespaces::All => true,
        Namespaces::Only(names) => owner.split_once('/').is_some_and(|(ns, _)| names.iter().any(|name| name == ns)),
    }
}
