//! The wish: a spec parsed once into types that cannot be wrong.

use std::collections::BTreeSet;

use crate::{
    ids::{ImageId, InvalidId, Role, Uid},
    worker_fleet::{
        cpu::{self, InvalidMetrics},
        crd::{OnStopped, ReadinessCheck, ScaleDownPolicy, WorkerFleetSpec},
    },
    workers::{
        cpu::Period,
        ownership::Owner,
        parameters::{MAIN, Synced},
        pools::Places,
        request::Unrenderable,
        resolve::Resolution,
        revision::Revision,
    },
};

/// Takes over the machines of an earlier fleet of the same name, named by its uid.
pub(super) const ADOPT: &str = "muster.dev/adopt";
/// Starts beside them.
pub(super) const IGNORE: &str = "muster.dev/ignore";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Desired {
    pub owner: Owner,
    /// Change nothing in AWS.
    pub suspended: bool,
    pub replicas: u32,
    pub places: Places,
    pub image: ImageId,
    pub revision: Revision,
    /// Nothing is launched while these have a problem.
    pub parameters: Synced,
    pub readiness: ReadinessCheck,
    pub scale_down: ScaleDownPolicy,
    pub on_stopped: OnStopped,
    /// What the CPU is measured over. `None`: it is not.
    pub cpu: Option<Period>,
    pub adopt: BTreeSet<Uid>,
    pub ignore: BTreeSet<Uid>,
}

/// A spec that the schema allows and that cannot be done.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum Invalid {
    #[error("spec.{0}")]
    Template(#[from] Unrenderable),
    #[error("spec.template: {0}")]
    Id(#[from] InvalidId),
    #[error("spec.{0}")]
    Metrics(#[from] InvalidMetrics),
    #[error(
        "the annotation {annotation} must hold the uid of the earlier fleet, or several separated by commas: {source}"
    )]
    Annotation { annotation: &'static str, source: InvalidId },
}

impl Desired {
    pub(super) fn parse(
        spec: &WorkerFleetSpec,
        owner: Owner,
        parameters: Synced,
        annotation: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Self, Invalid> {
        let template = &spec.template;
        let resolution = Resolution::of_ids(template)?;
        let uids = |name| uids(name, annotation(name));
        Ok(Self {
            suspended: spec.suspend,
            replicas: u32::try_from(spec.replicas).unwrap_or_default(),
            places: resolution.places(template.placement),
            image: resolution.image.id.clone(),
            revision: Revision::new(&owner, &Role::main(), template, &resolution, parameters.reference(MAIN))?,
            parameters,
            owner,
            readiness: spec.readiness.check,
            scale_down: spec.scale_down_policy,
            on_stopped: spec.on_stopped,
            cpu: cpu::period(spec.metrics.as_ref())?,
            adopt: uids(ADOPT)?,
            ignore: uids(IGNORE)?,
        })
    }
}

fn uids(annotation: &'static str, value: Option<String>) -> Result<BTreeSet<Uid>, Invalid> {
    let value = value.unwrap_or_default();
    let texts = value.split(',').map(str::trim).filter(|text| !text.is_empty());
    texts.map(|text| Uid::try_from(text).map_err(|source| Invalid::Annotation { annotation, source })).collect()
}
