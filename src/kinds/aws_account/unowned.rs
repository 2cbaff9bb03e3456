//! Instances of this cluster without an owner: it was deleted with the annotation `muster.dev/orphan`, or without its
//! finalizer. They are reported and never touched.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;

use crate::{
    access::role_session,
    condition::{ConditionType, Reason, Verdict},
    config::Namespaces,
    crd::aws_account::AwsAccount,
    error_chain::Chain,
    ids::{AccountId, InstanceId, Region, list},
    inventory::instances::Snapshot,
    kinds::aws_account::identity::{OWN_SESSION, PROOF_PERIOD_IN_SWEEPS},
    reconcile::context::Context,
    tags::{owner, quoted},
};

/// How many instances a message names.
const NAMED: usize = 5;

/// The condition OrphansFound, from the sweeps of other objects in `account`, and own sweeps in other regions. `None`
/// if not all objects are known, or if there is nothing to report and nothing was reported before.
pub(super) async fn verdict(
    ctx: &Context,
    object: &AwsAccount,
    account: &AccountId,
    before: &[Condition],
) -> Option<Verdict> {
    let before = before.iter().find(|condition| condition.type_ == ConditionType::OrphansFound.as_str());
    let reported = before.filter(|condition| condition.status == "True");
    let verdict =
        |truth: bool, reason, message: String| Verdict::new(ConditionType::OrphansFound, truth, reason, message);
    let as_before = || reported.map(|before| verdict(true, Reason::OrphansFound, before.message.clone()));
    // Right after a start the caches are not filled.
    if ctx.references.holdings().is_err() {
        return as_before();
    }
    let (snapshots, complete) = snapshots(ctx, object, account, reported.is_some()).await;
    // If a region cannot be read, nothing proves that the reported instances are gone.
    if reported.is_some() && !complete {
        return as_before();
    }
    let known = ctx.references.holdings().ok().filter(|_| !snapshots.is_empty())?;
    let mut unowned = BTreeSet::new();
    for (region, snapshot) in &snapshots {
        for (uid, instances) in snapshot.owners().filter(|(uid, _)| !known.uids.contains(uid)) {
            let live = instances.iter().filter(|m| !m.state.is_over());
            // Anyone who may tag instances can give one the tags, but not the token of a launch by muster.
            let launched = live.filter(|m| m.token().is_some_and(|token| token.belongs_to(&uid)));
            let ours = launched.filter_map(|worker| Some((worker, owner(&worker.tags)?)));
            // Adopted orphans keep the name of their owner, so nobody else can hide them.
            let ours = ours.filter(|(m, owner)| !known.adopted.contains(&(m.id.clone(), (*owner).to_owned())));
            let ours = ours.filter(|(_, owner)| is_watched(&ctx.config.namespaces, owner));
            let named =
                |id: &InstanceId, owner: &str| format!("{id} in {region} (of {} with uid {uid})", quoted(owner));
            unowned.extend(ours.map(|(worker, owner)| named(&worker.id, owner)));
        }
    }
    if unowned.is_empty() {
        let message = "all instances that muster launched here have an owner";
        return before.map(|_| verdict(false, Reason::NoOrphans, message.into()));
    }
    let message = format!(
        "Running instances without an owner: {}. Terminate them, or remove their tags muster.dev:* and name them in \
         spec.adopt of a WorkerFleet. A new WorkerFleet of the same name and with the annotation muster.dev/adopt=<uid> \
         adopts all instances of the old one",
        list(unowned.iter(), NAMED)
    );
    Some(verdict(true, Reason::OrphansFound, message))
}

/// The last sweep of each region by other objects, and whether all regions could be read. If instances were `reported`,
/// and in regions that no other object sweeps, it sweeps itself.
async fn snapshots(
    ctx: &Context,
    object: &AwsAccount,
    account: &AccountId,
    reported: bool,
) -> (Vec<(Region, Arc<Snapshot>)>, bool) {
    let now = ctx.clock.monotonic();
    let not_before = now.checked_sub(ctx.config.timings.sweep * PROOF_PERIOD_IN_SWEEPS).unwrap_or(now);
    let (mut snapshots, mut complete) = (Vec::new(), true);
    // Objects with workers sweep their regions; which regions is known some time after the start. An account that is
    // only for reports may have no permission to sweep.
    let swept = ctx.references.regions_with_workers(&object.name_any()).unwrap_or_default();
    let first = !ctx.accounts.is_proven(&object.name_any());
    let mut granted = object.spec.grants.iter().flat_map(|grant| &grant.kinds);
    let runs_workers = granted.any(|kind| kind == "*" || ctx.references.runs_workers(kind));
    let sweeps = |region: &Region| !first && runs_workers && !swept.contains(region.as_str());
    for region in object.spec.regions.iter().filter_map(|region| Region::try_from(region.as_str()).ok()) {
        let role = role_session(&object.spec, OWN_SESSION, &region);
        let session = ctx.aws.session(account.clone(), region.clone(), role.as_ref()).await;
        let snapshot = match ctx.sweeps.last_seen(&session) {
            Some(snapshot) if !reported => Ok(snapshot),
            None if !reported && !sweeps(&region) => continue,
            Some(_) | None => ctx.sweeps.instances(&session, &ctx.config.cluster_name, not_before).await,
        };
        match snapshot {
            Ok(snapshot) => snapshots.push((region, snapshot)),
            Err(error) => {
                complete = false;
                tracing::debug!(%region, error = %Chain(&error), "cannot search for instances without an owner");
            }
        }
    }
    (snapshots, complete)
}

fn is_watched(namespaces: &Namespaces, owner: &str) -> bool {
    match namespaces {
        Namespaces::All => true,
        Namespaces::Only(names) => owner.split_once('/').is_some_and(|(ns, _)| names.iter().any(|name| name == ns)),
    }
}
