//! The conditions of a FleetReport. Pure.

use crate::{
    condition::{ConditionType, Reason, Truth, Verdict},
    crd::fleet_report::{OutlierReason, ReportCounts},
    kinds::fleet_report::{
        desired::Desired,
        problem::Problem,
        status::{Collected, Cut, SourceFound, shown},
    },
};

/// How many sources a message names.
const NAMED: usize = 3;

pub(super) fn verdicts(desired: &Desired, found: &Collected, cut: &Cut) -> Vec<Verdict> {
    let mut verdicts = collected(found);
    verdicts.push(up_to_date(desired, found));
    verdicts.push(match cut.as_slice() {
        [] => Verdict::new(ConditionType::Truncated, false, Reason::WithinLimits, "all lists are complete"),
        cut => {
            let message = format!("the status lists only {}", cut.join(", "));
            Verdict::new(ConditionType::Truncated, true, Reason::ListsTruncated, message)
        }
    });
    verdicts
}

fn collected(found: &Collected) -> Vec<Verdict> {
    let failed: Vec<(&SourceFound, &Problem)> =
        found.sources.iter().filter_map(|source| Some((source, source.problem.as_ref()?))).collect();
    let all = found.sources.len();
    if failed.is_empty()
        && let Some(summary) = &found.summary
        && let Some(verdicts) = instances_unknown(found, &complete(&summary.counts, all))
    {
        return verdicts;
    }
    if failed.is_empty() {
        return match &found.summary {
            Some(summary) if found.sources.iter().all(|s| s.known.is_some()) => complete(&summary.counts, all),
            Some(_) | None => {
                let verdict = |condition, truth: Truth| {
                    Verdict::new(condition, truth, Reason::NeverCollected, "the first collection is in progress")
                };
                vec![
                    verdict(ConditionType::Ready, Truth::False),
                    verdict(ConditionType::Reconciling, Truth::True),
                    verdict(ConditionType::Collected, Truth::Unknown),
                ]
            }
        };
    }
    let reason = if failed.len() == all { Reason::NoSourceCollected } else { Reason::SomeSourcesFailed };
    let mut problems: Vec<String> =
        failed.iter().take(NAMED).map(|(source, p)| format!("source {}: {}", source.name, p.message)).collect();
    if failed.len() > NAMED {
        problems.push(format!("and {} more", failed.len() - NAMED));
    }
    let problems = problems.join("; ");
    let lasting = failed.iter().any(|(_, problem)| problem.lasting);
    let pending = if lasting { ConditionType::Stalled } else { ConditionType::Reconciling };
    let has_older = failed.iter().any(|(source, _)| source.known.is_some());
    let kept = if has_older { "; reports that were collected before and are not left out still count" } else { "" };
    vec![
        Verdict::new(ConditionType::Ready, false, reason, &*problems),
        Verdict::new(pending, true, reason, &*problems),
        Verdict::new(ConditionType::Collected, false, reason, &*problems),
        Verdict::new(ConditionType::Degraded, true, reason, format!("{problems}{kept}")),
    ]
}

/// What changes in the verdicts of a complete collection if it is not known which instances should report.
fn instances_unknown(found: &Collected, complete: &[Verdict]) -> Option<Vec<Verdict>> {
    let failed: Vec<_> = found.expected.iter().filter_map(|one| Some((&one.name, one.found.as_ref().err()?))).collect();
    let lasting = failed.iter().any(|(_, problem)| problem.lasting);
    let mut problems: Vec<_> = failed
        .iter()
        .take(NAMED)
        .map(|(name, problem)| format!("expect.instances {name}: {}", problem.message))
        .collect();
    if failed.len() > NAMED {
        problems.push(format!("and {} more", failed.len() - NAMED));
    }
    let problems = problems.join("; ");
    let pending = if lasting { ConditionType::Stalled } else { ConditionType::Reconciling };
    let verdict = |condition, truth: bool| Verdict::new(condition, truth, Reason::InstancesUnknown, &*problems);
    let collected = complete.iter().filter(|verdict| verdict.condition == ConditionType::Collected).cloned();
    let others = [verdict(ConditionType::Ready, false), verdict(pending, true), verdict(ConditionType::Degraded, true)];
    (!failed.is_empty()).then(|| others.into_iter().chain(collected).collect())
}

/// All sources were collected.
fn complete(counts: &ReportCounts, sources: usize) -> Vec<Verdict> {
    let plural = if sources == 1 { "" } else { "s" };
    let (fresh, stale, rejected) = (counts.fresh, counts.stale, rejected(counts));
    let message = format!("{fresh} fresh and {stale} stale reports from {sources} source{plural}{rejected}");
    let degraded = match counts.unreadable {
        0 => Verdict::new(ConditionType::Degraded, false, Reason::AllSourcesCollected, "all objects were read"),
        n => {
            let message = format!("objects that could not be read: {n}; see status.rejected");
            Verdict::new(ConditionType::Degraded, true, Reason::SomeObjectsUnreadable, message)
        }
    };
    vec![
        Verdict::new(ConditionType::Ready, true, Reason::Ready, message.clone()),
        Verdict::new(ConditionType::Collected, true, Reason::AllSourcesCollected, message),
        degraded,
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

fn up_to_date(desired: &Desired, found: &Collected) -> Verdict {
    let verdict = |truth, reason, message: String| Verdict::new(ConditionType::UpToDate, truth, reason, message);
    let Some(summary) = &found.summary else {
        return verdict(Truth::Unknown, Reason::NeverCollected, "no collection has finished yet".into());
    };
    if desired.expect.is_empty() && desired.instances.is_empty() {
        let message = "nothing is expected; set spec.expect.versions or spec.expect.instances to check it";
        return verdict(Truth::Unknown, Reason::NothingExpected, message.into());
    }
    let counts = summary.counts;
    let first = |reason| summary.outliers.iter().find(|outlier| outlier.reason == reason);
    if let Some(first) = first(OutlierReason::Behind) {
        let wanted: Vec<String> = desired
            .expect
            .iter()
            .map(|e| (&desired.reading.columns[e.column].name, &e.rule))
            .filter(|(name, _)| summary.outliers.iter().any(|o| o.field == **name))
            .map(|(name, rule)| format!("{name} should be {rule}"))
            .collect();
        let has = if first.value.is_empty() { "none".into() } else { shown(&first.value) };
        let message = format!(
            "{} of {} fresh reports are not as expected: {}; for example, {} has {} {has}",
            counts.behind,
            counts.fresh,
            wanted.join(", "),
            shown(&first.instance.as_str().into()),
            first.field,
        );
        return verdict(Truth::False, Reason::VersionsOutdated, message);
    }
    if let Some(first) = first(OutlierReason::Missing) {
        let silent: i64 = summary.expected.iter().filter_map(|(_, missing)| *missing).sum();
        let running: i64 = summary.expected.iter().filter_map(|(running, _)| *running).sum();
        let message = format!(
            "{silent} of {running} running instances have no fresh report; for example, {}",
            shown(&first.instance.as_str().into())
        );
        return verdict(Truth::False, Reason::InstancesMissing, message);
    }
    if let Some(one) = found.expected.iter().find(|one| one.found.is_err()) {
        let message = format!("which instances of expect.instances {} run is not known", one.name);
        return verdict(Truth::Unknown, Reason::InstancesUnknown, message);
    }
    if let Some(source) = found.sources.iter().find(|s| s.known.is_none()) {
        let message = format!("the reports of source {} are not known", source.name);
        return verdict(Truth::Unknown, Reason::SomeSourcesFailed, message);
    }
    if summary.expected.iter().any(|(_, missing)| missing.is_none())
        && let Some(source) = found.sources.iter().find(|s| s.problem.is_some())
    {
        let message = format!("source {} failed, so which instances do not report is not known", source.name);
        return verdict(Truth::Unknown, Reason::SomeSourcesFailed, message);
    }
    match counts.fresh {
        0 => verdict(Truth::Unknown, Reason::NoFreshReports, "there is no fresh report".into()),
        fresh => {
            let running: i64 = summary.expected.iter().filter_map(|(running, _)| *running).sum();
            let instances = if desired.instances.is_empty() {
                String::new()
            } else {
                format!(", and all {running} expected instances report or have just been launched")
            };
            let message = format!("all {fresh} fresh reports match spec.expect{instances}");
            verdict(Truth::True, Reason::AllAsExpected, message)
        }
    }
}
