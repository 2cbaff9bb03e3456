//! The CPU utilization of a fleet's workers: what is requested, observed and reported.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    aws::{
        self, Class, advice,
        cpu_samples::{CpuSamples, InvalidPeriod, Period, steady, summary, whole},
        ec2::instance::InstanceState,
    },
    condition::{ConditionType, Reason, Verdict, second},
    crd::{
        fields::{InvalidDuration, duration},
        worker_fleet::{CpuMetrics, CpuStatus, Metrics, WorkerFleet, WorkerFleetStatus},
    },
    ids::{InstanceId, Uid},
    inventory::{
        cpu::{CpuKnown, CpuRequest},
        instances::Sweeps,
        ownership::Ownership,
    },
    kinds::worker_fleet::metrics::{CpuSeries, FleetLabels},
    workers::kind::Pass,
};

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum InvalidMetrics {
    #[error("metrics.cpu.period: {0}")]
    Duration(#[from] InvalidDuration),
    #[error("metrics.cpu.period: {0}")]
    Period(#[from] InvalidPeriod),
}

/// The period of CPU samples. `None`: CPU metrics are not requested.
pub(super) fn period(metrics: Option<&Metrics>) -> Result<Option<Period>, InvalidMetrics> {
    metrics.map(|Metrics { cpu: CpuMetrics { period } }| Ok(Period::try_from(duration(period)?)?)).transpose()
}

/// What is known about the CPU of a fleet that requests it.
#[derive(Clone, Debug, Default)]
pub(super) struct Cpu {
    pub samples: CpuSamples,
    running: usize,
    failure: Option<aws::Error>,
}

/// A fleet that requests CPU metrics. Dropped when it is deleted or no longer requests them.
#[derive(Debug)]
pub(super) struct Subscription {
    owner: Uid,
    sweeps: Arc<Sweeps>,
    series: CpuSeries,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.sweeps.forget_cpu(&self.owner);
        self.series.forget(&self.owner);
    }
}

/// Observes the CPU of running workers. A failure blocks nothing: unknown values are absent.
pub(super) async fn observe(
    pass: &mut Pass<'_, WorkerFleet>,
    series: &CpuSeries,
    adopted: &BTreeSet<InstanceId>,
    period: Option<Period>,
) -> Option<Cpu> {
    let Pass { ctx, session, owner, memory, .. } = pass;
    let Some(period) = period else {
        memory.cpu = None;
        return None;
    };
    memory.cpu.get_or_insert_with(|| Subscription {
        owner: owner.uid.clone(),
        sweeps: ctx.sweeps.clone(),
        series: series.clone(),
    });
    let timings = &ctx.config.timings;
    let now = ctx.clock.monotonic();
    // The shared sweep is recent enough: a worker that was launched since has no values yet.
    let shared = ctx.sweeps.instances(session, &owner.cluster, now.checked_sub(timings.sweep).unwrap_or(now)).await;
    let instances = match shared {
        Ok(snapshot) => snapshot.naming(owner),
        Err(failure) => return Some(Cpu { failure: Some(failure), ..Cpu::default() }),
    };
    let running = instances
        .into_values()
        .filter(|worker| worker.state == InstanceState::Running && owner.claim(worker, adopted) == Ownership::Owned);
    let instances: BTreeSet<_> = running.map(|worker| worker.id.clone()).collect();
    let running = instances.len();
    let request = CpuRequest { owner: &owner.uid, period, instances };
    let CpuKnown { samples, failure } = ctx.sweeps.cpu(session, request, timings).await;
    let labels = FleetLabels { namespace: owner.namespace.clone(), fleet: owner.name.clone() };
    series.show(&owner.uid, labels, &samples, now + period.memory());
    Some(Cpu { samples, running, failure })
}

impl Cpu {
    pub(super) fn status(&self, before: Option<&CpuStatus>) -> Option<CpuStatus> {
        let now = summary(self.samples.values())?;
        let average_percent = steady(before.map(|cpu| cpu.average_percent), Some(whole(now.average)))?;
        let max_percent = steady(before.map(|cpu| cpu.max_percent), Some(whole(now.maximum)))?;
        let is_same = |cpu: &&CpuStatus| cpu.average_percent == average_percent && cpu.max_percent == max_percent;
        let new = || CpuStatus { average_percent, max_percent, observed_at: Time(second(now.at)) };
        Some(before.filter(is_same).cloned().unwrap_or_else(new))
    }

    /// Present only if CPU metrics are requested, and no running worker has a value or access is denied.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        let say = |reason, message| Some(Verdict::new(ConditionType::CpuUnknown, true, reason, message));
        let is_relevant = |error: &&aws::Error| self.samples.is_empty() || error.class == Class::Denied;
        if let Some(error) = self.failure.as_ref().filter(is_relevant) {
            let advice = advice::advice(error, &advice::Remedy::default());
            return say(advice::reason(error), format!("CPU utilization is not known: {error}{advice}"));
        }
        if self.running > 0 && self.samples.is_empty() {
            let message = "CloudWatch has no data for the workers yet: EC2 reports every 5 minutes, and values arrive \
                           some minutes later";
            return say(Reason::NoDataYet, message.into());
        }
        None
    }
}

/// `status` with CPU values. Values of `before` stay if they are close enough.
pub(super) fn with_cpu(
    cpu: Option<&Cpu>,
    before: &WorkerFleetStatus,
    mut status: WorkerFleetStatus,
) -> WorkerFleetStatus {
    let known: BTreeMap<_, _> = before.instances.iter().map(|worker| (&worker.id, worker.cpu_percent)).collect();
    for worker in &mut status.instances {
        let before = known.get(&worker.id).copied().flatten();
        let sample = cpu.and_then(|cpu| cpu.samples.get(&worker.id));
        worker.cpu_percent = steady(before, sample.map(|sample| whole(sample.percent)));
    }
    status.cpu = cpu.and_then(|cpu| cpu.status(before.cpu.as_ref()));
    status
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::kinds::worker_fleet::sample::{cause, id, samples};

    fn cpu(percents: &[(u32, f64)], second: i64) -> Cpu {
        Cpu { samples: samples(percents, second), running: percents.len(), failure: None }
    }

    fn status(workers: u32) -> WorkerFleetStatus {
        let worker = |n| serde_json::json!({"id": id(n), "state": "running", "ready": true});
        let instances = (0..workers).map(|n| serde_json::from_value(worker(n)).unwrap()).collect();
        WorkerFleetStatus { instances, ..WorkerFleetStatus::default() }
    }

    /// Average, maximum and time.
    type OfFleet = Option<(i32, i32, i64)>;

    fn shown(status: &WorkerFleetStatus) -> (OfFleet, Vec<Option<i32>>) {
        let cpu = status.cpu.as_ref();
        let fleet = cpu.map(|cpu| (cpu.average_percent, cpu.max_percent, cpu.observed_at.0.as_second()));
        (fleet, status.instances.iter().map(|worker| worker.cpu_percent).collect())
    }

    #[test]
    fn the_status_is_rewritten_only_when_cpu_changed_by_five_points() {
        let first = with_cpu(Some(&cpu(&[(0, 40.4), (1, 60.0)], 300)), &status(3), status(3));
        assert_eq!(shown(&first), (Some((50, 60, 300)), vec![Some(40), Some(60), None]));
        let quiet = with_cpu(Some(&cpu(&[(0, 44.0), (1, 56.0)], 600)), &first, status(3));
        assert_eq!(quiet, first);
        let moved = with_cpu(Some(&cpu(&[(0, 45.0), (1, 56.0)], 900)), &quiet, status(3));
        assert_eq!(shown(&moved), (Some((50, 60, 300)), vec![Some(45), Some(60), None]));
        let busier = with_cpu(Some(&cpu(&[(0, 90.0), (1, 90.0)], 1200)), &moved, status(3));
        assert_eq!(shown(&busier), (Some((90, 90, 1200)), vec![Some(90), Some(90), None]));
        let unknown = with_cpu(Some(&cpu(&[], 1500)), &busier, status(3));
        assert_eq!(shown(&unknown), (None, vec![None, None, None]));
        assert_eq!(shown(&with_cpu(None, &busier, status(3))), (None, vec![None, None, None]));
    }

    #[test]
    fn an_idle_worker_has_the_value_zero_and_an_unknown_one_has_none() {
        let idle = with_cpu(Some(&cpu(&[(0, 0.0)], 300)), &status(1), status(1));
        assert_eq!(shown(&idle), (Some((0, 0, 300)), vec![Some(0)]));
    }

    #[test]
    fn unknown_cpu_is_reported_with_its_reason() {
        assert_eq!(cpu(&[(0, 1.0)], 300).verdict(), None);
        assert_eq!(Cpu::default().verdict(), None, "no worker runs");
        let waiting = Cpu { running: 1, ..Cpu::default() }.verdict().unwrap();
        assert_eq!((waiting.condition, waiting.reason), (ConditionType::CpuUnknown, Reason::NoDataYet));
        let denied = aws::Error { operation: "cloudwatch:GetMetricData", ..cause(Class::Denied, "AccessDenied") };
        let denied = Cpu { failure: Some(denied), running: 1, ..Cpu::default() }.verdict().unwrap();
        assert_eq!(denied.reason, Reason::AwsDenied);
        assert!(denied.message.ends_with("; allow cloudwatch:GetMetricData to the role that muster uses here"));
    }

    #[test]
    fn the_period_is_validated() {
        let of = |text: &str| period(Some(&Metrics { cpu: CpuMetrics { period: text.into() } }));
        assert_eq!(of("5m").unwrap().unwrap().duration(), Duration::from_secs(300));
        assert_eq!(period(None), Ok(None));
        for bad in ["90s", "2h", "soon"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
