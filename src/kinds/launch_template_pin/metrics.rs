//! The images, refreshes and versions of all LaunchTemplatePins, for /metrics. The series of an object go with its memory.

use std::sync::{Arc, atomic::AtomicU64};

use jiff::Timestamp;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
};

use crate::{
    crd::launch_template_pin::{LaunchTemplatePin, LaunchTemplatePinStatus},
    k8s::live::Live,
    kinds::launch_template_pin::{
        found::Found,
        plan::{groups::GroupState, target::Wanted},
    },
    metrics::Metrics,
};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    namespace: String,
    name: String,
}

type Seconds = Gauge<f64, AtomicU64>;

/// The series of all objects. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct PinSeries(Arc<Series>);

#[derive(Debug, Default)]
struct Series {
    newest: Family<Labels, Seconds>,
    running: Family<Labels, Seconds>,
    outdated: Family<Labels, Gauge>,
    refreshing: Family<Labels, Gauge>,
    failed: Family<Labels, Gauge>,
    versions: Family<Labels, Gauge>,
}

/// The series of one object, which are removed when it is dropped.
#[derive(Debug)]
pub(super) struct Shown {
    series: PinSeries,
    labels: Labels,
}

impl PinSeries {
    /// Registered in `metrics`.
    pub(super) fn registered(metrics: &Metrics) -> Self {
        let all = Self::default();
        let Series { newest, running, outdated, refreshing, failed, versions } = &*all.0;
        metrics.register(|registry| {
            let text = "When the newest image that matches was made, in seconds since 1970";
            registry.register("pin_newest_image_timestamp_seconds", text, newest.clone());
            let text = "When the image that the groups should run was made, in seconds since 1970";
            registry.register("pin_current_image_timestamp_seconds", text, running.clone());
            let text = "Instances of the groups of other versions than they should run";
            registry.register("pin_outdated_instances", text, outdated.clone());
            registry.register("pin_refreshing_groups", "Groups with an active instance refresh", refreshing.clone());
            let text = "Groups whose last instance refresh did not succeed";
            registry.register("pin_failed_refreshes", text, failed.clone());
            registry.register("pin_versions", "Versions of the launch template", versions.clone());
        });
        all
    }

    pub(super) fn show(
        &self,
        live: &Live<LaunchTemplatePin>,
        found: &Found<'_>,
        status: &LaunchTemplatePinStatus,
        shown: &mut Option<Shown>,
    ) {
        let labels = Labels { namespace: live.namespace().to_owned(), name: live.name().to_owned() };
        let Series { newest, running, outdated, refreshing, failed, versions } = &*self.0;
        let seconds = |time: Timestamp| time.as_millisecond() as f64 / 1000.0;
        let of_newest = match &found.assessment.target.wanted {
            Wanted::Image(row) => Some(row.created_at),
            Wanted::Any | Wanted::Nothing(_) => None,
        };
        let of_current = status.current_ami.as_ref().and_then(|image| image.created_at.as_ref()).map(|made| made.0);
        for (family, made) in [(newest, of_newest), (running, of_current)] {
            match made {
                Some(made) => drop(family.get_or_create(&labels).set(seconds(made))),
                None => drop(family.remove(&labels)),
            }
        }
        let findings = || found.assessment.findings.values();
        let count = |test: &dyn Fn(&GroupState) -> bool| findings().filter(|f| test(&f.state)).count();
        let whole = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        outdated.get_or_create(&labels).set(whole(findings().map(|f| f.outdated).sum()));
        refreshing.get_or_create(&labels).set(whole(count(&|state| *state == GroupState::Refreshing)));
        failed.get_or_create(&labels).set(whole(count(&|state| matches!(state, GroupState::RefreshFailed(_)))));
        versions.get_or_create(&labels).set(whole(found.observed.versions.len()));
        shown.get_or_insert_with(|| Shown { series: self.clone(), labels });
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        let Series { newest, running, outdated, refreshing, failed, versions } = &*self.series.0;
        newest.remove(&self.labels);
        running.remove(&self.labels);
        for family in [outdated, refreshing, failed, versions] {
            family.remove(&self.labels);
        }
    }
}
