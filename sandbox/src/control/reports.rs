//! Reports as agents write them, by the hundred thousand and without agents: for tests of scale.

use std::ops::Range;

use bytes::Bytes;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

use super::Control;
use crate::state::s3::StoreError;

/// Which reports to write.
#[derive(Debug, Clone)]
pub struct ReportsSpec {
    pub bucket: String,
    /// Without a slash at its end; may be empty.
    pub prefix: String,
    /// One report for each number.
    pub instances: Range<u64>,
    /// What `update_date` says.
    pub at: Timestamp,
    /// Given to the instances in turn.
    pub app_versions: Vec<String>,
    /// Given to the instances in turn, as `module_A_filename`.
    pub modules: Vec<String>,
    /// How many objects `processes` has.
    pub processes: usize,
}

impl ReportsSpec {
    pub fn new(bucket: &str, instances: Range<u64>, at: Timestamp) -> Self {
        Self {
            bucket: bucket.to_owned(),
            prefix: String::new(),
            instances,
            at,
            app_versions: vec!["red-1.8.5".to_owned()],
            modules: vec!["module_a-1.0.0.bin".to_owned()],
            processes: 2,
        }
    }

    /// The id of the instance with this number.
    pub fn instance_id(number: u64) -> String {
        format!("i-{number:017x}")
    }

    pub fn key(&self, number: u64) -> String {
        let id = Self::instance_id(number);
        if self.prefix.is_empty() { format!("{id}.json") } else { format!("{}/{id}.json", self.prefix) }
    }

    pub fn body(&self, number: u64) -> Bytes {
        let in_turn = |values: &[String]| {
            let index = usize::try_from(number).unwrap_or(0).checked_rem(values.len());
            index.map(|index| values[index].clone()).unwrap_or_default()
        };
        let processes: Vec<_> = (0..self.processes)
            .map(|_| json!({"module_A_filename": in_turn(&self.modules), "module_B_filename": "module_b-1.0.0.bin"}))
            .collect();
        let update_date = self.at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
        let report = json!({
            "update_date": update_date,
            "os_start_date": "2026-01-01 09:00:00",
            "instance_id": Self::instance_id(number),
            "instance_name": format!("web_{}_{number}", if number.is_multiple_of(2) { "red" } else { "blue" }),
            "instance_type": "m6i.large",
            "instance_life_cycle": if number.is_multiple_of(4) { "spot" } else { "ondemand" },
            "app_version": in_turn(&self.app_versions),
            "processes": processes,
        });
        report.to_string().into()
    }
}

impl Control {
    /// Writes reports directly into the bucket, without calls.
    pub fn write_reports(&self, spec: &ReportsSpec) -> Result<usize, StoreError> {
        let objects = spec.instances.clone().map(|number| (spec.key(number), spec.body(number)));
        self.s3().fill(&spec.bucket, objects)
    }
}
