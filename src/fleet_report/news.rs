//! What is worth an event: only what changed, and only a few words of it. Pure.

use std::collections::BTreeSet;

use kube::runtime::events::EventType;

use super::{aggregate::Worth, crd::FleetReportStatus};

/// More than this is not spelled out in one event.
const NAMED: usize = 3;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct News {
    pub(super) type_: EventType,
    pub(super) reason: &'static str,
    pub(super) note: String,
}

/// What `after` has that `before` had not. Nothing at the first collection: then all is new.
pub(super) fn news(before: &FleetReportStatus, after: &FleetReportStatus, versions_are_whole: bool) -> Vec<News> {
    let mut news = Vec::new();
    if before.reports.is_some() && versions_are_whole {
        news.extend(versions(before, after));
    }
    news.extend(forged(before, after));
    news
}

fn versions(before: &FleetReportStatus, after: &FleetReportStatus) -> Option<News> {
    let set = |status: &FleetReportStatus| -> BTreeSet<String> {
        let known =
            |name: &str| before.fields.iter().any(|f| f.name == name) && after.fields.iter().any(|f| f.name == name);
        status.versions.iter().filter(|v| known(&v.field)).map(|v| format!("{} {}", v.field, v.value)).collect()
    };
    let (before, after) = (set(before), set(after));
    let appeared = named("appeared", after.difference(&before));
    let gone = named("gone", before.difference(&after));
    let note: Vec<String> = [appeared, gone].into_iter().flatten().collect();
    (!note.is_empty()).then(|| News { type_: EventType::Normal, reason: "VersionsChanged", note: note.join("; ") })
}

fn forged(before: &FleetReportStatus, after: &FleetReportStatus) -> Option<News> {
    let set = |status: &FleetReportStatus| -> BTreeSet<String> {
        let forged = status.rejected.iter().filter(|r| matches!(r.reason.worth(), Worth::Forged));
        forged.map(|r| format!("{} in {}", r.key, r.source)).collect()
    };
    let count = |status: &FleetReportStatus| status.reports.map_or(0, |r| r.forged);
    if count(after) <= count(before) {
        return None;
    }
    let (known, now) = (set(before), set(after));
    let note = named("forged reports, which do not count", now.difference(&known))?;
    Some(News { type_: EventType::Warning, reason: "ForgedReports", note })
}

fn named<'a>(what: &str, items: impl Iterator<Item = &'a String>) -> Option<String> {
    let items: Vec<&str> = items.map(String::as_str).collect();
    let more = items.len().saturating_sub(NAMED);
    let shown = items.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!items.is_empty()).then(|| format!("{what}: {shown}{rest}"))
}
