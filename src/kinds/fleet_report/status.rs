//! The status, at most 64 KiB. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    condition::second,
    crd::{
        fields::{AwsStatus, CommonStatus},
        fleet_report::{
            ExpectedStatus, FieldCount, FleetReportStatus, GroupCount, Outlier, RejectedObject, RejectionReason,
            ReportCounts, SourceStatus, VersionCount,
        },
    },
    inventory::published::Findings,
    kinds::fleet_report::{
        aggregate::{Outlying, Summary, count},
        desired::{Desired, TOGETHER},
        expected::Expected,
        problem::Problem,
        report::KEPT,
    },
    text::escaped,
};

/// What all lists together may have, as JSON. It leaves room for the conditions.
const LISTS: usize = 50 << 10;
/// How often the lists may be halved until they fit.
const HALVINGS: usize = 4;
const VERSIONS: usize = 80;
const GROUPS: usize = 40;
const OUTLIERS: usize = 40;
const REJECTED: usize = 16;
/// In bytes, as JSON.
const VALUE: usize = 92;
const INSTANCE: usize = 64;
const KEY: usize = 176;
const MESSAGE: usize = 180;
const ERROR: usize = 400;

/// The sources and the summary of their reports.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) sources: Vec<SourceFound>,
    pub(super) expected: Vec<Expected>,
    /// `None` until the first collection of this process has finished.
    pub(super) summary: Option<Summary>,
    /// Instance by instance, if somebody may ask.
    pub(super) published: Option<Findings>,
}

#[derive(Clone, Debug)]
pub(super) struct SourceFound {
    pub(super) name: String,
    /// Absent if no call was allowed.
    pub(super) aws: Option<AwsStatus>,
    /// Absent until the first collection of this process has finished.
    pub(super) known: Option<SourceTotals>,
    pub(super) problem: Option<Problem>,
    /// It may not be read, so nothing that was read before is shown either.
    pub(super) refused: bool,
}

/// The result of the last successful collection of a source by this process.
#[derive(Clone, Copy, Debug)]
pub(super) struct SourceTotals {
    pub(super) objects: u64,
    pub(super) bytes: u64,
    pub(super) fetched: usize,
    pub(super) at: Timestamp,
}

/// When each outlier was first observed. The status lists only some of them.
#[derive(Debug, Default)]
pub(super) struct Since(HashMap<Outlying, Timestamp>);

impl Since {
    /// Removes outliers that are as expected again, and adds new ones. Outliers in `stored` are older than this
    /// process.
    pub(super) fn update(&mut self, outliers: &[Outlying], stored: &[Outlier], now: Timestamp) {
        let named = |o: &Outlier| (o.instance.clone(), o.reason, o.field.clone(), o.value.clone());
        let shown: HashMap<_, _> = stored.iter().map(|o| (named(o), o.since.0)).collect();
        let mut before = std::mem::take(&mut self.0);
        for outlier in outliers {
            let known = before.remove(outlier).or_else(|| {
                let (instance, value) = (clip(&outlier.instance, INSTANCE), clip(&outlier.value, VALUE));
                shown.get(&(instance, outlier.reason, outlier.field.clone(), value)).copied()
            });
            self.0.insert(outlier.clone(), known.unwrap_or(second(now)));
        }
    }

    fn of(&self, outlier: &Outlying) -> Timestamp {
        self.0.get(outlier).copied().unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// The shortened lists, for the condition.
pub(super) type Cut = Vec<String>;

/// The new status, without the conditions. With many sources and long texts, the lists are shorter.
pub(super) fn status(
    desired: &Desired,
    found: &Collected,
    since: &Since,
    before: &FleetReportStatus,
) -> (FleetReportStatus, Cut) {
    let size = |status: &FleetReportStatus| {
        let lists = FleetReportStatus { common: CommonStatus::default(), ..status.clone() };
        serde_json::to_vec(&lists).map_or(usize::MAX, |json| json.len())
    };
    let mut halvings = 0;
    loop {
        let (status, cut) = limited(desired, found, since, before, 1 << halvings);
        if halvings == HALVINGS || size(&status) <= LISTS {
            return (status, cut);
        }
        halvings += 1;
    }
}

/// The status, with lists of a `part`th of their maximum lengths.
fn limited(
    desired: &Desired,
    found: &Collected,
    since: &Since,
    before: &FleetReportStatus,
    part: usize,
) -> (FleetReportStatus, Cut) {
    let mut status = before.clone();
    let mut cut = Cut::new();
    status.sources = found.sources.iter().map(|source| source_status(source, before, ERROR / part)).collect();
    status.expected = expected_status(found, before, ERROR / part);
    let collected = found.sources.iter().filter_map(|s| s.known).map(|k| second(k.at)).max();
    status.last_collected_time = collected.map(Time).or(status.last_collected_time);
    let Some(summary) = &found.summary else {
        if found.sources.iter().any(|source| source.refused) {
            let FleetReportStatus { common, sources, .. } = status;
            status = FleetReportStatus { common, sources, ..FleetReportStatus::default() };
        }
        return (status, cut);
    };
    status.reports = Some(summary.counts);
    status.distinct_versions = Some(count(summary.fields.iter().map(|f| f.values.len()).sum()));
    status.fields = summary
        .fields
        .iter()
        .map(|f| FieldCount { name: f.name.clone(), distinct: count(f.values.len()), absent: f.absent })
        .collect();
    status.versions = versions(summary, VERSIONS / part, &mut cut);
    status.groups = groups(desired, summary, GROUPS / part, &mut cut);
    status.outliers = outliers(summary, since, OUTLIERS / part, &mut cut);
    let ReportCounts { invalid, forged, unreadable, .. } = summary.counts;
    status.rejected = rejected(&summary.rejected, invalid + forged + unreadable, REJECTED / part, &mut cut);
    if summary.cut > 0 {
        cut.push(format!("the first {KEPT} values (at most 16 KiB) of each of {} reports", summary.cut));
    }
    (status, cut)
}

/// `after`, with the times of `before` if nothing else differs and the interval has not passed: other FleetReports may
/// collect the same place more often.
pub(super) fn at_rest(after: FleetReportStatus, before: &FleetReportStatus, interval: Duration) -> FleetReportStatus {
    let still = FleetReportStatus {
        last_collected_time: before.last_collected_time.clone(),
        sources: after.sources.iter().map(|source| source_at_rest(source, before)).collect(),
        ..after.clone()
    };
    let times = (&after.last_collected_time, &before.last_collected_time);
    let (Some(Time(new)), Some(Time(old))) = times else { return after };
    let due = new.duration_since(*old).unsigned_abs() >= interval.mul_f64(1.0 - TOGETHER);
    if still == *before && !due { still } else { after }
}

fn source_at_rest(source: &SourceStatus, before: &FleetReportStatus) -> SourceStatus {
    match before.sources.iter().find(|s| s.name == source.name) {
        Some(SourceStatus { last_success_time, fetched, .. }) => {
            SourceStatus { last_success_time: last_success_time.clone(), fetched: *fetched, ..source.clone() }
        }
        None => source.clone(),
    }
}

fn source_status(source: &SourceFound, before: &FleetReportStatus, error: usize) -> SourceStatus {
    let SourceFound { name, aws, known, problem, refused } = source;
    let mut stored = before.sources.iter().find(|s| s.name == *name).cloned().unwrap_or_default();
    if *refused {
        stored = SourceStatus { aws: stored.aws, ..SourceStatus::default() };
    }
    let mut status = SourceStatus {
        name: name.clone(),
        aws: stored.aws.or_else(|| aws.clone()),
        error: problem.as_ref().map(|p| clip(&p.message, error)),
        fetched: 0,
        ..stored
    };
    if let Some(SourceTotals { objects, bytes, fetched, at }) = known {
        status.objects = i64::try_from(*objects).unwrap_or(i64::MAX);
        status.bytes = i64::try_from(*bytes).unwrap_or(i64::MAX);
        status.fetched = count(*fetched);
        status.last_success_time = Some(Time(second(*at)));
    }
    status
}

fn expected_status(found: &Collected, before: &FleetReportStatus, error: usize) -> Vec<ExpectedStatus> {
    let counts = found.summary.as_ref().map(|summary| summary.expected.as_slice()).unwrap_or_default();
    let rows = found.expected.iter().enumerate().map(|(place, one)| {
        let pinned = before.expected.iter().find(|known| known.name == one.name).and_then(|known| known.aws.clone());
        let (running, missing) = counts.get(place).copied().unwrap_or_default();
        ExpectedStatus {
            name: one.name.clone(),
            aws: pinned.or_else(|| one.aws.clone()),
            running,
            missing,
            error: one.found.as_ref().err().map(|problem| clip(&problem.message, error)),
        }
    });
    rows.collect()
}

/// Each field gets an equal share of the list, and an unused part goes to the next field.
fn versions(summary: &Summary, all: usize, cut: &mut Cut) -> Vec<VersionCount> {
    let mut shown = Vec::new();
    let mut order: Vec<usize> = (0..summary.fields.len()).collect();
    order.sort_by_key(|place| summary.fields[*place].values.len());
    let mut share = vec![0; order.len()];
    let mut room = all;
    for (turn, place) in order.iter().enumerate() {
        share[*place] = summary.fields[*place].values.len().min(room / (order.len() - turn));
        room -= share[*place];
    }
    for (field, share) in summary.fields.iter().zip(share) {
        note(cut, share, field.values.len(), &format!("values of {}", field.name));
        shown.extend(field.values.iter().take(share).map(|(value, count)| VersionCount {
            field: field.name.clone(),
            value: clip(value, VALUE),
            count: *count,
        }));
    }
    shown
}

fn groups(desired: &Desired, summary: &Summary, all: usize, cut: &mut Cut) -> Vec<GroupCount> {
    let share = all / desired.reading.groups().len().max(1);
    let mut shown = Vec::new();
    for grouping in desired.reading.groups() {
        let found: Vec<_> = summary.groups.iter().filter(|g| g.name == grouping.name).collect();
        note(cut, share.min(found.len()), found.len(), &format!("groups by {}", grouping.name));
        let clipped = |group: &GroupCount| GroupCount { value: clip(&group.value, VALUE), ..group.clone() };
        shown.extend(found.into_iter().take(share).map(clipped));
    }
    shown
}

fn outliers(summary: &Summary, since: &Since, most: usize, cut: &mut Cut) -> Vec<Outlier> {
    let mut oldest: Vec<_> = summary.outliers.iter().map(|o| (since.of(o), o)).collect();
    oldest.sort();
    note(cut, most.min(oldest.len()), summary.outlying, "outliers");
    oldest
        .into_iter()
        .take(most)
        .map(|(since, o)| Outlier {
            instance: clip(&o.instance, INSTANCE),
            reason: o.reason,
            field: o.field.clone(),
            value: clip(&o.value, VALUE),
            since: Time(since),
        })
        .collect()
}

/// Some objects for each reason, so that many invalid objects do not hide a forged one.
fn rejected(all: &[RejectedObject], total: i64, most: usize, cut: &mut Cut) -> Vec<RejectedObject> {
    let mut reasons: BTreeMap<RejectionReason, Vec<&RejectedObject>> = BTreeMap::new();
    for rejected in all {
        reasons.entry(rejected.reason).or_default().push(rejected);
    }
    let mut share = most / reasons.len().max(1);
    while share < most && reasons.values().map(|r| r.len().min(share + 1)).sum::<usize>() <= most {
        share += 1;
    }
    let shown: Vec<_> = reasons.values().flat_map(|r| r.iter().take(share)).collect();
    note(cut, shown.len(), usize::try_from(total).unwrap_or(usize::MAX), "rejected objects");
    let clipped = |r: &RejectedObject| {
        let (key, message) = (clip_front(&r.key, KEY), clip(&r.message, MESSAGE));
        RejectedObject { source: r.source.clone(), key, reason: r.reason, message }
    };
    shown.into_iter().map(|rejected| clipped(rejected)).collect()
}

fn note(cut: &mut Cut, shown: usize, all: usize, what: &str) {
    if shown < all {
        cut.push(format!("{shown} of {all} {what}"));
    }
}

/// Escapes the text, which a worker wrote, and shortens it to `limit` bytes of JSON.
fn clip(text: &str, limit: usize) -> String {
    let text = escaped(text);
    match cut_at(text.chars(), limit) {
        None => text.into_owned(),
        Some(kept) => kept.into_iter().chain(['…']).collect(),
    }
}

/// The same, but keeps the end of the text.
fn clip_front(text: &str, limit: usize) -> String {
    let text = escaped(text);
    match cut_at(text.chars().rev(), limit) {
        None => text.into_owned(),
        Some(kept) => ['…'].into_iter().chain(kept.into_iter().rev()).collect(),
    }
}

/// The characters that fit together with an ellipsis, or `None` if all fit without one.
fn cut_at(text: impl Iterator<Item = char>, limit: usize) -> Option<Vec<char>> {
    let room = limit - '…'.len_utf8();
    let (mut size, mut kept, mut fits) = (0, Vec::new(), true);
    for c in text {
        size += match c {
            '"' | '\\' => 2,
            c => c.len_utf8(),
        };
        fits &= size <= room;
        if fits {
            kept.push(c);
        }
        if size > limit {
            return Some(kept);
        }
    }
    None
}

/// A value as the status shows it.
pub(super) fn shown(value: &Arc<str>) -> String {
    clip(value, VALUE)
}
