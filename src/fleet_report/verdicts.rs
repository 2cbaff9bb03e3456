//! The conditions of a FleetReport. Pure.

use super::{
    crd::ReportCounts,
    desired::Desired,
    status::{Cut, Found, SourceFound, shown},
};
use crate::condition::{ConditionType, Reason, Truth, Verdict};

/// More sources than this are not spelled out in a message.
const NAMED: usize = 3;

pub(super) fn verdicts(desired: &Desired, found: &Found, cut: &Cut) -> Vec<Verdict> {
    let mut verdicts = collected(found);
    verdicts.push(up_to_date(desired, found));
    verdicts.push(match cut.as_slice() {
        [] => Verdict::new(ConditionType::Truncated, false, Reason::WithinLimits, "every list is shown whole"),
        cut => {
            let message = format!("the status shows only {}", cut.join(", "));
            Verdict::new(ConditionType::Truncated, true, Reason::ListsCut, message)
        }
    });
    verdicts
}

fn collected(found: &Found) -> Vec<Verdict> {
    let failed: Vec<&SourceFound> = found.sources.iter().filter(|s| s.problem.is_some()).collect();
    let all = found.sources.len();
    if failed.is_empty() {
        return match &found.summary {
            Some(summary) if found.sources.iter().all(|s| s.known.is_some()) => {
                let counts = summary.counts;
                let sources = if all == 1 { "1 source".into() } else { format!("{all} sources") };
                let message = format!(
                    "{} fresh and {} stale reports from {sources}{}",
                    counts.fresh,
                    counts.stale,
                    rejected(&counts)
                );
                let degraded = match counts.unreadable {
                    0 => {
                        Verdict::new(ConditionType::Degraded, false, Reason::AllSourcesCollected, "nothing is missing")
                    }
                    n => {
                        let message = format!("objects that could not be read: {n}; status.rejected says why");
                        Verdict::new(ConditionType::Degraded, true, Reason::SomeObjectsUnreadable, message)
                    }
                };
                vec![
                    Verdict::new(ConditionType::Ready, true, Reason::Ready, message.clone()),
                    Verdict::new(ConditionType::Collected, true, Reason::AllSourcesCollected, message),
                    degraded,
                ]
            }
            Some(_) | None => {
                let message = "the first collection is under way";
                let reason = Reason::NeverCollected;
                vec![
                    Verdict::new(ConditionType::Ready, false, reason, message),
                    Verdict::new(ConditionType::Reconciling, true, reason, message),
                    Verdict::new(ConditionType::Collected, Truth::Unknown, reason, message),
                ]
            }
        };
    }
    let reason = if failed.len() == all { Reason::NoSourceCollected } else { Reason::SomeSourcesFailed };
    let mut problems: Vec<String> = failed
        .iter()
        .take(NAMED)
        .map(|s| format!("source {}: {}", s.name, s.problem.as_ref().map_or("", |p| &p.message)))
        .collect();
    if failed.len() > NAMED {
        problems.push(format!("and {} more", failed.len() - NAMED));
    }
    let problems = problems.join("; ");
    let lasting = failed.iter().any(|s| s.problem.as_ref().is_some_and(|p| p.lasting));
    let pending = if lasting { ConditionType::Stalled } else { ConditionType::Reconciling };
    let kept = if failed.iter().any(|s| s.known.is_some()) { "; what was collected before still counts" } else { "" };
    vec![
        Verdict::new(ConditionType::Ready, false, reason, &*problems),
        Verdict::new(pending, true, reason, &*problems),
        Verdict::new(ConditionType::Collected, false, reason, &*problems),
        Verdict::new(ConditionType::Degraded, true, reason, format!("{problems}{kept}")),
    ]
}

fn rejected(counts: &ReportCounts) -> String {
    let some: Vec<String> = [(counts.invalid, "invalid"), (counts.forged, "forged")]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    if some.is_empty() { String::new() } else { format!("; {} not counted: see status.rejected", some.join(" and ")) }
}

fn up_to_date(desired: &Desired, found: &Found) -> Verdict {
    let say = |truth, reason, message: String| Verdict::new(ConditionType::UpToDate, truth, reason, message);
    let Some(summary) = &found.summary else {
        return say(Truth::Unknown, Reason::NeverCollected, "nothing was collected yet".into());
    };
    if desired.expect.is_empty() {
        let message = "nothing is expected; say in spec.expect.versions what should run";
        return say(Truth::Unknown, Reason::NothingExpected, message.into());
    }
    let counts = summary.counts;
    if let Some(first) = summary.outliers.first() {
        let wanted: Vec<String> = desired
            .expect
            .iter()
            .map(|e| (&desired.reading.columns[e.column].name, &e.rule))
            .filter(|(name, _)| summary.outliers.iter().any(|o| o.field == **name))
            .map(|(name, rule)| format!("{name} should be {rule}"))
            .collect();
        let has = if first.value.is_empty() { "none".into() } else { shown(&first.value) };
        let message = format!(
            "not as expected: {} of {} fresh reports; {}; for example {} has {} {has}",
            counts.behind,
            counts.fresh,
            wanted.join(", "),
            shown(&first.instance.as_str().into()),
            first.field,
        );
        return say(Truth::False, Reason::SomeBehind, message);
    }
    if let Some(source) = found.sources.iter().find(|s| s.known.is_none()) {
        let message = format!("what source {} would say is not known", source.name);
        return say(Truth::Unknown, Reason::SomeSourcesFailed, message);
    }
    match counts.fresh {
        0 => say(Truth::Unknown, Reason::NoFreshReports, "there is no fresh report".into()),
        fresh => say(Truth::True, Reason::AllAsExpected, format!("all {fresh} fresh reports are as expected")),
    }
}
