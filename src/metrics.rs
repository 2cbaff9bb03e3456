//! Counters for /metrics. But for CPU, no label holds the name of an object or an instance: their number has no bound.

mod cpu;

use std::time::Instant;

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

pub use self::cpu::FleetLabels;
use crate::{clock::Clock, ids::Uid, workers::cpu::CpuSamples};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ErrorLabels {
    kind: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallLabels {
    service: String,
    operation: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct VersionLabel {
    version: &'static str,
}

#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconciles: Family<KindLabel, Counter>,
    errors: Family<ErrorLabels, Counter>,
    durations: Family<KindLabel, Histogram>,
    calls: Family<CallLabels, Counter>,
    leading: Gauge,
    cpu: cpu::Cpu,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("muster");
        let reconciles = Family::<KindLabel, Counter>::default();
        let errors = Family::<ErrorLabels, Counter>::default();
        let durations = Family::<KindLabel, Histogram>::new_with_constructor(|| {
            Histogram::new([0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0])
        });
        let calls = Family::<CallLabels, Counter>::default();
        let leading = Gauge::default();
        let build = Family::<VersionLabel, Gauge>::default();
        build.get_or_create(&VersionLabel { version: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register("reconcile", "Reconciles begun", reconciles.clone());
        registry.register("reconcile_errors", "Reconciles that failed, by the reason shown in Ready", errors.clone());
        registry.register("reconcile_duration_seconds", "How long reconciles took", durations.clone());
        registry.register("aws_requests", "Calls to AWS", calls.clone());
        registry.register("leading", "1 while this replica holds the lease", leading.clone());
        registry.register("build_info", "The version that runs", build);
        let cpu = cpu::Cpu::default();
        cpu.register(&mut registry);
        Self { registry, reconciles, errors, durations, calls, leading, cpu }
    }
}

impl Metrics {
    pub fn reconciled(&self, kind: &'static str, seconds: f64, failed: Option<&'static str>) {
        self.reconciles.get_or_create(&KindLabel { kind }).inc();
        self.durations.get_or_create(&KindLabel { kind }).observe(seconds);
        if let Some(reason) = failed {
            self.errors.get_or_create(&ErrorLabels { kind, reason }).inc();
        }
    }

    /// `service` and `operation` are the SDK's names, of which there are only as many as muster uses.
    pub fn called(&self, service: &str, operation: &str, outcome: &'static str) {
        let labels = CallLabels { service: service.into(), operation: operation.into(), outcome };
        self.calls.get_or_create(&labels).inc();
    }

    pub fn set_leading(&self, leading: bool) {
        self.leading.set(leading.into());
    }

    /// How busy the workers of a fleet are, shown until `until` at the longest. Who is not in `samples` has no series any
    /// more.
    pub fn show_cpu(&self, uid: &Uid, fleet: FleetLabels, samples: &CpuSamples, until: Instant) {
        self.cpu.show(uid, fleet, samples, until);
    }

    pub fn forget_cpu(&self, uid: &Uid) {
        self.cpu.forget(uid);
    }

    /// The OpenMetrics text.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        self.cpu.expire(Clock.monotonic());
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
