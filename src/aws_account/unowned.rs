//! Machines of this cluster whose owner is gone: let go by an annotation, or left behind by an object that was torn away.
//! They are reported and never touched.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;

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

/// The kinds that run workers.
const RUN_WORKERS: [&str; 2] = ["WorkerFleet", "WorkerJob"];
/// So many are named.
const NAMED: usize = 5;

/// What the sweeps of other objects show of `account`, and its own where nobody looks. `None` where not all objects are
/// known, and where there is nothing to report and nothing was.
pub(super) async fn verdict(
    ctx: &Context,
    object: &AwsAccount,
    account: &AccountId,
    before: &[Condition],
) -> Option<Verdict> {
    let before = before.iter().find(|condition| condition.type_ == ConditionType::OrphansFound.as_str());
    let told = before.filter(|condition| condition.status == "True");
    let say = |truth: bool, reason, message: String| Verdict::new(ConditionType::OrphansFound, truth, reason, message);
    let as_before = || told.map(|told| say(true, Reason::OrphansFound, told.message.clone()));
    // Right after a start it is too early.
    if ctx.references.holdings().is_err() {
        return as_before();
    }
    let (seen, complete) = look(ctx, object, account, told.is_some()).await;
    // Where one of the regions cannot be looked at, nothing proves that they are gone.
    if told.is_some() && !complete {
        return as_before();
    }
    let known = ctx.references.holdings().ok().filter(|_| !seen.is_empty())?;
    let mut unowned = BTreeSet::new();
    for (region, snapshot) in &seen {
        for (uid, machines) in snapshot.owners().filter(|(uid, _)| !known.uids.contains(uid)) {
            let live = machines.iter().filter(|m| !m.state.is_over() && !known.adopted.contains(&m.id));
            let ours = live.filter_map(|machine| Some((machine, owner(machine)?)));
            let ours = ours.filter(|(_, owner)| is_watched(&ctx.config.namespaces, owner));
            let told = |id, owner| format!("{id} in {region} (of {owner} with uid {uid})");
            unowned.extend(ours.map(|(machine, owner)| told(&machine.id, owner)));
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
        "machines run whose owner is gone: {}{more}; end them, or take off their tags muster.dev:* and name them in \
         spec.adopt of a WorkerFleet; a WorkerFleet that is made again under its name takes all that it launched over with \
         the annotation muster.dev/adopt=<uid>",
        named.join(", ")
    );
    Some(say(true, Reason::OrphansFound, message))
}

/// What others saw last, region by region, and whether that is all that was asked for. Where machines were `told` of, and
/// where nobody has looked since this process started nor will, it looks itself.
async fn look(
    ctx: &Context,
    object: &AwsAccount,
    account: &AccountId,
    told: bool,
) -> (Vec<(Region, Arc<Snapshot>)>, bool) {
    let now = ctx.clock.monotonic();
    let not_before = now.checked_sub(ctx.config.timings.sweep * PROOF_PERIOD_IN_SWEEPS).unwrap_or(now);
    let (mut seen, mut complete) = (Vec::new(), true);
    // Whoever is at work in a region looks there; who that is shows a while after the start. An account that is for reports
    // alone may have no right to.
    let looked_after = ctx.references.regions(&object.name_any(), &RUN_WORKERS).unwrap_or_default();
    let first = !ctx.accounts.is_proven(&object.name_any());
    let looks = |region: &Region| !first && runs_workers(object) && !looked_after.contains(region.as_str());
    for region in object.spec.regions.iter().filter_map(|region| Region::try_from(region.as_str()).ok()) {
        let role = object.spec.role_session(OWN_SESSION, &region);
        let session = ctx.aws.session(account.clone(), region.clone(), role.as_ref()).await;
        let snapshot = match ctx.sweeps.last_seen(&session) {
            Some(snapshot) if !told => Ok(snapshot),
            None if !told && !looks(&region) => continue,
            Some(_) | None => ctx.sweeps.instances(&session, &ctx.config.cluster_name, not_before).await,
        };
        match snapshot {
            Ok(snapshot) => seen.push((region, snapshot)),
            Err(error) => {
                complete = false;
                tracing::debug!(%region, error = %Chain(&error), "not looked for machines without an owner");
            }
        }
    }
    (seen, complete)
}

fn runs_workers(account: &AwsAccount) -> bool {
    let mut kinds = account.spec.grants.iter().flat_map(|grant| &grant.kinds);
    kinds.any(|kind| kind == "*" || RUN_WORKERS.contains(&kind.as_str()))
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
