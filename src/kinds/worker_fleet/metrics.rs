//! The CPU of workers, for /metrics. Only these labels hold the names of objects and instances: series of deleted
//! fleets and workers are removed, and so are series that were not updated for long.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Instant,
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::{
    aws::cpu_samples::{CpuSamples, summary},
    clock::Clock,
    ids::{InstanceId, Uid},
    metrics::Metrics,
};

type Percent = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct WorkerLabels {
    namespace: String,
    fleet: String,
    instance: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct FleetLabels {
    pub namespace: String,
    pub fleet: String,
}

/// The series of all fleets. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct CpuSeries(Arc<Series>);

#[derive(Debug, Default)]
struct Series {
    workers: Family<WorkerLabels, Percent>,
    average: Family<FleetLabels, Percent>,
    maximum: Family<FleetLabels, Percent>,
    /// The series of each fleet.
    shown: Mutex<HashMap<Uid, Shown>>,
}

#[derive(Debug)]
struct Shown {
    fleet: FleetLabels,
    ids: BTreeSet<InstanceId>,
    until: Instant,
}

impl CpuSeries {
    /// Registered in `metrics`.
    pub(super) fn registered(metrics: &Metrics) -> Self {
        let series = Self::default();
        metrics.register(|registry| series.register(registry));
        let shown = series.clone();
        metrics.before_each_scrape(move || shown.expire(Clock.monotonic()));
        series
    }

    fn register(&self, registry: &mut Registry) {
        let Series { workers, average, maximum, shown: _ } = &*self.0;
        registry.register("worker_cpu_percent", "CPU utilization of a worker, from CloudWatch", workers.clone());
        let help = ("Mean CPU utilization of a fleet's workers", "CPU utilization of a fleet's busiest worker");
        registry.register("workerfleet_cpu_average_percent", help.0, average.clone());
        registry.register("workerfleet_cpu_max_percent", help.1, maximum.clone());
    }

    /// Shows the current samples of a fleet until the next call, but not longer than `until`. Series without a sample
    /// are removed.
    pub(super) fn show(&self, uid: &Uid, fleet: FleetLabels, samples: &CpuSamples, until: Instant) {
        let now = Shown { fleet: fleet.clone(), ids: samples.keys().cloned().collect(), until };
        let before = self.lock().insert(uid.clone(), now);
        if let Some(before) = before {
            self.remove(&before.fleet, before.ids.iter().filter(|id| !samples.contains_key(*id)));
        }
        for (id, sample) in samples {
            self.0.workers.get_or_create(&worker(&fleet, id)).set(sample.percent);
        }
        match summary(samples.values()) {
            Some(of_all) => {
                self.0.average.get_or_create(&fleet).set(of_all.average);
                self.0.maximum.get_or_create(&fleet).set(of_all.maximum);
            }
            None => self.remove_fleet(&fleet),
        }
    }

    pub(super) fn forget(&self, uid: &Uid) {
        let shown = self.lock().remove(uid);
        if let Some(shown) = shown {
            self.remove(&shown.fleet, shown.ids.iter());
            self.remove_fleet(&shown.fleet);
        }
    }

    /// Removes series that were not updated for long, so that an old value is not taken for a current one.
    fn expire(&self, now: Instant) {
        let is_old = |(uid, shown): (&Uid, &Shown)| (shown.until <= now).then(|| uid.clone());
        let old: Vec<_> = self.lock().iter().filter_map(is_old).collect();
        old.iter().for_each(|uid| self.forget(uid));
    }

    fn remove<'a>(&self, fleet: &FleetLabels, ids: impl Iterator<Item = &'a InstanceId>) {
        for id in ids {
            self.0.workers.remove(&worker(fleet, id));
        }
    }

    fn remove_fleet(&self, fleet: &FleetLabels) {
        self.0.average.remove(fleet);
        self.0.maximum.remove(fleet);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uid, Shown>> {
        self.0.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn worker(fleet: &FleetLabels, id: &InstanceId) -> WorkerLabels {
    WorkerLabels { namespace: fleet.namespace.clone(), fleet: fleet.fleet.clone(), instance: id.to_string() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus_client::encoding::text::encode;

    use super::*;
    use crate::kinds::worker_fleet::sample::{UID, id, samples, uid};

    #[test]
    fn metric_series_exist_while_their_workers_exist() {
        let mut registry = Registry::with_prefix("muster");
        let cpu = CpuSeries::default();
        cpu.register(&mut registry);
        let lines = || {
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<BTreeSet<_>>()
        };
        let uid = uid(UID);
        let fleet = || FleetLabels { namespace: "ml".into(), fleet: "web".into() };
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(60));
        cpu.show(&uid, fleet(), &samples(&[(1, 40.5), (2, 60.5)], 0), later);
        cpu.show(&uid, fleet(), &samples(&[(2, 61.0), (3, 0.0)], 0), later);
        cpu.expire(now);
        let worker = |n| format!(r#"muster_worker_cpu_percent{{namespace="ml",fleet="web",instance="{}"}}"#, id(n));
        let expected = [
            format!("{} 61.0", worker(2)),
            format!("{} 0.0", worker(3)),
            r#"muster_workerfleet_cpu_average_percent{namespace="ml",fleet="web"} 30.5"#.to_owned(),
            r#"muster_workerfleet_cpu_max_percent{namespace="ml",fleet="web"} 61.0"#.to_owned(),
        ];
        assert_eq!(lines(), BTreeSet::from(expected));
        cpu.show(&uid, fleet(), &samples(&[], 0), later);
        assert_eq!(lines(), BTreeSet::new());
        for forget in
            [|cpu: &CpuSeries, uid: &Uid, _| cpu.forget(uid), |cpu: &CpuSeries, _: &Uid, later| cpu.expire(later)]
        {
            cpu.show(&uid, fleet(), &samples(&[(1, 1.0)], 0), later);
            assert_eq!(lines().len(), 3);
            forget(&cpu, &uid, later);
            assert_eq!(lines(), BTreeSet::new());
        }
    }
}
