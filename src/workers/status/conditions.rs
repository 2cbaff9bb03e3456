//! Conditions about EC2 that all kinds that run workers share.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    aws,
    condition::{ConditionType, Reason, Verdict},
    ids::{InstanceId, Uid, list},
    workers::{observe::instances::ObservedInstances, plan::pools::Pool},
};

/// How many ids or pools a message names.
pub const NAMED: usize = 5;

/// ` and 3 more`, where of `total` some are named.
pub fn and_more(total: usize) -> String {
    match total.saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    }
}

/// `CapacityAvailable`. `advice` is added when no pool is left.
pub fn capacity(unavailable: &BTreeMap<Pool, aws::Error>, is_exhausted: bool, advice: &str) -> Verdict {
    let verdict = |truth: bool, reason, message| Verdict::new(ConditionType::CapacityAvailable, truth, reason, message);
    let pools = unavailable.iter();
    let pools = pools.map(|(pool, error)| format!("{} in {}: {}", pool.instance_type, pool.subnet, error.code));
    let named = list(pools, NAMED);
    if is_exhausted {
        verdict(false, Reason::NoCapacity, format!("EC2 has no capacity for {named}; {advice}"))
    } else if unavailable.is_empty() {
        verdict(true, Reason::CapacityFound, "EC2 rejected no launch for insufficient capacity".into())
    } else {
        verdict(true, Reason::CapacityFound, format!("EC2 has no capacity for {named}; other pools are used"))
    }
}

/// The kind of an owner as messages name it.
#[derive(Clone, Copy, Debug)]
pub struct Nouns {
    pub kind: &'static str,
    pub object: &'static str,
}

/// `OrphansFound`. Orphans in `ours` and those of the owners in `settled` are handled elsewhere; `advice` says what to
/// do about orphans of another owner.
pub fn orphans(
    instances: &ObservedInstances,
    (ours, settled): (&BTreeSet<InstanceId>, &BTreeSet<Uid>),
    Nouns { kind, object }: Nouns,
    advice: impl FnOnce(&Uid) -> String,
) -> Verdict {
    let verdict = |truth: bool, reason, message| Verdict::new(ConditionType::OrphansFound, truth, reason, message);
    let mut by_uid: BTreeMap<&Uid, Vec<&InstanceId>> = BTreeMap::new();
    for (id, uid) in instances.orphans.iter().filter(|(id, uid)| !ours.contains(*id) && !settled.contains(*uid)) {
        by_uid.entry(uid).or_default().push(id);
    }
    if let Some((uid, ids)) = by_uid.into_iter().next() {
        let message = format!(
            "{} run for an earlier {kind} of this name with uid {uid}, so no worker is launched while they run; {}",
            list(ids.into_iter(), NAMED),
            advice(uid)
        );
        return verdict(true, Reason::OrphansFound, message);
    }
    if !instances.foreign.is_empty() {
        let message = format!(
            "{} carry the tags of this {object} but were not launched by it: they are neither counted nor changed",
            list(instances.foreign.iter(), NAMED)
        );
        return verdict(true, Reason::ForeignInstancesFound, message);
    }
    verdict(false, Reason::NoOrphans, format!("all instances with the name of this {object} are its own"))
}

/// A message about the instances that EC2 refused to terminate, if any.
pub fn termination_failed(termination_failed: &BTreeMap<InstanceId, aws::Error>) -> Option<String> {
    let (id, error) = termination_failed.iter().next()?;
    let more = match termination_failed.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    Some(format!("{id} was not terminated: {error}{more}"))
}
