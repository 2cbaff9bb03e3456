//! The kinds, and the list that everything that handles all kinds uses.

pub mod aws_account;
pub mod fleet_report;
pub mod launch_template_pin;
pub mod worker_fleet;
pub mod worker_job;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::{
    crd::{
        aws_account::AwsAccount, fleet_report::FleetReport, launch_template_pin::LaunchTemplatePin, schema,
        worker_fleet::WorkerFleet, worker_job::WorkerJob,
    },
    reconcile::Kind,
};

/// A function that is called for every kind.
pub trait ForEachKind {
    fn kind<K: Kind + CustomResourceExt>(&mut self);
}

/// The list of kinds.
pub fn for_each(visitor: &mut impl ForEachKind) {
    visitor.kind::<AwsAccount>();
    visitor.kind::<FleetReport>();
    visitor.kind::<LaunchTemplatePin>();
    visitor.kind::<WorkerFleet>();
    visitor.kind::<WorkerJob>();
}

/// The CustomResourceDefinitions of all kinds, finished, by name.
pub fn crds() -> Vec<CustomResourceDefinition> {
    let kinds = all();
    let grantable: Vec<_> = kinds.iter().filter(|kind| kind.is_grantable).map(|kind| kind.name).collect();
    schema::finished(kinds.iter().map(|kind| (kind.crd)()).collect(), &grantable)
}

/// The names of all kinds.
pub fn names() -> Vec<&'static str> {
    all().iter().map(|kind| kind.name).collect()
}

struct Properties {
    name: &'static str,
    crd: fn() -> CustomResourceDefinition,
    is_grantable: bool,
}

impl ForEachKind for Vec<Properties> {
    fn kind<K: Kind + CustomResourceExt>(&mut self) {
        self.push(Properties { name: K::NAME, crd: K::crd, is_grantable: !K::AWS_REFS.is_empty() });
    }
}

fn all() -> Vec<Properties> {
    let mut all = Vec::new();
    for_each(&mut all);
    all
}

#[cfg(test)]
mod schema_lint;
#[cfg(test)]
mod tests;
