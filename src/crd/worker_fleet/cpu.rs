//! The metrics of the workers of a fleet, in the spec and the status.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crd::fields::DURATION_PATTERN;

/// Which metrics of the workers are collected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    /// The CPU utilization of the workers: CPUUtilization of AWS/EC2 in CloudWatch. The status and /metrics show it,
    /// and `scaleDownPolicy: LowestCpu` uses it. The IAM role that muster uses needs `cloudwatch:GetMetricData`; AWS
    /// charges for each worker in each request.
    pub cpu: CpuMetrics,
}

/// How the CPU utilization is collected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CpuMetrics {
    /// The period that one value is the average of, and the interval of the requests: whole minutes from `1m` to `1h`.
    /// EC2 reports every 5 minutes, with detailed monitoring every minute, and a value is available some minutes later.
    #[serde(default = "five_minutes")]
    #[schemars(length(max = 16), pattern(DURATION_PATTERN), extend("x-kubernetes-validations" = [{
        "rule": "duration(self) >= duration('1m') && duration(self) <= duration('1h') && duration(self).getMilliseconds() % 60000 == 0",
        "message": "period must be a whole number of minutes from 1m to 1h, for example 5m",
    }]))]
    pub period: String,
}

fn five_minutes() -> String {
    "5m".into()
}

/// The CPU utilization of the workers. A value is updated only when it has changed by 5 percentage points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CpuStatus {
    /// The average of all workers with a known value.
    #[schemars(range(min = 0, max = 100))]
    pub average_percent: i32,
    /// The value of the busiest worker.
    #[schemars(range(min = 0, max = 100))]
    pub max_percent: i32,
    /// The end of the newest period at the time when these values were written.
    pub observed_at: Time,
}
