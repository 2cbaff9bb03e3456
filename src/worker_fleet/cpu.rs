//! How busy a fleet's workers are: what is asked for, what is found out, and what is told of it.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    aws::{
        self, Class, Session,
        cpu::{CpuKnown, CpuWish},
    },
    condition::{ConditionType, Reason, Verdict, second},
    context::Context,
    fields::{DURATION_PATTERN, InvalidDuration, duration},
    ids::{InstanceId, Uid},
    metrics::FleetLabels,
    worker_fleet::crd::WorkerFleetStatus,
    workers::{
        cpu::{CpuSamples, InvalidPeriod, Period, steady, summary, whole},
        instance::InstanceState,
        ownership::{Claim, Owner},
    },
};

/// What is measured of the workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    /// How busy the workers are, from CloudWatch: CPUUtilization of AWS/EC2. It is in the status, in full in /metrics, and
    /// what `scaleDownPolicy: LowestCpu` goes by. The role that muster uses needs `cloudwatch:GetMetricData`; AWS charges
    /// for each worker and look.
    pub cpu: CpuMetrics,
}

/// How the CPU is measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CpuMetrics {
    /// What one value is the mean of, and how often CloudWatch is asked: whole minutes from `1m` to `1h`. EC2 reports
    /// every 5 minutes, with detailed monitoring every minute, and a value takes some minutes more until it is there.
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

/// How busy the workers are. Values are left as they are until they have moved by 5 points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CpuStatus {
    /// The mean of all workers that anything is known of.
    #[schemars(range(min = 0, max = 100))]
    pub average_percent: i32,
    /// The busiest worker.
    #[schemars(range(min = 0, max = 100))]
    pub max_percent: i32,
    /// The end of the newest period when these values were written.
    pub observed_at: Time,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum InvalidMetrics {
    #[error("metrics.cpu.period: {0}")]
    Duration(#[from] InvalidDuration),
    #[error("metrics.cpu.period: {0}")]
    Period(#[from] InvalidPeriod),
}

/// The period that CPU is wanted of. `None`: it is not wanted.
pub(super) fn period(metrics: Option<&Metrics>) -> Result<Option<Period>, InvalidMetrics> {
    metrics.map(|Metrics { cpu: CpuMetrics { period } }| Ok(Period::try_from(duration(period)?)?)).transpose()
}

/// What is known of a fleet whose CPU is wanted.
#[derive(Clone, Debug, Default)]
pub(super) struct Cpu {
    pub samples: CpuSamples,
    running: usize,
    failure: Option<aws::Error>,
}

/// Finds out how busy the workers that run are. A failure here holds nothing up: what is not known is absent.
pub(super) async fn observe(
    ctx: &Context,
    session: &Session,
    owner: &Owner,
    adopted: &BTreeSet<InstanceId>,
    period: Option<Period>,
) -> Option<Cpu> {
    let Some(period) = period else {
        forget(ctx, &owner.uid);
        return None;
    };
    let timings = &ctx.config.timings;
    let now = ctx.clock.monotonic();
    // Who runs is taken from the look that all share: a worker that came since has no values yet.
    let shared = ctx.sweeps.instances(session, &owner.cluster, now.checked_sub(timings.sweep).unwrap_or(now)).await;
    let machines = match shared {
        Ok(snapshot) => snapshot.naming(owner),
        Err(failure) => return Some(Cpu { failure: Some(failure), ..Cpu::default() }),
    };
    let runs = machines
        .into_values()
        .filter(|machine| machine.state == InstanceState::Running && owner.claim(machine, adopted) == Claim::Owned);
    let machines: BTreeSet<_> = runs.map(|machine| machine.id.clone()).collect();
    let running = machines.len();
    let wish = CpuWish { owner: &owner.uid, period, machines };
    let CpuKnown { samples, failure } = ctx.sweeps.cpu(session, wish, timings).await;
    let labels = FleetLabels { namespace: owner.namespace.clone(), fleet: owner.name.clone() };
    ctx.metrics.show_cpu(&owner.uid, labels, &samples, now + period.memory());
    Some(Cpu { samples, running, failure })
}

/// The fleet has gone, or nobody wants to know any more.
pub(super) fn forget(ctx: &Context, owner: &Uid) {
    ctx.sweeps.forget_cpu(owner);
    ctx.metrics.forget_cpu(owner);
}

impl Cpu {
    /// What the status says of the fleet.
    pub(super) fn status(&self, before: Option<&CpuStatus>) -> Option<CpuStatus> {
        let now = summary(self.samples.values())?;
        let average_percent = steady(before.map(|cpu| cpu.average_percent), Some(whole(now.average)))?;
        let max_percent = steady(before.map(|cpu| cpu.max_percent), Some(whole(now.maximum)))?;
        match before {
            Some(same) if same.average_percent == average_percent && same.max_percent == max_percent => {
                Some(same.clone())
            }
            _ => Some(CpuStatus { average_percent, max_percent, observed_at: Time(second(now.at)) }),
        }
    }

    /// What the status says of one worker.
    fn percent(&self, id: &InstanceId, before: Option<i32>) -> Option<i32> {
        steady(before, self.samples.get(id).map(|sample| whole(sample.percent)))
    }

    /// Present only while CPU is wanted and nothing is known of any worker that runs, or muster may not ask any more.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        let say = |reason, message| Some(Verdict::new(ConditionType::CpuUnknown, true, reason, message));
        let telling = |error: &&aws::Error| self.samples.is_empty() || error.class == Class::Denied;
        if let Some(error) = self.failure.as_ref().filter(telling) {
            let (reason, advice) = match error.class {
                Class::Denied => {
                    (Reason::AwsDenied, format!("; allow {} to the role that muster uses here", error.operation))
                }
                Class::InvalidInput | Class::NotFound => (Reason::AwsInvalid, String::new()),
                Class::Throttled => (Reason::AwsThrottled, String::new()),
                Class::NoCapacity | Class::Conflict | Class::Transient => (Reason::AwsUnavailable, String::new()),
            };
            return say(reason, format!("how busy the workers are is not known: {error}{advice}"));
        }
        if self.running > 0 && self.samples.is_empty() {
            let message = "CloudWatch knows nothing of the workers yet: EC2 reports every 5 minutes, and a value takes some \
                           minutes more until it is there";
            return say(Reason::NoDataYet, message.into());
        }
        None
    }
}

/// `status` with how busy the workers are. What `before` says stays, as far as it is not too far off.
pub(super) fn tell(cpu: Option<&Cpu>, before: &WorkerFleetStatus, mut status: WorkerFleetStatus) -> WorkerFleetStatus {
    let told: BTreeMap<_, _> = before.instances.iter().map(|worker| (&worker.id, worker.cpu_percent)).collect();
    for worker in &mut status.instances {
        let before = told.get(&worker.id).copied().flatten();
        worker.cpu_percent = cpu.and_then(|cpu| cpu.percent(&worker.id, before));
    }
    status.cpu = cpu.and_then(|cpu| cpu.status(before.cpu.as_ref()));
    status
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::workers::cpu::CpuSample;

    fn id(n: usize) -> InstanceId {
        InstanceId::try_from(format!("i-{n:017x}")).unwrap()
    }

    fn cpu(percents: &[(usize, f64)], second: i64) -> Cpu {
        let at = Timestamp::from_second(second).unwrap();
        let samples = percents.iter().map(|(n, percent)| (id(*n), CpuSample { percent: *percent, at })).collect();
        Cpu { samples, running: percents.len(), failure: None }
    }

    fn status(workers: usize) -> WorkerFleetStatus {
        let worker = |n| serde_json::json!({"id": id(n), "state": "running", "ready": true});
        let instances = (0..workers).map(|n| serde_json::from_value(worker(n)).unwrap()).collect();
        WorkerFleetStatus { instances, ..WorkerFleetStatus::default() }
    }

    /// Average, maximum and when.
    type OfFleet = Option<(i32, i32, i64)>;

    fn shown(status: &WorkerFleetStatus) -> (OfFleet, Vec<Option<i32>>) {
        let cpu = status.cpu.as_ref();
        let fleet = cpu.map(|cpu| (cpu.average_percent, cpu.max_percent, cpu.observed_at.0.as_second()));
        (fleet, status.instances.iter().map(|worker| worker.cpu_percent).collect())
    }

    #[test]
    fn a_status_is_written_again_only_when_cpu_moved_by_five_points() {
        let first = tell(Some(&cpu(&[(0, 40.4), (1, 60.0)], 300)), &status(3), status(3));
        assert_eq!(shown(&first), (Some((50, 60, 300)), vec![Some(40), Some(60), None]));
        let quiet = tell(Some(&cpu(&[(0, 44.0), (1, 56.0)], 600)), &first, status(3));
        assert_eq!(quiet, first);
        let moved = tell(Some(&cpu(&[(0, 45.0), (1, 56.0)], 900)), &quiet, status(3));
        assert_eq!(shown(&moved), (Some((50, 60, 300)), vec![Some(45), Some(60), None]));
        let busier = tell(Some(&cpu(&[(0, 90.0), (1, 90.0)], 1200)), &moved, status(3));
        assert_eq!(shown(&busier), (Some((90, 90, 1200)), vec![Some(90), Some(90), None]));
        let unknown = tell(Some(&cpu(&[], 1500)), &busier, status(3));
        assert_eq!(shown(&unknown), (None, vec![None, None, None]));
        assert_eq!(shown(&tell(None, &busier, status(3))), (None, vec![None, None, None]));
    }

    #[test]
    fn idle_is_zero_and_unknown_is_nothing() {
        let idle = tell(Some(&cpu(&[(0, 0.0)], 300)), &status(1), status(1));
        assert_eq!(shown(&idle), (Some((0, 0, 300)), vec![Some(0)]));
    }

    #[test]
    fn why_nothing_is_known_is_told() {
        assert_eq!(cpu(&[(0, 1.0)], 300).verdict(), None);
        assert_eq!(Cpu::default().verdict(), None, "nobody runs");
        let waiting = Cpu { running: 1, ..Cpu::default() }.verdict().unwrap();
        assert_eq!((waiting.condition, waiting.reason), (ConditionType::CpuUnknown, Reason::NoDataYet));
        let denied = aws::Error {
            operation: "cloudwatch:GetMetricData",
            class: Class::Denied,
            code: "AccessDenied".into(),
            message: "no".into(),
        };
        let denied = Cpu { failure: Some(denied), running: 1, ..Cpu::default() }.verdict().unwrap();
        assert_eq!(denied.reason, Reason::AwsDenied);
        assert!(denied.message.ends_with("; allow cloudwatch:GetMetricData to the role that muster uses here"));
    }

    #[test]
    fn a_period_is_checked() {
        let of = |text: &str| period(Some(&Metrics { cpu: CpuMetrics { period: text.into() } }));
        assert_eq!(of("5m").unwrap().unwrap().duration(), Duration::from_secs(300));
        assert_eq!(period(None), Ok(None));
        for bad in ["90s", "2h", "soon"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
