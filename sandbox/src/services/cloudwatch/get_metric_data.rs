//! GetMetricData, of AWS/EC2 CPUUtilization by InstanceId. Any other metric exists and has no data.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;

use super::call::CloudWatchCall;
use super::input::{Members, invalid};
use crate::error::ApiError;
use crate::protocol::cbor::Value;
use crate::state::cloudwatch::{BASIC, DETAILED, Report};

const MAX_QUERIES: usize = 500;
const MAX_DATAPOINTS: i64 = 100_800;

struct Query {
    id: String,
    label: String,
    /// Whether its values are asked for at all.
    returned: bool,
    /// `None`: another metric than the CPU of an instance.
    instance_id: Option<String>,
    period: i64,
    statistic: Statistic,
}

#[derive(Clone, Copy)]
enum Statistic {
    Average,
    Minimum,
    Maximum,
    Sum,
    SampleCount,
}

pub(super) fn run(call: &CloudWatchCall<'_>) -> Result<Value, ApiError> {
    let mut input = Members::of("", call.input)?;
    let queries = input.list("MetricDataQueries")?;
    if queries.is_empty() {
        return Err(input.missing("MetricDataQueries"));
    }
    if queries.len() > MAX_QUERIES {
        let most = format!("The collection MetricDataQueries must not have a size greater than {MAX_QUERIES}.");
        return Err(ApiError::new("ValidationError", most));
    }
    let (start, end) = (input.time("StartTime")?, input.time("EndTime")?);
    if start >= end {
        return Err(ApiError::new(
            "ValidationError",
            "The parameter StartTime must be less than the parameter EndTime.",
        ));
    }
    let newest_first = match input.text("ScanBy")?.as_deref() {
        None | Some("TimestampDescending") => true,
        Some("TimestampAscending") => false,
        Some(_) => return Err(input.invalid("ScanBy", "it must be TimestampDescending or TimestampAscending")),
    };
    let most = input.integer("MaxDatapoints")?.unwrap_or(MAX_DATAPOINTS);
    if !(1..=MAX_DATAPOINTS).contains(&most) {
        return Err(input.invalid("MaxDatapoints", "it must be from 1 to 100800"));
    }
    let skip = input.text("NextToken")?.map_or(Ok(0), |token| decode(&token))?;
    input.finish()?;
    let queries = queries.iter().enumerate().map(|(index, query)| read(index, query)).collect::<Result<Vec<_>, _>>()?;
    let ids: BTreeSet<&str> = queries.iter().map(|query| query.id.as_str()).collect();
    if ids.len() < queries.len() {
        return Err(ApiError::new(
            "ValidationError",
            "The values for parameter id in MetricDataQueries are not unique.",
        ));
    }
    // Down to the whole minute.
    let start = start.as_second().div_euclid(60) * 60;
    let known = (call.now - call.state.cloudwatch.lag()).as_second();
    let whole = queries.iter().filter(|query| query.returned).map(|query| {
        let mut points = query.points(call, start, end.as_second(), known);
        if newest_first {
            points.reverse();
        }
        (query, points)
    });
    Ok(page(whole.collect(), skip, usize::try_from(most).unwrap_or(usize::MAX)))
}

/// So many data points from where the last page ended, over all results in the order of the queries. A result that does not
/// end on the page is partial.
fn page(results: Vec<(&Query, Vec<(i64, f64)>)>, skip: usize, most: usize) -> Value {
    let (mut to_skip, mut room) = (skip, most);
    let mut shown = Vec::new();
    for (query, points) in results {
        let total = points.len();
        let skipped = to_skip.min(total);
        to_skip -= skipped;
        if skipped == total && total > 0 {
            continue;
        }
        let taken = room.min(total - skipped);
        room -= taken;
        let complete = skipped + taken == total;
        if taken == 0 && !complete {
            break;
        }
        let (times, values): (Vec<_>, Vec<_>) = points
            .into_iter()
            .skip(skipped)
            .take(taken)
            .filter_map(|(at, value)| Some((Value::Time(Timestamp::from_second(at).ok()?), Value::Float(value))))
            .unzip();
        let status = if complete { "Complete" } else { "PartialData" };
        shown.push((
            complete,
            Value::map([
                ("Id", Value::text(&query.id)),
                ("Label", Value::text(&query.label)),
                ("Timestamps", Value::List(times)),
                ("Values", Value::List(values)),
                ("StatusCode", Value::text(status)),
            ]),
        ));
    }
    let is_whole = room > 0 || shown.iter().all(|(complete, _)| *complete);
    let mut answer = BTreeMap::from([
        ("MetricDataResults".to_owned(), Value::List(shown.into_iter().map(|(_, result)| result).collect())),
        ("Messages".to_owned(), Value::List(Vec::new())),
    ]);
    if !is_whole {
        answer.insert("NextToken".to_owned(), Value::text(encode(skip + most)));
    }
    Value::Map(answer)
}

fn read(index: usize, query: &Value) -> Result<Query, ApiError> {
    let mut members = Members::of(format!("MetricDataQueries.member.{}", index + 1), query)?;
    let id = members.text("Id")?.ok_or_else(|| members.missing("Id"))?;
    let starts = id.starts_with(|c: char| c.is_ascii_lowercase());
    if !starts || id.len() > 255 || !id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        let problem = "it must start with a lowercase letter and contain only letters, digits and underscores";
        return Err(members.invalid("Id", problem));
    }
    let label = members.text("Label")?;
    let returned = members.boolean("ReturnData")?.unwrap_or(true);
    if members.text("Expression")?.is_some() {
        return Err(members.invalid("Expression", "the sandbox computes no expressions"));
    }
    let mut stat = members.structure("MetricStat")?.ok_or_else(|| members.missing("MetricStat"))?;
    members.finish()?;
    let period = stat.integer("Period")?.ok_or_else(|| stat.missing("Period"))?;
    if period <= 0 || period % 60 != 0 {
        return Err(stat.invalid("Period", "it must be a multiple of 60"));
    }
    let statistic = stat.text("Stat")?.ok_or_else(|| stat.missing("Stat"))?;
    let statistic = Statistic::named(&statistic)
        .ok_or_else(|| stat.invalid("Stat", "the sandbox has Average, Minimum, Maximum, Sum and SampleCount"))?;
    let unit = stat.text("Unit")?;
    let mut metric = stat.structure("Metric")?.ok_or_else(|| stat.missing("Metric"))?;
    stat.finish()?;
    let namespace = metric.text("Namespace")?.ok_or_else(|| metric.missing("Namespace"))?;
    let name = metric.text("MetricName")?.ok_or_else(|| metric.missing("MetricName"))?;
    let mut dimensions = Vec::new();
    for (index, dimension) in metric.list("Dimensions")?.iter().enumerate() {
        let mut dimension = Members::of(format!("Dimensions.member.{}", index + 1), dimension)?;
        let name = dimension.text("Name")?.ok_or_else(|| dimension.missing("Name"))?;
        let value = dimension.text("Value")?.ok_or_else(|| dimension.missing("Value"))?;
        dimension.finish()?;
        dimensions.push((name, value));
    }
    metric.finish()?;
    let is_cpu = namespace == "AWS/EC2" && name == "CPUUtilization" && unit.is_none_or(|unit| unit == "Percent");
    let instance_id = match dimensions.as_slice() {
        [(dimension, value)] if is_cpu && dimension == "InstanceId" => Some(value.clone()),
        _ => None,
    };
    Ok(Query { id, label: label.unwrap_or(name), returned, instance_id, period, statistic })
}

impl Query {
    /// One value for each period that has reports, oldest first.
    fn points(&self, call: &CloudWatchCall<'_>, start: i64, end: i64, known: i64) -> Vec<(i64, f64)> {
        let Some(id) = &self.instance_id else { return Vec::new() };
        let own = |detailed: bool| if detailed { DETAILED } else { BASIC };
        let account = &call.caller.id.account;
        let found = call.state.ec2.with(call.now, |world| {
            let estates =
                world.estates().filter(|estate| estate.account == *account && estate.region == call.caller.region);
            estates.filter_map(|estate| estate.instance(id)).map(|instance| own(instance.monitoring)).next()
        });
        // Of an instance of somebody else there is no data, as of one that never was.
        let Some(interval) = found else { return Vec::new() };
        let reports = call.state.cloudwatch.course(id).reports(interval, start, end, known);
        let mut periods: BTreeMap<i64, Vec<Report>> = BTreeMap::new();
        for report in reports {
            periods.entry(report.at.div_euclid(self.period) * self.period).or_default().push(report);
        }
        periods.into_iter().map(|(at, reports)| (at, self.statistic.of(&reports))).collect()
    }
}

impl Statistic {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "Average" => Self::Average,
            "Minimum" => Self::Minimum,
            "Maximum" => Self::Maximum,
            "Sum" => Self::Sum,
            "SampleCount" => Self::SampleCount,
            _other => return None,
        })
    }

    fn of(self, reports: &[Report]) -> f64 {
        let values = || reports.iter().map(|report| report.percent);
        match self {
            Self::Average => values().sum::<f64>() / reports.len() as f64,
            Self::Minimum => values().fold(f64::INFINITY, f64::min),
            Self::Maximum => values().fold(f64::NEG_INFINITY, f64::max),
            Self::Sum => values().sum(),
            Self::SampleCount => reports.len() as f64,
        }
    }
}

const PREFIX: &str = "after:";

fn encode(count: usize) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("{PREFIX}{count}"))
}

fn decode(token: &str) -> Result<usize, ApiError> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let count = text.and_then(|text| text.strip_prefix(PREFIX)?.parse().ok());
    count.ok_or_else(|| invalid("The value of the parameter NextToken is invalid."))
}
