//! When a launch is settled, and what to do about one that is not.

use std::collections::BTreeMap;

use crate::{
    crd::launches::LaunchIntent,
    ids::{ClientToken, InstanceId},
    workers::{ledger::Ledger, observe::instances::ObservedInstances},
};

/// What this process knows about a launch beyond its record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// The call can be repeated: its token makes that harmless, and the answer shows the result.
    #[default]
    Repeatable,
    /// Not now: it was just repeated, or only a search can show the result and the wait for it is not over.
    Waiting,
    /// The full wait is over, and a complete search by token found exactly these instances.
    Searched(Vec<InstanceId>),
}

/// Removes settled launches, and returns those to repeat, claimed for `holder`. They must be recorded before sending.
pub fn settle(
    ledger: &mut Ledger,
    instances: &ObservedInstances,
    standing: &BTreeMap<ClientToken, Standing>,
    holder: &str,
    may_send: bool,
) -> Vec<LaunchIntent> {
    let mut repeats = Vec::new();
    let mut seen = Vec::new();
    ledger.launches.retain_mut(|intent| {
        if !intent.instance_ids.is_empty() {
            return !intent.instance_ids.iter().all(|id| instances.is_settled(id));
        }
        let swept = instances.launched_with(&intent.token).filter(|worker| worker.swept).count();
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
                !found.iter().all(|id| instances.is_settled(id))
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
