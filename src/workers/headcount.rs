//! Who counts: the machines of an owner that are there, believed in or on their way, and not chosen to end.

use crate::{
    ids::MAIN_ROLE,
    workers::{
        launch::LaunchIntent,
        ledger::Ledger,
        roster::{Roster, Sighting},
    },
};

/// One machine, or several alike that nobody has seen yet.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    pub role: &'a str,
    /// Empty where it is not known.
    pub revision: &'a str,
    pub count: u32,
    pub seen: Option<&'a Sighting>,
}

/// The machines that are seen alive and not chosen to end.
pub fn workers<'a>(roster: &'a Roster, ledger: &Ledger) -> impl Iterator<Item = &'a Sighting> + use<'a> {
    let victims = ledger.victims();
    roster.machines.values().filter(move |m| !m.instance.state.is_over() && !victims.contains(&m.instance.id))
}

/// All that count: seen, unseen, adopted a moment ago, and launched or maybe launched by a call on record.
pub fn heads<'a>(roster: &'a Roster, ledger: &'a Ledger) -> Vec<Head<'a>> {
    let victims = ledger.victims();
    let seen = workers(roster, ledger).map(|worker| Head {
        role: worker.instance.role(),
        revision: worker.instance.revision(),
        count: 1,
        seen: Some(worker),
    });
    let unseen = roster.unseen.iter().filter(|(id, _)| !victims.contains(*id));
    let unseen =
        unseen.map(|(_, known)| Head { role: known.role.as_str(), revision: &known.revision, count: 1, seen: None });
    let nameless = roster.nameless.iter();
    let nameless = nameless.map(|(role, count)| Head { role: role.as_str(), revision: "", count: *count, seen: None });
    let adopted = ledger.adopted.iter().filter(|id| !roster.knows(id) && !victims.contains(*id));
    let adopted = adopted.map(|_| Head { role: MAIN_ROLE, revision: "", count: 1, seen: None });
    let untold = ledger.launches.iter().map(|intent| Head {
        role: intent.role.as_str(),
        revision: &intent.revision,
        count: untold(intent, roster),
        seen: None,
    });
    seen.chain(unseen).chain(nameless).chain(adopted).chain(untold).filter(|head| head.count > 0).collect()
}

/// How many machines a launch brought or may still bring that the roster does not tell of.
fn untold(intent: &LaunchIntent, roster: &Roster) -> u32 {
    if intent.instance_ids.is_empty() {
        let seen = roster.launched_with(&intent.token).count() as u32;
        intent.count.saturating_sub(seen)
    } else {
        // An answer that came after the roster was made.
        intent.instance_ids.iter().filter(|id| !roster.knows(id)).count() as u32
    }
}

/// How many there are, all groups together.
pub fn existing(roster: &Roster, ledger: &Ledger) -> u32 {
    heads(roster, ledger).iter().map(|head| head.count).sum()
}
