//! The spec, validated and compiled.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use regex::{Regex, RegexBuilder};
use semver::{Version, VersionReq};

use crate::{
    crd::{
        fields::{AwsRef, InvalidDuration, duration},
        fleet_report::{ExpectedVersion, FleetReportSpec, GroupBy, InstanceSelector, Source},
    },
    kinds::fleet_report::path::Path,
    reconcile::Failure,
};

/// Sources that are due within this fraction of the interval are collected together.
pub(super) const TOGETHER: f64 = 0.1;

/// An error in the spec that the schema cannot detect.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum InvalidSpec {
    #[error("{field}: {source}")]
    Duration { field: &'static str, source: InvalidDuration },
    #[error("spec.limits.objectSize: {0:?} is not a size; write it like 1Mi or 256Ki")]
    Size(String),
    #[error("{field}: {path:?} cannot be used: {problem}. Write it like {example}")]
    Path { field: String, path: String, problem: String, example: &'static str },
    #[error("spec.groupBy[{name}].regex: {regex:?} cannot be used: {problem}. Write it like ^([a-z]+)_")]
    Regex { name: String, regex: String, problem: String },
    #[error(
        "spec.expect.versions[{field}].semver: {range:?} is not a range of versions: {problem}. Write it like >=1.2.3, <2"
    )]
    Semver { field: String, range: String, problem: String },
    #[error("spec.expect.versions[{0}] names a field that does not exist; add a field named {0} to spec.fields")]
    UnknownField(String),
    #[error(
        "spec.sources[{first}] and spec.sources[{second}] read the same place, so rejected objects would be counted twice; \
         remove one of them, or give it another bucket or prefix"
    )]
    SamePlace { first: String, second: String },
    #[error("spec.expect.versions[{0}] needs exactly one of equals, oneOf or semver")]
    NoRule(String),
}

impl From<InvalidSpec> for Failure {
    fn from(error: InvalidSpec) -> Self {
        Self::InvalidSpec(error.to_string())
    }
}

/// A valid spec.
#[derive(Clone, Debug)]
pub(super) struct Desired {
    pub(super) sources: Vec<Source>,
    pub(super) interval: Duration,
    pub(super) stale_after: Duration,
    /// In bytes.
    pub(super) object_size: u64,
    pub(super) concurrency: usize,
    pub(super) reading: Arc<Reading>,
    pub(super) expect: Vec<Expectation>,
    pub(super) instances: Vec<ExpectedInstances>,
    /// The Secrets whose keys open the reports.
    pub(super) keys: Vec<String>,
}

/// Instances that should report.
#[derive(Clone, Debug)]
pub(super) struct ExpectedInstances {
    pub(super) name: String,
    pub(super) aws: AwsRef,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) grace: Duration,
}

const GRACE: Duration = Duration::from_mins(15);

/// What is read from each report.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reading {
    pub(super) timestamp: Option<Path>,
    pub(super) identity: Option<Path>,
    /// In bytes; a larger object is rejected.
    pub(super) object_size: u64,
    /// The fields first, then the groupings.
    pub(super) columns: Vec<Column>,
    fields: usize,
}

impl Reading {
    pub(super) fn fields(&self) -> &[Column] {
        &self.columns[..self.fields]
    }

    pub(super) fn groups(&self) -> &[Column] {
        &self.columns[self.fields..]
    }

    /// The position of the first of [`Reading::groups`] in [`Reading::columns`].
    pub(super) fn first_group(&self) -> usize {
        self.fields
    }
}

/// A field or a grouping.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) path: Path,
    pub(super) regex: Option<Regex>,
}

impl PartialEq for Column {
    fn eq(&self, other: &Self) -> bool {
        let Self { name, path, regex } = self;
        *name == other.name
            && *path == other.path
            && regex.as_ref().map(Regex::as_str) == other.regex.as_ref().map(Regex::as_str)
    }
}

/// The expected values of one field.
#[derive(Clone, Debug)]
pub(super) struct Expectation {
    /// The position of the field in [`Reading::columns`].
    pub(super) column: usize,
    pub(super) rule: Rule,
}

#[derive(Clone, Debug)]
pub(super) enum Rule {
    Equals(String),
    OneOf(BTreeSet<String>),
    Semver(VersionReq),
}

impl Rule {
    pub(super) fn accepts(&self, value: &str) -> bool {
        match self {
            Self::Equals(expected) => value == expected,
            Self::OneOf(expected) => expected.contains(value),
            Self::Semver(range) => version(value).is_some_and(|v| range.matches(&v)),
        }
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Equals(expected) => f.write_str(expected),
            Self::OneOf(expected) => {
                let shown: Vec<_> = expected.iter().take(3).map(String::as_str).collect();
                write!(f, "one of {}{}", shown.join(", "), if expected.len() > 3 { ", ..." } else { "" })
            }
            Self::Semver(range) => write!(f, "{range}"),
        }
    }
}

/// `1.2.3`, `v1.2.3`, and `1.2` or `1` as people write them.
fn version(text: &str) -> Option<Version> {
    let text = text.trim();
    let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
    if let Ok(version) = Version::parse(text) {
        return Some(version);
    }
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (core, rest) = text.split_at(end);
    let missing = 2usize.checked_sub(core.matches('.').count())?;
    Version::parse(&format!("{core}{}{rest}", ".0".repeat(missing))).ok()
}

impl TryFrom<&FleetReportSpec> for Desired {
    type Error = InvalidSpec;

    fn try_from(spec: &FleetReportSpec) -> Result<Self, InvalidSpec> {
        let span = |field, text: &str| duration(text).map_err(|source| InvalidSpec::Duration { field, source });
        check_places(&spec.sources)?;
        let object_size = size(&spec.limits.object_size)?;
        let reading = reading(spec, object_size)?;
        let expect =
            spec.expect.iter().flat_map(|e| &e.versions).map(|v| expectation(v, &reading)).collect::<Result<_, _>>();
        let instances = spec.expect.iter().flat_map(|expect| &expect.instances).map(|selector| {
            let InstanceSelector { name, aws, tags, grace_period } = selector;
            let grace = grace_period.as_deref().map(|text| span("spec.expect.instances[].gracePeriod", text));
            let (name, aws, tags) = (name.clone(), aws.clone(), tags.clone());
            Ok(ExpectedInstances { name, aws, tags, grace: grace.transpose()?.unwrap_or(GRACE) })
        });
        Ok(Self {
            sources: spec.sources.clone(),
            interval: span("spec.interval", &spec.interval)?,
            stale_after: span("spec.staleAfter", &spec.stale_after)?,
            object_size,
            concurrency: usize::try_from(spec.limits.concurrency).unwrap_or(1).clamp(1, 100),
            expect: expect?,
            instances: instances.collect::<Result<_, _>>()?,
            keys: spec.api.iter().flat_map(|api| &api.key_secret_refs).map(|secret| secret.name.clone()).collect(),
            reading: Arc::new(reading),
        })
    }
}

fn check_places(sources: &[Source]) -> Result<(), InvalidSpec> {
    let mut seen = HashMap::with_capacity(sources.len());
    for Source { name, bucket, prefix, aws, .. } in sources {
        if let Some(first) = seen.insert((aws, bucket, prefix), name) {
            return Err(InvalidSpec::SamePlace { first: first.clone(), second: name.clone() });
        }
    }
    Ok(())
}

fn reading(spec: &FleetReportSpec, object_size: u64) -> Result<Reading, InvalidSpec> {
    let place = |field: &str, text: &str, example| {
        let refused = |problem| InvalidSpec::Path { field: field.to_owned(), path: text.to_owned(), problem, example };
        Path::parse(text).map_err(refused)
    };
    let timestamp = spec.timestamp.as_ref().map(|p| place("spec.timestamp.path", &p.path, "$.update_date"));
    let identity = spec.identity.as_ref().map(|p| place("spec.identity.path", &p.path, "$.instance_id"));
    let mut columns = Vec::with_capacity(spec.fields.len() + spec.group_by.len());
    for field in &spec.fields {
        let path = place(&format!("spec.fields[{}].path", field.name), &field.path, "$.app_version")?;
        columns.push(Column { name: field.name.clone(), path, regex: None });
    }
    for group in &spec.group_by {
        let path = place(&format!("spec.groupBy[{}].path", group.name), &group.path, "$.instance_name")?;
        columns.push(Column { name: group.name.clone(), path, regex: regex(group)? });
    }
    Ok(Reading {
        timestamp: timestamp.transpose()?,
        identity: identity.transpose()?,
        object_size,
        columns,
        fields: spec.fields.len(),
    })
}

fn regex(group: &GroupBy) -> Result<Option<Regex>, InvalidSpec> {
    let Some(text) = &group.regex else { return Ok(None) };
    let refused = |problem: String| InvalidSpec::Regex { name: group.name.clone(), regex: text.clone(), problem };
    let regex = RegexBuilder::new(text).size_limit(256 << 10).build().map_err(|error| {
        let text = error.to_string();
        let last = text.lines().last().unwrap_or_default();
        refused(last.trim_start_matches("error: ").trim_end_matches('.').to_owned())
    })?;
    match regex.captures_len() - 1 {
        1 => Ok(Some(regex)),
        0 => Err(refused("it has no capture group; add one in parentheses".into())),
        n => Err(refused(format!("it has {n} capture groups; keep one, and write the others as (?:...)"))),
    }
}

fn expectation(expected: &ExpectedVersion, reading: &Reading) -> Result<Expectation, InvalidSpec> {
    let ExpectedVersion { field, equals, one_of, semver } = expected;
    let column = reading.fields().iter().position(|c| c.name == *field);
    let column = column.ok_or_else(|| InvalidSpec::UnknownField(field.clone()))?;
    let rule =
        match (equals, one_of, semver) {
            (Some(value), None, None) => Rule::Equals(value.clone()),
            (None, Some(values), None) => Rule::OneOf(values.iter().cloned().collect()),
            (None, None, Some(range)) => Rule::Semver(VersionReq::parse(range).map_err(|error| {
                InvalidSpec::Semver { field: field.clone(), range: range.clone(), problem: error.to_string() }
            })?),
            _ => return Err(InvalidSpec::NoRule(field.clone())),
        };
    Ok(Expectation { column, rule })
}

/// Parses a size as Kubernetes writes it.
fn size(text: &str) -> Result<u64, InvalidSpec> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let factor = match &text[digits..] {
        "" => 1,
        "k" => 1_000,
        "Ki" => 1 << 10,
        "M" => 1_000_000,
        "Mi" => 1 << 20,
        _ => return Err(InvalidSpec::Size(text.into())),
    };
    let number: u64 = text[..digits].parse().map_err(|_| InvalidSpec::Size(text.into()))?;
    number.checked_mul(factor).ok_or_else(|| InvalidSpec::Size(text.into()))
}

#[cfg(test)]
impl Desired {
    /// A spec with one source and one field, changed by `part`.
    pub(super) fn sample(part: serde_json::Value) -> Result<Self, InvalidSpec> {
        let mut spec = serde_json::json!({
            "sources": [{"name": "prod", "bucket": "reports", "aws": {"region": "eu-west-1"}}],
            "fields": [{"name": "app", "path": "$.app_version"}],
        });
        spec.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
        Self::try_from(&serde_json::from_value::<FleetReportSpec>(spec).unwrap())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[test]
    fn omitted_fields_have_defaults() {
        let desired = Desired::sample(json!({})).unwrap();
        assert_eq!(desired.interval, Duration::from_secs(300));
        assert_eq!(desired.stale_after, Duration::from_secs(7200));
        assert_eq!((desired.object_size, desired.concurrency), (1 << 20, 100));
    }

    #[test]
    fn an_invalid_spec_is_rejected_with_the_field_the_problem_and_the_fix() {
        let wrong = [
            json!({"fields": [{"name": "app", "path": "$.["}]}),
            json!({"timestamp": {"path": "$..a..b"}}),
            json!({"identity": {"path": "$.a["}}),
            json!({"groupBy": [{"name": "service", "path": "$.n", "regex": "^([a-z]+"}]}),
            json!({"groupBy": [{"name": "service", "path": "$.n", "regex": "^[a-z]+_"}]}),
            json!({"groupBy": [{"name": "service", "path": "$.n", "regex": "^([a-z]+)_([a-z]+)"}]}),
            json!({"groupBy": [{"name": "service", "path": "$.n", "regex": "((a{99}){99}){99}"}]}),
            json!({"expect": {"versions": [{"field": "app", "semver": "newest"}]}}),
            json!({"expect": {"versions": [{"field": "app", "semver": ">=1.2 || <1"}]}}),
            json!({"expect": {"versions": [{"field": "module", "equals": "1"}]}}),
            json!({"expect": {"versions": [{"field": "app"}]}}),
            json!({"limits": {"objectSize": "1Gi"}}),
            json!({"sources": [
                {"name": "prod", "bucket": "reports", "prefix": "prod/", "aws": {"region": "eu-west-1"}},
                {"name": "test", "bucket": "reports", "prefix": "test/", "aws": {"region": "eu-west-1"}},
                {"name": "again", "bucket": "reports", "prefix": "prod/", "aws": {"region": "eu-west-1"},
                 "trust": "PerInstanceKey"},
            ]}),
        ];
        let refused: Vec<_> = wrong.into_iter().map(|part| Desired::sample(part).unwrap_err().to_string()).collect();
        insta::assert_snapshot!(refused.join("\n"));
    }

    #[test]
    fn sources_must_differ_in_bucket_prefix_region_or_account() {
        let aws = json!({"region": "eu-west-1"});
        let desired = Desired::sample(json!({"sources": [
            {"name": "a", "bucket": "reports", "aws": aws},
            {"name": "b", "bucket": "reports", "prefix": "b/", "aws": aws},
            {"name": "c", "bucket": "others", "aws": aws},
            {"name": "d", "bucket": "reports", "aws": {"region": "eu-west-2"}},
            {"name": "e", "bucket": "reports", "aws": {"region": "eu-west-1", "accountRef": {"name": "other"}}},
        ]}));
        assert_eq!(desired.map(|d| d.sources.len()), Ok(5));
    }

    #[rstest]
    #[case(">=1.2.3", "1.2.3", true)]
    #[case(">=1.2.3", "v1.10.0", true)]
    #[case(">=1.2.3", "1.2.2", false)]
    #[case(">=1.2", "1.2", true)]
    #[case(">=1", "2", true)]
    #[case("^1.4, <1.6", "1.5.9", true)]
    #[case("^1.4, <1.6", "1.6.0", false)]
    #[case(">=1.2.3", "1.3.0-rc.1", false)]
    #[case(">=1.2.3-rc.1", "1.2.3-rc.2", true)]
    #[case(">=1.2.3", "1.2.4+build.7", true)]
    #[case(">=1.2.3", "1.3-beta", false)]
    #[case(">=1.2.3", "red-1.8.5", false)]
    #[case(">=1.2.3", "", false)]
    #[case(">=1.2.3", "1.2.3.4", false)]
    fn versions_are_compared_by_semantic_versioning(#[case] range: &str, #[case] value: &str, #[case] accepted: bool) {
        assert_eq!(Rule::Semver(range.parse().unwrap()).accepts(value), accepted);
    }

    #[rstest]
    #[case("1", 1)]
    #[case("1500", 1500)]
    #[case("2k", 2000)]
    #[case("256Ki", 262_144)]
    #[case("1Mi", 1_048_576)]
    fn sizes_read_as_kubernetes_writes_them(#[case] text: &str, #[case] bytes: u64) {
        assert_eq!(size(text), Ok(bytes));
    }
}
