//! The events of a FleetReport, for changes only. Pure.

use std::collections::BTreeSet;

use kube::runtime::events::EventType;

use crate::{crd::fleet_report::FleetReportStatus, ids::list, kinds::fleet_report::aggregate::Worth};

/// How many items an event names.
const NAMED: usize = 3;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) type_: EventType,
    pub(super) reason: &'static str,
    pub(super) note: String,
}

/// The changes from `before` to `after`. None at the first collection, when everything is new.
pub(super) fn events(before: &FleetReportStatus, after: &FleetReportStatus, versions_are_whole: bool) -> Vec<Event> {
    let mut events = Vec::new();
    if before.reports.is_some() && versions_are_whole {
        events.extend(versions(before, after));
    }
    events.extend(forged(before, after));
    events
}

fn versions(before: &FleetReportStatus, after: &FleetReportStatus) -> Option<Event> {
    let set = |status: &FleetReportStatus| -> BTreeSet<String> {
        let known =
            |name: &str| before.fields.iter().any(|f| f.name == name) && after.fields.iter().any(|f| f.name == name);
        status.versions.iter().filter(|v| known(&v.field)).map(|v| format!("{} {}", v.field, v.value)).collect()
    };
    let (before, after) = (set(before), set(after));
    let appeared = named("appeared", after.difference(&before));
    let gone = named("disappeared", before.difference(&after));
    let note: Vec<String> = [appeared, gone].into_iter().flatten().collect();
    (!note.is_empty()).then(|| Event { type_: EventType::Normal, reason: "VersionsChanged", note: note.join("; ") })
}

fn forged(before: &FleetReportStatus, after: &FleetReportStatus) -> Option<Event> {
    let set = |status: &FleetReportStatus| -> BTreeSet<String> {
        let forged = status.rejected.iter().filter(|r| matches!(r.reason.worth(), Worth::Forged));
        forged.map(|r| format!("{} in {}", r.key, r.source)).collect()
    };
    let count = |status: &FleetReportStatus| status.reports.map_or(0, |r| r.forged);
    if count(after) <= count(before) {
        return None;
    }
    let (known, now) = (set(before), set(after));
    let note = named("forged reports, which are not counted", now.difference(&known))?;
    Some(Event { type_: EventType::Warning, reason: "ForgedReports", note })
}

fn named<'a>(what: &str, items: impl Iterator<Item = &'a String>) -> Option<String> {
    let items: Vec<&String> = items.collect();
    (!items.is_empty()).then(|| format!("{what}: {}", list(items.iter(), NAMED)))
}
