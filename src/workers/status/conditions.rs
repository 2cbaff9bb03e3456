//! Conditions about EC2 that all kinds that run workers share.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    aws,
    condition::{ConditionType, Reason, Verdict},
    ids::{InstanceId, Uid, list},
    workers::{
        observe::instances::{ObservedInstances, Orphan},
        plan::pools::Pool,
    },
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
    let unsettled = |(id, orphan): &(&InstanceId, &Orphan)| !ours.contains(*id) && !settled.contains(&orphan.uid);
    for (id, orphan) in instances.orphans.iter().filter(unsettled) {
        by_uid.entry(&orphan.uid).or_default().push(id);
    }
    if let Some((uid, orphans)) = by_uid.into_iter().next() {
        let message = format!(
            "{} run for an earlier {kind} of this name with uid {uid}, so no worker is launched while they run; {}",
            list(orphans.into_iter(), NAMED),
            advice(uid)
        );
        return verdict(true, Reason::OrphansFound, message);
    }
    let tampered: Vec<_> = instances.tampered().collect();
    if !tampered.is_empty() {
        let named = list(tampered.iter().map(|(id, tampered)| format!("{id}: {tampered}")), NAMED);
        let frozen = if tampered.iter().all(|(_, tampered)| tampered.is_identified) {
            ""
        } else {
            "; what some of them were launched as is not known, so no worker is launched"
        };
        let message = format!(
            "Somebody changed tags of workers of this {object}. They still count, and are terminated only with the \
             {object}{frozen}: restore the tags, and see in CloudTrail who called CreateTags or DeleteTags. {named}"
        );
        return verdict(true, Reason::TagsChanged, message);
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
