//! Sums up all reports. Pure.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use jiff::Timestamp;

use crate::{
    crd::fleet_report::{GroupCount, OutlierReason, RejectedObject, RejectionReason, ReportCounts, Trust},
    inventory::reporters::Reported,
    kinds::fleet_report::{
        desired::Desired,
        expected::{Expected, is_gone},
        index::Entry,
        report,
        view::{Fact, Shape, View},
    },
};

/// The maximum number of instances that are missing or ghosts, of values that are not as expected, and of rejected objects for each reason, that are remembered by name.
const OUTLIERS: usize = 1000;
const REJECTED: usize = 16;

/// The complete result. [`crate::kinds::fleet_report::status`] limits it to the size of a status.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Summary {
    pub(super) counts: ReportCounts,
    /// The instances whose newest report is fresh.
    pub(super) reporting: BTreeMap<Box<str>, Reported>,
    /// The instances that run without a fresh report, and those that report and do not run.
    pub(super) missing: BTreeSet<Box<str>>,
    pub(super) ghosts: BTreeSet<Box<str>>,
    /// How many instances each of `expect.instances` selects, and how many of them are missing; `None` if not known.
    pub(super) expected: Vec<(Option<i64>, Option<i64>)>,
    /// In the order of the spec.
    pub(super) fields: Vec<FieldSummary>,
    /// Of each grouping, in the order of the spec, the largest group first.
    pub(super) groups: Vec<GroupCount>,
    /// The first ones by instance, and how many there are.
    pub(super) outliers: Vec<Outlying>,
    pub(super) outlying: usize,
    /// The first ones of each reason, the most severe reason first.
    pub(super) rejected: Vec<RejectedObject>,
    /// The number of reports with more values than are kept.
    pub(super) cut: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct FieldSummary {
    pub(super) name: String,
    pub(super) absent: i64,
    /// The most frequent first.
    pub(super) values: Vec<(Arc<str>, i64)>,
}

/// An instance that is not as expected.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Outlying {
    pub(super) instance: String,
    pub(super) reason: OutlierReason,
    /// Empty unless a value is not as expected.
    pub(super) field: String,
    pub(super) value: Arc<str>,
}

/// The count that a reason belongs to.
pub(super) enum Worth {
    Forged,
    Invalid,
    Unreadable,
}

impl RejectionReason {
    pub(super) fn worth(self) -> Worth {
        match self {
            Self::IdentityMismatch | Self::UntrustedKey => Worth::Forged,
            Self::ParametersDocument
            | Self::TooComplex
            | Self::NoIdentity
            | Self::NotJson
            | Self::TooLarge
            | Self::NoTimestamp
            | Self::FutureTimestamp => Worth::Invalid,
            Self::Unreadable => Worth::Unreadable,
        }
    }
}

/// Sums up `view` at `now`. `is_whole`: all sources were collected, so that who is not in the view does not report.
pub(super) fn aggregate(
    desired: &Desired,
    view: &View,
    (expected, is_whole): (&[Expected], bool),
    newest: &HashMap<&str, Newest<'_>>,
    now: Timestamp,
) -> Summary {
    let mut summary = Summary::default();
    count_objects(view, &mut summary);
    let mut fresh: Vec<(&str, Shape, Timestamp)> = Vec::new();
    let mut ghosts = BTreeSet::new();
    for (&instance, Newest { time, shape, entry, .. }) in newest {
        let (time, shape, stored) = (*time, *shape, entry.stored());
        // A time in the future is caused by a wrong clock, and at most minutes ahead.
        if time < now && now.duration_since(time).unsigned_abs() > desired.stale_after {
            summary.counts.stale += 1;
        } else if is_gone(expected, instance, stored) {
            ghosts.insert(instance);
        } else {
            fresh.push((instance, shape, time));
        }
    }
    fresh.sort_unstable();
    summary.counts.fresh = count(fresh.len());

    let mut sizes: BTreeMap<Shape, i64> = BTreeMap::new();
    for (_, shape, _) in &fresh {
        *sizes.entry(*shape).or_default() += 1;
    }
    let unmet: BTreeMap<Shape, Vec<(usize, Arc<str>)>> = sizes
        .keys()
        .map(|shape| (*shape, unmet(desired, view.values(*shape))))
        .filter(|(_, u)| !u.is_empty())
        .collect();
    summary.counts.behind = sizes.iter().filter(|(shape, _)| unmet.contains_key(shape)).map(|(_, size)| size).sum();
    summary.fields = fields(desired, view, &sizes);
    summary.groups = groups(desired, view, &sizes, &unmet);
    let reported = |(instance, shape, at): &(&str, Shape, Timestamp)| {
        (Box::from(*instance), Reported { at: *at, is_behind: unmet.contains_key(shape) })
    };
    summary.reporting = fresh.iter().map(reported).collect();
    instances(expected, is_whole, ghosts, &mut summary);
    outliers(desired, &fresh, &unmet, &mut summary);
    summary
}

/// Counts and names the instances that run and do not report, and those that report and do not run.
fn instances(expected: &[Expected], is_whole: bool, ghosts: BTreeSet<&str>, summary: &mut Summary) {
    let known = |one: &Expected| one.found.is_ok();
    let mut missing = BTreeSet::new();
    for one in expected {
        let Ok(selected) = &one.found else {
            summary.expected.push((None, None));
            continue;
        };
        let (mut running, mut silent) = (0, 0);
        for (instance, is_due) in selected.due() {
            running += 1;
            if is_due && is_whole && !summary.reporting.contains_key(instance) {
                silent += 1;
                missing.insert(instance);
            }
        }
        summary.expected.push((Some(running), is_whole.then_some(silent)));
    }
    // Without all of them, nobody is a ghost.
    if !expected.is_empty() && expected.iter().all(known) {
        summary.counts.ghost = Some(count(ghosts.len()));
        summary.counts.missing = is_whole.then(|| count(missing.len()));
    }
    summary.missing = missing.iter().map(|instance| Box::from(*instance)).collect();
    summary.ghosts = ghosts.iter().map(|instance| Box::from(*instance)).collect();
    summary.outlying += missing.len() + ghosts.len();
    let ghosts = ghosts.into_iter().map(|instance| (instance, OutlierReason::Ghost));
    let missing = missing.into_iter().map(|instance| (instance, OutlierReason::Missing));
    let named = missing.chain(ghosts).take(OUTLIERS);
    summary.outliers.extend(named.map(|(instance, reason)| Outlying {
        instance: instance.to_owned(),
        reason,
        field: String::new(),
        value: "".into(),
    }));
}

/// Names the values that are not as expected.
fn outliers(
    desired: &Desired,
    fresh: &[(&str, Shape, Timestamp)],
    unmet: &BTreeMap<Shape, Vec<(usize, Arc<str>)>>,
    summary: &mut Summary,
) {
    let room = summary.outliers.len() + OUTLIERS;
    for (instance, shape, _) in fresh {
        let unmet = unmet.get(shape).map(Vec::as_slice).unwrap_or_default();
        summary.outlying += unmet.len();
        if summary.outliers.len() < room {
            summary.outliers.extend(unmet.iter().map(|(column, value)| Outlying {
                instance: (*instance).to_owned(),
                reason: OutlierReason::Behind,
                field: desired.reading.columns[*column].name.clone(),
                value: value.clone(),
            }));
        }
    }
    summary.outliers.truncate(room);
    summary.outliers.sort();
}

/// The newest report of an instance.
#[derive(Clone, Copy, Debug)]
pub(super) struct Newest<'a> {
    pub(super) time: Timestamp,
    pub(super) shape: Shape,
    pub(super) source: &'a str,
    pub(super) entry: &'a Entry,
}

/// The newest report of each instance. Of two reports with the same time, the one that S3 stored later counts, then that
/// of the first source.
pub(super) fn newest(view: &View) -> HashMap<&str, Newest<'_>> {
    let mut newest: HashMap<&str, Newest<'_>> = HashMap::new();
    for (source, _, entry, fact) in view.facts() {
        let Fact::Report { time, shape, .. } = fact else { continue };
        // The key was checked when the report was read.
        let Ok(instance) = report::instance(&entry.key, Trust::AnyKey) else { continue };
        let found = Newest { time: Timestamp::from(*time), shape: *shape, source, entry };
        let known = newest.entry(instance).or_insert(found);
        if (known.time, known.entry.stored()) < (found.time, entry.stored()) {
            *known = found;
        }
    }
    newest
}

/// Counts the rejected objects and those with too many values.
fn count_objects(view: &View, summary: &mut Summary) {
    let mut rejected = Rejected::default();
    for (source, trust, entry, fact) in view.facts() {
        let named = (source, &*entry.key, trust, entry);
        match fact {
            Fact::Rejected(reason) => rejected.add(*reason, named, &mut summary.counts),
            Fact::LeftOut => {}
            Fact::Report { cut, .. } => {
                if entry.fault.is_some() {
                    rejected.add(RejectionReason::Unreadable, named, &mut summary.counts);
                }
                summary.cut += usize::from(*cut);
            }
        }
    }
    summary.rejected = rejected.named(view);
}

/// An object by its source and key.
type Named<'a> = (&'a str, &'a str, Trust, &'a Entry);

/// The rejected objects: of each reason, only the first ones.
#[derive(Default)]
struct Rejected<'a>(BTreeMap<RejectionReason, Vec<Named<'a>>>);

impl<'a> Rejected<'a> {
    fn add(&mut self, reason: RejectionReason, named: Named<'a>, counts: &mut ReportCounts) {
        *match reason.worth() {
            Worth::Forged => &mut counts.forged,
            Worth::Invalid => &mut counts.invalid,
            Worth::Unreadable => &mut counts.unreadable,
        } += 1;
        let first = self.0.entry(reason).or_default();
        let place = first.partition_point(|(source, key, ..)| (*source, *key) < (named.0, named.1));
        if place < REJECTED {
            first.insert(place, named);
            first.truncate(REJECTED);
        }
    }

    fn named(self, view: &View) -> Vec<RejectedObject> {
        let all = self.0.into_iter().flat_map(|(reason, first)| first.into_iter().map(move |named| (reason, named)));
        all.map(|(reason, (source, key, trust, entry))| {
            let message = view.explain(entry, trust, reason);
            RejectedObject { source: source.to_owned(), key: key.to_owned(), reason, message }
        })
        .collect()
    }
}

/// The columns with their values that are not expected. A column without a value has the value "".
fn unmet(desired: &Desired, values: &[(u16, Arc<str>)]) -> Vec<(usize, Arc<str>)> {
    let mut unmet = Vec::new();
    for expectation in &desired.expect {
        let mut found = values.iter().filter(|(c, _)| usize::from(*c) == expectation.column).map(|(_, v)| v).peekable();
        if found.peek().is_none() {
            unmet.push((expectation.column, "".into()));
        }
        unmet.extend(found.filter(|v| !expectation.rule.accepts(v)).map(|v| (expectation.column, v.clone())));
    }
    unmet
}

fn fields(desired: &Desired, view: &View, sizes: &BTreeMap<Shape, i64>) -> Vec<FieldSummary> {
    let mut counts: Vec<HashMap<Arc<str>, i64>> = vec![HashMap::new(); desired.reading.fields().len()];
    let mut absent = vec![0; counts.len()];
    for (shape, size) in sizes {
        let values = view.values(*shape);
        for (column, value) in values {
            if let Some(counts) = counts.get_mut(usize::from(*column)) {
                *counts.entry(value.clone()).or_default() += size;
            }
        }
        for (column, absent) in absent.iter_mut().enumerate() {
            if !values.iter().any(|(c, _)| usize::from(*c) == column) {
                *absent += size;
            }
        }
    }
    let summaries = desired.reading.fields().iter().zip(counts).zip(absent);
    summaries
        .map(|((column, counts), absent)| {
            let mut values: Vec<_> = counts.into_iter().collect();
            values.sort_by(|(a, n), (b, m)| (Reverse(n), a).cmp(&(Reverse(m), b)));
            FieldSummary { name: column.name.clone(), absent, values }
        })
        .collect()
}

fn groups(
    desired: &Desired,
    view: &View,
    sizes: &BTreeMap<Shape, i64>,
    unmet: &BTreeMap<Shape, Vec<(usize, Arc<str>)>>,
) -> Vec<GroupCount> {
    let mut groups: HashMap<(usize, Arc<str>), (i64, i64)> = HashMap::new();
    for (shape, size) in sizes {
        let behind = if unmet.contains_key(shape) { *size } else { 0 };
        for column in desired.reading.first_group()..desired.reading.columns.len() {
            let mut found = view.values(*shape).iter().filter(|(c, _)| usize::from(*c) == column).peekable();
            let none = found.peek().is_none().then(|| "".into());
            for value in found.map(|(_, v)| v.clone()).chain(none) {
                let (fresh, late) = groups.entry((column, value)).or_default();
                *fresh += size;
                *late += behind;
            }
        }
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by(|((c, a), (n, _)), ((d, b), (m, _))| (c, Reverse(n), a).cmp(&(d, Reverse(m), b)));
    groups
        .into_iter()
        .map(|((column, value), (fresh, behind))| {
            let name = desired.reading.columns[column].name.clone();
            GroupCount { name, value: value.to_string(), fresh, behind }
        })
        .collect()
}

pub(super) fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
