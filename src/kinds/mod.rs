//! The kinds, and the list that everything that handles all kinds uses.

pub mod aws_account;
pub mod fleet_report;
pub mod worker_fleet;
pub mod worker_job;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::{
    crd::{
        aws_account::AwsAccount, fleet_report::FleetReport, schema, worker_fleet::WorkerFleet, worker_job::WorkerJob,
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
    visitor.kind::<WorkerFleet>();
    visitor.kind::<WorkerJob>();
}

/// The CustomResourceDefinitions of all kinds, finished, by name.
pub fn crds() -> Vec<CustomResourceDefinition> {
    struct Collect {
        crds: Vec<CustomResourceDefinition>,
        grantable: Vec<&'static str>,
    }
    impl ForEachKind for Collect {
        fn kind<K: Kind + CustomResourceExt>(&mut self) {
            self.crds.push(K::crd());
            if !K::AWS_REFS.is_empty() {
                self.grantable.push(K::NAME);
            }
        }
    }
    let mut all = Collect { crds: Vec::new(), grantable: Vec::new() };
    for_each(&mut all);
    schema::finished(all.crds, &all.grantable)
}

/// The names of all kinds.
pub fn names() -> Vec<&'static str> {
    struct Names(Vec<&'static str>);
    impl ForEachKind for Names {
        fn kind<K: Kind + CustomResourceExt>(&mut self) {
            self.0.push(K::NAME);
        }
    }
    let mut names = Names(Vec::new());
    for_each(&mut names);
    names.0
}

#[cfg(test)]
mod tests;
