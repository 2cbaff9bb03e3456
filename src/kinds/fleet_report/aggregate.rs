//! Sums up all reports. Pure.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use jiff::Timestamp;

use crate::{
    crd::fleet_report::{GroupCount, RejectedObject, RejectionReason, ReportCounts, Trust},
    kinds::fleet_report::{
        desired::Desired,
        report,
        view::{Fact, Shape, View},
    },
};

/// The complete result. [`crate::kinds::fleet_report::status`] limits it to the size of a status.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Summary {
    pub(super) counts: ReportCounts,
    /// The instances whose newest report is fresh.
    pub(super) reporting: BTreeSet<Box<str>>,
    /// In the order of the spec.
    pub(super) fields: Vec<FieldSummary>,
    /// Of each grouping, in the order of the spec, the largest group first.
    pub(super) groups: Vec<GroupCount>,
    /// Sorted by instance.
    pub(super) outliers: Vec<Outlying>,
    /// The most severe reason first.
    pub(super) rejected: Vec<RejectedObject>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct FieldSummary {
    pub(super) name: String,
    pub(super) absent: i64,
    /// The most frequent first.
    pub(super) values: Vec<(Arc<str>, i64)>,
}

/// A value of an instance that is not as expected.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Outlying {
    pub(super) instance: String,
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
            | Self::NoIdentity
            | Self::NotJson
            | Self::TooLarge
            | Self::NoTimestamp
            | Self::FutureTimestamp => Worth::Invalid,
            Self::Unreadable => Worth::Unreadable,
        }
    }
}

/// Sums up `view` at `now`.
pub(super) fn aggregate(desired: &Desired, view: &View, now: Timestamp) -> Summary {
    let mut summary = Summary::default();
    let mut fresh: Vec<(&str, Shape)> = Vec::new();
    for (instance, Newest { time, shape, .. }) in newest(view, &mut summary) {
        // A time in the future is caused by a wrong clock, and at most minutes ahead.
        if time < now && now.duration_since(time).unsigned_abs() > desired.stale_after {
            summary.counts.stale += 1;
        } else {
            fresh.push((instance, shape));
        }
    }
    summary.counts.fresh = count(fresh.len());
    summary.reporting = fresh.iter().map(|(instance, _)| Box::from(*instance)).collect();

    let mut sizes: BTreeMap<Shape, i64> = BTreeMap::new();
    for (_, shape) in &fresh {
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
    summary.outliers = fresh
        .iter()
        .flat_map(|(instance, shape)| unmet.get(shape).into_iter().flatten().map(move |u| (instance, u)))
        .map(|(instance, (column, value))| Outlying {
            instance: (*instance).to_owned(),
            field: desired.reading.columns[*column].name.clone(),
            value: value.clone(),
        })
        .collect();
    summary.outliers.sort();
    summary
}

struct Newest {
    time: Timestamp,
    stored: Timestamp,
    shape: Shape,
}

/// The newest report of each instance; rejected objects are added to `summary`. Of two reports with the same time, the
/// one that S3 stored later counts, then that of the first source.
fn newest<'a>(view: &'a View, summary: &mut Summary) -> HashMap<&'a str, Newest> {
    let mut newest: HashMap<&str, Newest> = HashMap::new();
    for (source, entry, fact) in view.facts() {
        let mut reject = |reason: RejectionReason, message: &str| {
            let count = match reason.worth() {
                Worth::Forged => &mut summary.counts.forged,
                Worth::Invalid => &mut summary.counts.invalid,
                Worth::Unreadable => &mut summary.counts.unreadable,
            };
            *count += 1;
            let (source, key, message) = (source.to_owned(), entry.key.to_string(), message.to_owned());
            summary.rejected.push(RejectedObject { source, key, reason, message });
        };
        match fact {
            Fact::Rejected(rejection) => reject(rejection.reason, &rejection.message),
            Fact::Report { time, shape } => {
                if let Some(fault) = &entry.fault {
                    reject(RejectionReason::Unreadable, fault);
                }
                // The key was checked when the report was read.
                let Ok(instance) = report::instance(&entry.key, Trust::AnyKey) else { continue };
                let found = Newest { time: Timestamp::from(*time), stored: entry.stored(), shape: *shape };
                let known = newest.entry(instance).or_insert(Newest { ..found });
                if (known.time, known.stored) < (found.time, found.stored) {
                    *known = found;
                }
            }
        }
    }
    summary.rejected.sort_by(|a, b| (a.reason, &a.source, &a.key).cmp(&(b.reason, &b.source, &b.key)));
    newest
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
