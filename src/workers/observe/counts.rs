//! Which instances count: those that exist, are assumed to exist or are being launched, without victims.

use crate::{
    crd::launches::{Adopted, LaunchIntent},
    workers::{
        ledger::Ledger,
        observe::instances::{KnownInstance, ObservedInstance, ObservedInstances},
    },
};

/// One instance, or several alike that are not observed yet.
#[derive(Clone, Copy, Debug)]
pub struct Counted<'a> {
    pub role: &'a str,
    /// Empty where it is not known.
    pub revision: &'a str,
    pub count: u32,
    pub seen: Option<&'a ObservedInstance>,
}

/// The instances that are observed alive and are not victims.
pub fn workers<'a>(
    instances: &'a ObservedInstances,
    ledger: &Ledger,
) -> impl Iterator<Item = &'a ObservedInstance> + use<'a> {
    let victims = ledger.victims();
    instances.shown.values().filter(move |m| !m.instance.state.is_over() && !victims.contains(&m.instance.id))
}

/// All instances that count: observed, missing, just adopted, and those that a recorded call launched or may launch.
pub fn counted<'a>(instances: &'a ObservedInstances, ledger: &'a Ledger) -> Vec<Counted<'a>> {
    let victims = ledger.victims();
    let mut all: Vec<_> = workers(instances, ledger)
        .map(|worker| {
            let KnownInstance { role, revision } = &worker.known;
            Counted { role: role.as_str(), revision, count: 1, seen: Some(worker) }
        })
        .collect();
    let missing_workers = |role: &'a str, revision: &'a str, count| Counted { role, revision, count, seen: None };
    let missing = instances.missing.iter().filter(|(id, _)| !victims.contains(*id));
    all.extend(missing.map(|(_, known)| missing_workers(known.role.as_str(), &known.revision, 1)));
    all.extend(instances.unlisted.iter().map(|(role, count)| missing_workers(role.as_str(), "", *count)));
    let adopted =
        ledger.adopted.iter().filter(|adopted| !instances.knows(&adopted.id) && !victims.contains(&adopted.id));
    let revision = |adopted: &'a Adopted| adopted.revision.as_deref().unwrap_or_default();
    all.extend(adopted.map(|adopted| missing_workers(adopted.role.as_str(), revision(adopted), 1)));
    let launches = ledger.launches.iter();
    all.extend(launches.map(|i| missing_workers(i.role.as_str(), &i.revision, not_observed(i, instances))));
    all.retain(|counted| counted.count > 0);
    all
}

/// How many instances a launch brought or may still bring that are not observed.
fn not_observed(intent: &LaunchIntent, instances: &ObservedInstances) -> u32 {
    if intent.instance_ids.is_empty() {
        let seen = instances.launched_with(&intent.token).count() as u32;
        intent.count.saturating_sub(seen)
    } else {
        // The call was answered after the observation.
        intent.instance_ids.iter().filter(|id| !instances.knows(id)).count() as u32
    }
}

/// How many instances count, over all roles.
pub fn existing(instances: &ObservedInstances, ledger: &Ledger) -> u32 {
    counted(instances, ledger).iter().map(|counted| counted.count).sum()
}
