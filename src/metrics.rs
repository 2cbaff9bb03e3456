//! Counters for /metrics. Except for CPU, no label has the name of an object or an instance: their number is unbounded.

use std::sync::{Mutex, PoisonError};

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// Names and values.
type Labels<const N: usize, V = &'static str> = [(&'static str, V); N];

/// Functions that are called before each scrape.
#[derive(Default)]
struct BeforeScrapes(Mutex<Vec<Box<dyn Fn() + Send + Sync>>>);

impl std::fmt::Debug for BeforeScrapes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BeforeScrapes").finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    reconciles: Family<Labels<1>, Counter>,
    errors: Family<Labels<2>, Counter>,
    durations: Family<Labels<1>, Histogram>,
    calls: Family<Labels<3, String>, Counter>,
    leading: Gauge,
    before_scrapes: BeforeScrapes,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("muster");
        let reconciles = Family::<Labels<1>, Counter>::default();
        let errors = Family::<Labels<2>, Counter>::default();
        let durations = Family::<Labels<1>, Histogram>::new_with_constructor(|| {
            Histogram::new([0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0])
        });
        let calls = Family::<Labels<3, String>, Counter>::default();
        let leading = Gauge::default();
        let build = Family::<Labels<1>, Gauge>::default();
        build.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))]).set(1);
        registry.register("reconcile", "Reconciles begun", reconciles.clone());
        registry.register("reconcile_errors", "Reconciles that failed, by the reason shown in Ready", errors.clone());
        registry.register("reconcile_duration_seconds", "How long reconciles took", durations.clone());
        registry.register("aws_requests", "Calls to AWS", calls.clone());
        registry.register("leading", "1 while this replica holds the lease", leading.clone());
        registry.register("build_info", "The version that runs", build);
        let (registry, before_scrapes) = (Mutex::new(registry), BeforeScrapes::default());
        Self { registry, reconciles, errors, durations, calls, leading, before_scrapes }
    }
}

impl Metrics {
    pub fn reconciled(&self, kind: &'static str, seconds: f64, failed: Option<&'static str>) {
        self.reconciles.get_or_create(&[("kind", kind)]).inc();
        self.durations.get_or_create(&[("kind", kind)]).observe(seconds);
        if let Some(reason) = failed {
            self.errors.get_or_create(&[("kind", kind), ("reason", reason)]).inc();
        }
    }

    /// `service` and `operation` are names of the SDK; only those that muster uses occur.
    pub fn called(&self, service: &str, operation: &str, outcome: &'static str) {
        let labels = [("service", service), ("operation", operation), ("outcome", outcome)];
        self.calls.get_or_create(&labels.map(|(name, value)| (name, value.to_owned()))).inc();
    }

    pub fn set_leading(&self, leading: bool) {
        self.leading.set(leading.into());
    }

    /// Registers the metrics of one kind.
    pub fn register(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub fn before_each_scrape(&self, what: impl Fn() + Send + Sync + 'static) {
        self.before_scrapes.0.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(what));
    }

    /// The metrics as OpenMetrics text.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        self.before_scrapes.0.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|what| what());
        let mut text = String::new();
        encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(text)
    }
}
