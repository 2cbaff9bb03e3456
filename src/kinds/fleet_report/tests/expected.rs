//! Instances that should report, and instances that report and do not run.

use std::time::Duration;

use super::*;
use crate::{
    condition::{ConditionType, Reason, Truth},
    crd::fleet_report::OutlierReason,
    kinds::fleet_report::{expected::Selected, status::Cut},
};

const RUNNING: [&str; 4] = ["i-00000001", "i-00000002", "i-00000003", "i-00000004"];

/// What EC2 shows a minute ago: four instances, of which the last is new and the third is of others.
fn expected() -> Vec<Expected> {
    let (at, old) = (now() - 1.minute(), now() - 5.hours());
    let rows =
        RUNNING.iter().enumerate().map(|(n, id)| (Box::from(*id), if n == 3 { at - 5.minutes() } else { old }, n != 2));
    let selected = Selected::new(at, Duration::from_mins(15), rows);
    vec![Expected { name: "core".into(), aws: None, found: Ok(selected) }]
}

/// A report that is older than that.
fn reported(id: &str) -> Object {
    Object { stored: now() - 10.minutes(), ..report(id, "1.1.0", "web-1") }
}

fn against(expected: &[Expected], is_whole: bool, objects: &[Object]) -> Summary {
    let desired = desired();
    let mut view = View::new(desired.reading.clone(), member());
    view.update(&desired.reading, &sources(&collect(&Index::default(), objects, LIMIT).0), &mut || {});
    aggregate(&desired, &view, (expected, is_whole), &newest(&view), now())
}

#[test]
fn who_runs_and_is_silent_is_missing_and_who_reports_and_is_gone_is_a_ghost() {
    let expected = expected();
    // `i-00000009` has ended, and `web-1` is no instance of EC2.
    let objects: Vec<_> = ["i-00000001", "i-00000003", "i-00000009", "web-1"].map(reported).into();
    let summary = against(&expected, true, &objects);
    let counts = summary.counts;
    assert_eq!((counts.fresh, counts.missing, counts.ghost), (3, Some(1), Some(1)));
    let named: Vec<_> = summary.outliers.iter().map(|o| (o.instance.as_str(), o.reason)).collect();
    assert_eq!(named, [("i-00000002", OutlierReason::Missing), ("i-00000009", OutlierReason::Ghost)]);
    assert_eq!(summary.expected, [(Some(3), Some(1))]);
    assert!(!summary.reporting.contains_key("i-00000009"), "what does not run has no version");
}

#[test]
fn what_is_not_known_is_neither_missing_nor_a_ghost() {
    let objects = [reported("i-00000009")];
    // A source could not be read: whoever is not seen may report there.
    let summary = against(&expected(), false, &objects);
    assert_eq!((summary.counts.missing, summary.counts.ghost), (None, Some(1)));
    assert_eq!(summary.expected, [(Some(3), None)]);
    // One of two regions could not be read: whoever is not seen may run there.
    let problem = Problem { message: "throttled".into(), lasting: false };
    let unknown = Expected { name: "other".into(), aws: None, found: Err(problem) };
    let both = [expected().remove(0), unknown];
    let summary = against(&both, true, &objects);
    assert_eq!((summary.counts.fresh, summary.counts.missing, summary.counts.ghost), (1, None, None));
    let verdicts = verdicts(&desired(), &Collected { expected: both.to_vec(), ..found(summary) }, &Cut::default());
    let told: Vec<_> = verdicts.iter().map(|v| (v.condition, v.truth, v.reason)).collect();
    for expected in [
        (ConditionType::Ready, Truth::False, Reason::InstancesUnknown),
        (ConditionType::Collected, Truth::True, Reason::AllSourcesCollected),
        (ConditionType::Degraded, Truth::True, Reason::InstancesUnknown),
    ] {
        assert!(told.contains(&expected), "{told:?}");
    }
    // A report that is newer than the look proves nothing either.
    let new = Object { stored: now(), ..report("i-00000009", "1.1.0", "web-1") };
    assert_eq!(against(&expected(), true, &[new]).counts.ghost, Some(0));
}

#[test]
fn an_instance_is_missing_since_it_was_first_found_so_also_after_a_restart() {
    let (expected, mut since) = (expected(), Since::default());
    let summary = against(&expected, true, &[]);
    since.update(&summary.outliers, &[], now());
    let collected = found(summary.clone());
    let (before, _) = status(&desired(), &collected, &since, &FleetReportStatus::default());
    let mut restarted = Since::default();
    restarted.update(&summary.outliers, &before.outliers, now() + 1.hour());
    let (after, _) = status(&desired(), &collected, &restarted, &before);
    assert_eq!(after.outliers.len(), 2);
    assert!(after.outliers.iter().all(|o| o.since.0 == now() && o.reason == OutlierReason::Missing), "{after:?}");
}
