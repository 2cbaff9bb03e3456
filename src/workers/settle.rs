//! When a launch is settled, and what is done about one that is not.

use std::collections::BTreeMap;

use crate::{
    ids::{ClientToken, InstanceId},
    workers::{launch::LaunchIntent, ledger::Ledger, roster::Roster},
};

/// What is known about a launch beyond its record, from this process' own experience.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// The call can be repeated: its token makes that harmless, and the answer tells what it came to.
    #[default]
    Repeatable,
    /// Not now: it was repeated a moment ago, or repeating it will tell nothing and the wait for the search is not over.
    Waiting,
    /// The full wait is over, and a complete search by token showed these machines and no other.
    Searched(Vec<InstanceId>),
}

/// Strikes the launches that are settled, and takes over those that are to be repeated: they come back with `holder` in
/// them and must be recorded before they are sent.
pub fn settle(
    ledger: &mut Ledger,
    roster: &Roster,
    standing: &BTreeMap<ClientToken, Standing>,
    holder: &str,
    may_send: bool,
) -> Vec<LaunchIntent> {
    let mut repeats = Vec::new();
    let mut seen = Vec::new();
    ledger.launches.retain_mut(|intent| {
        if !intent.instance_ids.is_empty() {
            return !intent.instance_ids.iter().all(|id| roster.is_settled(id));
        }
        let swept = roster.launched_with(&intent.token).filter(|machine| machine.swept).count();
        if swept >= intent.count as usize {
            seen.push((intent.clone(), swept));
            return false;
        }
        match standing.get(&intent.token).unwrap_or(&Standing::Repeatable) {
            Standing::Waiting => true,
            Standing::Searched(found) if found.is_empty() => {
                seen.push((intent.clone(), 0));
                false
            }
            Standing::Searched(found) => {
                seen.push((intent.clone(), found.len()));
                intent.instance_ids.clone_from(found);
                !found.iter().all(|id| roster.is_settled(id))
            }
            Standing::Repeatable => {
                if may_send {
                    intent.holder = holder.into();
                    intent.attempts = intent.attempts.saturating_add(1);
                    repeats.push(intent.clone());
                }
                true
            }
        }
    });
    for (intent, launched) in seen {
        ledger.count_launched(&intent, launched);
    }
    repeats
}
