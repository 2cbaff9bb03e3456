//! Tests from the bytes of objects to the status.

mod expected;

use std::{collections::BTreeSet, sync::Arc};

use jiff::{Timestamp, ToSpan};
use proptest::prelude::*;
use serde_json::json;

use crate::{
    aws::s3::{Listed, Read},
    config::ReportLimits,
    crd::{
        fields::AwsStatus,
        fleet_report::{FleetReportStatus, RejectionReason, Trust},
    },
    kinds::fleet_report::{
        aggregate::{Summary, aggregate, newest},
        desired::Desired,
        expected::Expected,
        index::{Content, Entry, Fetched, Index, LeftOut},
        memory_budget::{Member, Members, MemoryBudget, OVERHEAD},
        problem::Problem,
        status::{Collected, Since, SourceFound, SourceTotals, at_rest, status},
        verdicts::verdicts,
        view::{Fact, View},
    },
};

const LIMIT: u64 = 4096;

fn now() -> Timestamp {
    "2026-01-02T00:00:00Z".parse().unwrap()
}

fn desired() -> Desired {
    Desired::sample(json!({
        "timestamp": {"path": "$.time"},
        "identity": {"path": "$.id"},
        "fields": [{"name": "app", "path": "$.app"}, {"name": "modules", "path": "$.modules[*]"}],
        "groupBy": [{"name": "service", "path": "$.name", "regex": "^([a-z]+)-"}],
        "expect": {"versions": [{"field": "app", "semver": ">=1.1"}]},
    }))
    .unwrap()
}

/// An object: its key, what its content is known by, when it was stored, and what reading it gives.
#[derive(Clone, Debug)]
struct Object {
    key: String,
    tag: u64,
    stored: Timestamp,
    read: Fetched,
}

fn object(key: &str, body: impl Into<String>) -> Object {
    let body: String = body.into();
    let tag = body.bytes().fold(7u64, |h, b| h.wrapping_mul(31).wrapping_add(b.into()));
    Object {
        key: key.into(),
        tag,
        stored: now(),
        read: Ok(Read::Body { body: body.into(), tag: Some(tag), stored: None }),
    }
}

fn size(object: &Object) -> u64 {
    match &object.read {
        Ok(Read::Body { body, .. }) => body.len() as u64,
        Ok(Read::TooLarge | Read::Parameters | Read::Gone) | Err(_) => 10,
    }
}

/// The index after a collection, and the keys that it read.
fn collect(before: &Index, objects: &[Object], limit: u64) -> (Index, Vec<String>) {
    let mut objects = objects.to_vec();
    objects.sort_by(|a, b| a.key.cmp(&b.key));
    let listed: Vec<Listed> =
        objects.iter().map(|o| Listed { key: o.key.clone(), tag: o.tag, stored: o.stored, size: size(o) }).collect();
    let wanted = before.to_fetch(&listed, limit);
    let keys = wanted.iter().map(|place| objects[*place].key.clone()).collect();
    let fetched = wanted.into_iter().map(|place| (place, objects[place].read.clone())).collect();
    let members = Members(vec![member()]);
    (Index::complete(before.after(listed, limit, fetched, &members), LeftOut::default()), keys)
}

fn member() -> Arc<Member> {
    Arc::new(MemoryBudget::new(ReportLimits { bytes: 1 << 30, objects: 100_000 }).join("ml"))
}

fn sources(index: &Index) -> [(String, Trust, Arc<Index>); 1] {
    [("prod".into(), Trust::AnyKey, Arc::new(index.clone()))]
}

fn summary(desired: &Desired, objects: &[Object]) -> Summary {
    let mut view = View::new(desired.reading.clone(), member());
    view.update(&desired.reading, &sources(&collect(&Index::default(), objects, LIMIT).0), &mut || {});
    aggregate(desired, &view, (&[], true), &newest(&view), now())
}

fn found(summary: Summary) -> Collected {
    let aws = AwsStatus { account_id: "111111111111".into(), region: "eu-west-1".into() };
    let known = SourceTotals { objects: 3, bytes: 300, fetched: 2, at: now() };
    let source = SourceFound { name: "prod".into(), aws: Some(aws), known: Some(known), problem: None, refused: false };
    Collected { sources: vec![source], expected: vec![], summary: Some(summary), published: None }
}

fn report(id: &str, app: &str, name: &str) -> Object {
    let body = json!({"id": id, "time": "2026-01-01T23:30:00Z", "app": app, "name": name, "modules": ["a", "b", "a"]});
    object(&format!("{id}.json"), body.to_string())
}

#[test]
fn the_status_of_a_small_fleet_is_complete() {
    let desired = desired();
    let objects = [
        report("i-1", "1.0.0", "web-1"),
        report("i-2", "1.1.0", "web-2"),
        report("i-3", "1.1.0", "batch"),
        object("i-4.json", r#"{"id": "i-4", "time": "2026-01-01T07:00:00+0900", "app": "0.1.0"}"#),
        object("i-5.json", r#"{"id": "i-1", "time": "2026-01-01T23:59:59Z"}"#),
        object("i-6.json", "oops"),
        Object { read: Err("s3:GetObject failed: InternalError: x".into()), ..report("i-7", "1", "web-7") },
    ];
    let found = found(summary(&desired, &objects));
    let mut since = Since::default();
    since.update(&found.summary.as_ref().unwrap().outliers, &[], now());
    let (status, cut) = status(&desired, &found, &since, &FleetReportStatus::default());
    insta::assert_yaml_snapshot!(status);
    let verdicts = verdicts(&desired, &found, &cut);
    let lines = verdicts.iter().map(|v| format!("{:?}={:?} {:?}: {}", v.condition, v.truth, v.reason, v.message));
    insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"));
}

#[test]
fn times_are_written_once_per_interval_and_with_other_changes() {
    let desired = desired();
    let summary = summary(&desired, &[report("i-1", "1.0.0", "web-1")]);
    let after = |later: jiff::Span, objects: u64| {
        let mut found = found(summary.clone());
        found.sources[0].known = Some(SourceTotals { objects, bytes: 300, fetched: 0, at: now() + later });
        status(&desired, &found, &Since::default(), &FleetReportStatus::default()).0
    };
    let before = after(0.seconds(), 3);
    let rest = |status| at_rest(status, &before, desired.interval);
    assert_eq!(rest(after(10.seconds(), 3)), before);
    assert_eq!(rest(after(10.seconds(), 4)), after(10.seconds(), 4));
    assert_eq!(rest(after(5.minutes(), 3)), after(5.minutes(), 3));
}

#[test]
fn only_new_and_changed_objects_are_read() {
    let objects = [report("i-1", "1", "a-1"), report("i-2", "1", "a-1"), report("i-3", "1", "a-1")];
    let (index, read) = collect(&Index::default(), &objects, LIMIT);
    assert_eq!(read.len(), 3);
    let (index, read) = collect(&index, &objects, LIMIT);
    assert_eq!(read, Vec::<String>::new());

    let mut changed = vec![report("i-1", "2", "a-1"), objects[1].clone(), report("i-4", "1", "a-1")];
    changed[1].stored = now() + 1.hour();
    let (index, read) = collect(&index, &changed, LIMIT);
    assert_eq!(read, ["i-1.json", "i-4.json"], "the same bytes stored again are not read");
    let keys: Vec<_> = index.entries().iter().map(|e| &*e.key).collect();
    assert_eq!(keys, ["i-1.json", "i-2.json", "i-4.json"], "what is not listed is gone");
    assert_eq!(index.entries()[1].stored(), now() + 1.hour(), "but their time counts");
}

#[test]
fn an_object_rewritten_after_the_listing_has_the_time_of_its_read_content() {
    let later = now() + 1.hour();
    let mut racing = report("i-1", "1", "a-1");
    let Ok(Read::Body { tag, stored, .. }) = &mut racing.read else { unreachable!("a report has a body") };
    (*tag, *stored) = (Some(7), Some(later));
    let (index, _) = collect(&Index::default(), std::slice::from_ref(&racing), LIMIT);
    assert_eq!(index.entries()[0].stored(), later, "or its own time would appear to be in the future");
    let shown = Object { tag: 7, stored: later, ..racing };
    let (next, read) = collect(&index, std::slice::from_ref(&shown), LIMIT);
    assert_eq!(read, Vec::<String>::new());
    assert!(Arc::ptr_eq(&next.entries()[0], &index.entries()[0]));
}

#[test]
fn unreadable_objects_are_retried_and_their_earlier_content_is_kept() {
    let good = report("i-1", "1", "a-1");
    let bad = Object { read: Err("no".into()), stored: now() + 1.hour(), ..report("i-1", "2", "a-1") };
    let (index, _) = collect(&Index::default(), std::slice::from_ref(&good), LIMIT);
    let (index, read) = collect(&index, std::slice::from_ref(&bad), LIMIT);
    assert_eq!(read, ["i-1.json"]);
    let entry = &index.entries()[0];
    assert!(matches!(&entry.content, Content::Body(_)) && entry.fault.is_some());
    assert_eq!(entry.stored(), now(), "old content does not become new");
    let (index, read) = collect(&index, &[report("i-1", "2", "a-1")], LIMIT);
    assert_eq!((read.len(), index.entries()[0].fault.is_none()), (1, true));

    let (index, _) = collect(&Index::default(), std::slice::from_ref(&bad), LIMIT);
    assert!(matches!(index.entries()[0].content, Content::Never));
    assert_eq!(collect(&index, std::slice::from_ref(&bad), LIMIT).1, ["i-1.json"]);
    let gone = Object { read: Ok(Read::Gone), ..bad };
    assert!(collect(&index, &[gone], LIMIT).0.entries().is_empty());
}

#[test]
fn an_object_that_is_too_large_is_not_read_until_the_limit_is_raised() {
    let large = object("i-1.json", "{".repeat(50));
    let (index, read) = collect(&Index::default(), std::slice::from_ref(&large), 49);
    assert!(read.is_empty() && matches!(index.entries()[0].content, Content::Beyond(49)));
    assert!(collect(&index, std::slice::from_ref(&large), 49).1.is_empty());
    let (index, read) = collect(&index, std::slice::from_ref(&large), 50);
    assert!(read.len() == 1 && matches!(index.entries()[0].content, Content::Body(_)));

    // The object is larger than listed.
    let liar = Object { read: Ok(Read::TooLarge), ..object("i-1.json", "x") };
    let (index, _) = collect(&Index::default(), std::slice::from_ref(&liar), 49);
    assert!(collect(&index, std::slice::from_ref(&liar), 49).1.is_empty());
    assert_eq!(collect(&index, std::slice::from_ref(&liar), 50).1.len(), 1);
}

#[test]
fn objects_that_cannot_be_reports_are_not_held() {
    let key = "app/6b4d2a3e-9d0c-4f6e-8f0e-1f7a2b3c4d5e/main/0123456789abcdef0123456789abcdef.json";
    let secret = object(key, r#"{"password": "hunter2"}"#);
    let objects = [secret, object("backup.gz", "\u{1f}x".repeat(1000)), report("i-1", "1.1.0", "web-1")];
    let (index, read) = collect(&Index::default(), &objects, LIMIT);
    assert_eq!(read, ["backup.gz", "i-1.json"], "parameters of an earlier version have no metadata, but their key");
    let bodies = index.entries().iter().filter(|e| matches!(e.content, Content::Body(_))).count();
    assert_eq!((bodies, collect(&index, &objects, LIMIT).1), (1, vec![]));
    let summary = summary(&desired(), &objects);
    let named: Vec<_> = summary.rejected.iter().map(|r| (&*r.key, r.reason)).collect();
    assert_eq!(named, [(key, RejectionReason::ParametersDocument), ("backup.gz", RejectionReason::NotJson)]);
}

#[test]
fn a_wildcard_keeps_few_values_of_a_large_report() {
    let everything = json!({"fields": [{"name": "all", "path": "$..*"}, {"name": "each", "path": "$.*"}]});
    let desired = Desired::sample(everything).unwrap();
    let nested = (0..100).fold(json!("x".repeat(500_000)), |inner, n| json!({n.to_string(): inner}));
    let wide: Vec<_> = (0..10_000).map(|n| format!("{n:0>40}")).collect();
    let objects = [object("deep.json", nested.to_string()), object("wide.json", json!({"a": wide}).to_string())];
    let mut view = View::new(desired.reading.clone(), member());
    view.update(&desired.reading, &sources(&collect(&Index::default(), &objects, 1 << 20).0), &mut || {});
    let summary = aggregate(&desired, &view, (&[], true), &newest(&view), now());
    let kept: usize = summary.fields.iter().flat_map(|f| &f.values).map(|(value, _)| value.len()).sum();
    assert!(kept <= 2 * (16 << 10), "{kept}");
    let (_, cut) = status(&desired, &found(summary), &Since::default(), &FleetReportStatus::default());
    assert!(cut.iter().any(|c| c.contains("of each of 2 reports")), "{cut:?}");
}

#[test]
fn a_report_that_takes_too_many_steps_is_rejected_by_name() {
    let filter = json!({"fields": [{"name": "app", "path": "$.texts[?search(@, '(a|b)*c$')]"}]});
    let desired = Desired::sample(filter).unwrap();
    // A MiB with 345,000 texts is not even parsed. The others are evaluated as far as the steps last.
    let texts = |n: usize| json!({"texts": vec![""; n]}).to_string();
    let objects = [object("a.json", texts(345_000)), object("b.json", texts(100_000)), object("c.json", texts(100))];
    let mut view = View::new(desired.reading.clone(), member());
    view.update(&desired.reading, &sources(&collect(&Index::default(), &objects, 2 << 20).0), &mut || {});
    let summary = aggregate(&desired, &view, (&[], true), &newest(&view), now());
    assert_eq!((summary.counts.fresh, summary.counts.invalid), (1, 2));
    let named: Vec<_> = summary.rejected.iter().map(|r| (&*r.key, r.reason)).collect();
    assert_eq!(named, [("a.json", RejectionReason::TooComplex), ("b.json", RejectionReason::TooComplex)]);
}

#[test]
fn the_budget_covers_what_an_entry_takes_beyond_its_body() {
    // The budget counts the bytes of the key too.
    const KEY: usize = "fleet/i-0123456789abcdef0.json".len();
    let counters = 2 * size_of::<usize>();
    let in_index = size_of::<Arc<Entry>>() + counters + size_of::<Entry>() + KEY.next_multiple_of(16) + 16;
    let in_view = size_of::<(Arc<Entry>, Fact)>();
    assert!((in_index + in_view) as u64 <= OVERHEAD + KEY as u64, "{in_index} + {in_view}");
}

#[test]
fn the_status_stays_small_for_any_reports() {
    let nasty = |n: usize| format!("{n}{}", "\u{1}\"\\é".repeat(100));
    let fields: Vec<_> = (0..16).map(|n| json!({"name": format!("{n:a>63}"), "path": format!("$.f{n}")})).collect();
    let groups: Vec<_> = (0..8).map(|n| json!({"name": format!("{n:a>63}"), "path": format!("$.f{n}")})).collect();
    let expect: Vec<_> = (0..16).map(|n| json!({"field": format!("{n:a>63}"), "equals": "x"})).collect();
    let desired = Desired::sample(json!({"timestamp": {"path": "$.time"}, "identity": {"path": "$.id"},
        "fields": fields, "groupBy": groups, "expect": {"versions": expect}, "limits": {"objectSize": "1Mi"}}))
    .unwrap();
    let objects: Vec<_> = (0..300)
        .map(|n| {
            let id = format!("{n}{}", "\u{1}\"".repeat(100));
            let mut body = json!({"id": if n % 3 == 0 { "other" } else { &id }, "time": "2026-01-01T23:30:00Z"});
            (0..16).for_each(|f| body[format!("f{f}")] = json!(nasty(n * 16 + f)));
            object(&format!("{}/{id}.json", nasty(n)), if n % 5 == 0 { "bad".into() } else { body.to_string() })
        })
        .collect();
    let mut view = View::new(desired.reading.clone(), member());
    view.update(&desired.reading, &sources(&collect(&Index::default(), &objects, 1 << 20).0), &mut || {});
    let mut found = found(aggregate(&desired, &view, (&[], true), &newest(&view), now()));
    let source = found.sources.remove(0);
    // With few sources the lists have their full lengths, and with many they are shorter.
    for (sources, expected, lengths) in [(4, 0, (80, 40, 16)), (64, 16, (20, 10, 4))] {
        let problem = |n: usize| Problem { message: nasty(n).repeat(10), lasting: true };
        let failed = |n: usize| SourceFound { name: format!("{n:a>63}"), problem: Some(problem(n)), ..source.clone() };
        found.sources = (0..sources).map(failed).collect();
        let unknown =
            |n: usize| Expected { name: format!("{n:a>63}"), aws: source.aws.clone(), found: Err(problem(n)) };
        found.expected = (0..expected).map(unknown).collect();
        let (status, cut) = status(&desired, &found, &Since::default(), &FleetReportStatus::default());
        assert_eq!((status.versions.len(), status.outliers.len(), status.rejected.len()), lengths);
        assert_eq!(cut.len(), 16 + 8 + 2);
        let size = serde_json::to_vec(&status).unwrap().len();
        let messages: usize =
            verdicts(&desired, &found, &cut).iter().map(|v| v.message.chars().take(2051).count() + 250).sum();
        assert!(size + messages < 64 << 10, "{size} + {messages}");
    }
}

fn any_object() -> impl Strategy<Value = Object> {
    let time = (0i64..300).prop_map(|minutes| (now() - minutes.minutes()).to_string());
    let app =
        prop_oneof![Just(json!("1.0.0")), Just(json!("1.1.0")), Just(json!(null)), Just(json!("x")), Just(json!(2))];
    let modules = prop::collection::vec(prop_oneof![Just("a"), Just("b"), Just("c")], 0..4);
    let name = prop_oneof![Just("web-1"), Just("web-2"), Just("db-1"), Just("none")];
    let fate = 0u8..12;
    (0u8..12, 0u8..3, time, app, modules, name, fate).prop_map(|(id, folder, time, app, modules, name, fate)| {
        let key = format!("{folder}/i-{id}.json");
        let claimed = if fate == 0 { "i-forged".into() } else { format!("i-{id}") };
        // The same bytes have the same ETag, and with it the same size.
        let body =
            json!({"id": claimed, "time": time, "app": app, "modules": modules, "name": name, "lies": fate == 3});
        let body = body.to_string();
        match fate {
            1 => object(&key, &body[..body.len() / 2]),
            2 => Object { read: Err("no".into()), ..object(&key, body) },
            3 => Object { read: Ok(Read::TooLarge), ..object(&key, body) },
            _ => object(&key, body),
        }
    })
}

/// A bucket has one object a key.
fn any_bucket() -> impl Strategy<Value = Vec<Object>> {
    prop::collection::vec(any_object(), 0..40).prop_map(|mut objects| {
        objects.sort_by(|a, b| a.key.cmp(&b.key));
        objects.dedup_by(|a, b| a.key == b.key);
        objects
    })
}

proptest! {
    #[test]
    fn the_counts_add_up(objects in any_bucket()) {
        let summary = summary(&desired(), &objects);
        let counts = summary.counts;
        let rejected = counts.invalid + counts.forged + counts.unreadable;
        prop_assert_eq!(rejected as usize, summary.rejected.len());
        let instances: BTreeSet<_> = objects.iter().map(|o| o.key.rsplit('/').next()).collect();
        prop_assert!((counts.fresh + counts.stale) as usize <= instances.len());
        prop_assert!(counts.fresh + counts.stale + rejected <= objects.len() as i64);
        let behind: BTreeSet<_> = summary.outliers.iter().map(|o| &o.instance).collect();
        prop_assert_eq!(behind.len() as i64, counts.behind);
        // `app` has one value at most, `modules` has any number of them.
        let [app, modules] = &summary.fields[..] else { panic!("two fields") };
        prop_assert_eq!(app.values.iter().map(|(_, n)| n).sum::<i64>() + app.absent, counts.fresh);
        prop_assert!(modules.values.iter().all(|(_, n)| *n >= 1 && n + modules.absent <= counts.fresh));
        prop_assert_eq!(summary.groups.iter().map(|g| g.fresh).sum::<i64>(), counts.fresh);
        prop_assert_eq!(summary.groups.iter().map(|g| g.behind).sum::<i64>(), counts.behind);
    }

    #[test]
    fn a_later_collection_finds_the_same_as_a_first_one(buckets in prop::collection::vec(any_bucket(), 1..5)) {
        assert_each_collection(&buckets);
    }
}

/// Each collection gives the same result as a first collection of the same objects.
fn assert_each_collection(buckets: &[Vec<Object>]) {
    let desired = desired();
    let (mut index, mut view) = (Index::default(), View::new(desired.reading.clone(), member()));
    for objects in buckets {
        // Failures leave older content behind, which a first collection does not have.
        let objects: Vec<_> = objects.iter().filter(|o| o.read.is_ok()).cloned().collect();
        index = collect(&index, &objects, LIMIT).0;
        view.update(&desired.reading, &sources(&index), &mut || {});
        assert_eq!(aggregate(&desired, &view, (&[], true), &newest(&view), now()), summary(&desired, &objects));
    }
}

#[test]
fn values_of_other_types_and_absent_values_are_the_same_in_each_collection() {
    let objects = [
        ("0/i-2.json", r#"{"id":"i-2","time":"2026-01-01T23:48:00Z","app":null,"modules":["b"],"name":"none"}"#),
        ("1/i-7.json", r#"{"id":"i-7","time":"2026-01-01T23:47:00Z","app":"1.1.0","modules":[],"name":"db-1"}"#),
        ("2/i-0.json", r#"{"id":"i-0","time":"2026-01-01T21:34:00Z","app":2,"modules":["b","a"],"name":"none"}"#),
    ];
    let objects: Vec<_> = objects.into_iter().map(|(key, body)| object(key, body)).collect();
    assert_each_collection(&[objects.clone(), objects]);
}
