//! CloudWatch: the CPU utilization of instances.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_cloudwatch::{
    Client,
    primitives::DateTime,
    types::{Dimension, Metric, MetricDataQuery, MetricStat, ScanBy},
};
use jiff::Timestamp;

use crate::{
    aws::{
        Bucket, Error, Session,
        cpu_samples::{CpuSample, CpuSamples, Period},
    },
    ids::InstanceId,
};

/// The maximum number of metrics in GetMetricData.
const METRICS_PER_CALL: usize = 500;
const OPERATION: &str = "cloudwatch:GetMetricData";

/// CloudWatch in one account and region.
#[derive(Clone, Debug)]
pub struct CloudWatch {
    client: Client,
    session: Session,
}

impl CloudWatch {
    pub fn new(session: &Session) -> Self {
        let config = aws_sdk_cloudwatch::config::Builder::from(session.sdk()).interceptor(session.call_counter());
        Self { client: Client::from_conf(config.build()), session: session.clone() }
    }

    /// The average CPU utilization of each instance in its newest completed period. Instances without a value are
    /// omitted. One call for each 500 instances; AWS charges for each instance.
    pub async fn cpu(&self, wanted: &BTreeMap<InstanceId, Period>, now: Timestamp) -> Result<CpuSamples, Error> {
        let wanted: Vec<_> = wanted.iter().collect();
        let mut found = CpuSamples::new();
        for batch in wanted.chunks(METRICS_PER_CALL) {
            found.extend(self.batch(batch, now).await?);
        }
        Ok(found)
    }

    async fn batch(&self, wanted: &[(&InstanceId, &Period)], now: Timestamp) -> Result<CpuSamples, Error> {
        let _permit = self.session.take(OPERATION, Bucket::GetMetricData, 1)?;
        let queries = wanted.iter().enumerate().map(|(index, (id, period))| query(index, id, **period));
        let queries = queries.collect::<Result<Vec<_>, _>>()?;
        let back = wanted.iter().map(|(_, period)| period.memory()).max().unwrap_or_default();
        let mut pages = self
            .client
            .get_metric_data()
            .set_metric_data_queries(Some(queries))
            .start_time(DateTime::from_secs((now - back).as_second()))
            .end_time(DateTime::from_secs(now.as_second()))
            .scan_by(ScanBy::TimestampDescending)
            .into_paginator()
            .send();
        let mut newest: HashMap<usize, CpuSample> = HashMap::new();
        while let Some(page) = pages.next().await {
            for result in page.map_err(|e| Error::from_sdk(OPERATION, &e))?.metric_data_results() {
                let number = result.id().and_then(|id| id.strip_prefix('m'));
                let Some(index) = number.and_then(|number| number.parse::<usize>().ok()) else {
                    continue;
                };
                let Some((_, period)) = wanted.get(index) else { continue };
                let values = result.timestamps().iter().zip(result.values());
                let samples = values.filter_map(|(begin, percent)| {
                    let at = Timestamp::from_second(begin.secs()).ok()? + period.duration();
                    // A period that is not over has a value too, but not of the whole period.
                    (at <= now).then_some(CpuSample { percent: *percent, at })
                });
                if let Some(sample) = samples.max_by_key(|sample| sample.at) {
                    let kept = newest.entry(index).or_insert(sample);
                    if kept.at < sample.at {
                        *kept = sample;
                    }
                }
            }
        }
        let named = newest.into_iter().filter_map(|(index, sample)| Some(((*wanted.get(index)?.0).clone(), sample)));
        Ok(named.collect())
    }
}

fn query(index: usize, id: &InstanceId, period: Period) -> Result<MetricDataQuery, Error> {
    let dimension = Dimension::builder().name("InstanceId").value(id.as_str()).build();
    let metric = Metric::builder().namespace("AWS/EC2").metric_name("CPUUtilization").dimensions(dimension).build();
    let seconds = i32::try_from(period.duration().as_secs()).unwrap_or(i32::MAX);
    let stat = MetricStat::builder().metric(metric).period(seconds).stat("Average").build();
    Ok(MetricDataQuery::builder().id(format!("m{index}")).metric_stat(stat).build())
}
