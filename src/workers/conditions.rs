//! What every kind that runs workers tells of EC2 in the same words.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    aws,
    condition::{ConditionType, Reason, Verdict},
    ids::{InstanceId, Uid, list},
    workers::{pools::Pool, roster::Roster},
};

/// So many ids or pools are named in a message.
pub const NAMED: usize = 5;

/// ` and 3 more`, where of `total` some are named.
pub fn and_more(total: usize) -> String {
    match total.saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    }
}

/// `CapacityAvailable`. `advice` is given where no pool is left.
pub fn capacity(cooling: &BTreeMap<Pool, aws::Error>, none_is_left: bool, advice: &str) -> Verdict {
    let say = |truth: bool, reason, message| Verdict::new(ConditionType::CapacityAvailable, truth, reason, message);
    let named: Vec<_> = cooling
        .iter()
        .take(NAMED)
        .map(|(pool, error)| format!("{} in {}: {}", pool.instance_type, pool.subnet, error.code))
        .collect();
    let named = format!("{}{}", named.join(", "), and_more(cooling.len()));
    if none_is_left {
        say(false, Reason::NoCapacity, format!("EC2 has no capacity for {named}; {advice}"))
    } else if cooling.is_empty() {
        say(true, Reason::CapacityFound, "EC2 refused no launch for want of capacity".into())
    } else {
        say(true, Reason::CapacityFound, format!("other pools are used, since EC2 has no capacity for {named}"))
    }
}

/// The kind of an owner as messages name it.
#[derive(Clone, Copy, Debug)]
pub struct Nouns {
    pub kind: &'static str,
    pub object: &'static str,
}

/// `OrphansFound`. Orphans of the owners in `settled` and those in `ours` are somebody's business already; `advice` says
/// what can be done about those of another.
pub fn orphans(
    roster: &Roster,
    (ours, settled): (&BTreeSet<InstanceId>, &BTreeSet<Uid>),
    Nouns { kind, object }: Nouns,
    advice: impl FnOnce(&Uid) -> String,
) -> Verdict {
    let say = |truth: bool, reason, message| Verdict::new(ConditionType::OrphansFound, truth, reason, message);
    let mut by_uid: BTreeMap<&Uid, Vec<&InstanceId>> = BTreeMap::new();
    for (id, uid) in roster.orphans.iter().filter(|(id, uid)| !ours.contains(*id) && !settled.contains(*uid)) {
        by_uid.entry(uid).or_default().push(id);
    }
    if let Some((uid, ids)) = by_uid.into_iter().next() {
        let message = format!(
            "{} run for an earlier {kind} of this name with uid {uid}, so none is launched beside them; {}",
            list(ids.into_iter(), NAMED),
            advice(uid)
        );
        return say(true, Reason::OrphansFound, message);
    }
    if !roster.strangers.is_empty() {
        let message = format!(
            "{} carry the tags of this {object} and were not launched by it: they are not counted and not touched",
            list(roster.strangers.iter(), NAMED)
        );
        return say(true, Reason::StrangersFound, message);
    }
    say(false, Reason::NoOrphans, format!("every machine with this {object}'s name is its own"))
}

/// What EC2 refused to end, if anything, in words.
pub fn undying(undying: &BTreeMap<InstanceId, aws::Error>) -> Option<String> {
    let (id, error) = undying.iter().next()?;
    let more = match undying.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    Some(format!("{id} is not ended: {error}{more}"))
}
