//! Machines of this cluster whose owner is gone: let go by an annotation, or left behind by an object that was torn away.
//! They are reported and never touched.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::{
    condition::{ConditionType, Reason, Verdict},
    config::Namespaces,
    context::Context,
    ids::AccountId,
    workers::{
        instance::Instance,
        ownership::{JOB_TAG, OWNER_TAG},
    },
};

/// So many are named.
const NAMED: usize = 5;

/// What the sweeps of other objects showed of `account`, without a call. `None` where nobody has looked yet, where not all
/// objects are known, and where there is nothing to report and nothing was.
pub(super) fn verdict(ctx: &Context, account: &AccountId, before: &[Condition]) -> Option<Verdict> {
    let seen = ctx.sweeps.last_seen(account);
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
    let say = |truth: bool, reason, message: String| Verdict::new(ConditionType::OrphansFound, truth, reason, message);
    if unowned.is_empty() {
        let told = before.iter().any(|condition| condition.type_ == ConditionType::OrphansFound.as_str());
        let message = "every machine that muster launched here has an owner";
        return told.then(|| say(false, Reason::NoOrphans, message.into()));
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
