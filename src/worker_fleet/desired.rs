//! The wish: a spec parsed once into types that cannot be wrong.

use std::collections::BTreeSet;

use crate::{
    ids::{ImageId, InstanceType, InvalidId, SubnetId, Uid},
    worker_fleet::crd::{OnStopped, ReadinessCheck, ScaleDownPolicy, WorkerFleetSpec},
    workers::{ownership::Owner, pools::Places, request::Unrenderable, revision::Revision, template::Placement},
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
    pub readiness: ReadinessCheck,
    pub scale_down: ScaleDownPolicy,
    pub on_stopped: OnStopped,
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
    #[error(
        "the annotation {annotation} must hold the uid of the earlier fleet, or several separated by commas: {source}"
    )]
    Annotation { annotation: &'static str, source: InvalidId },
}

impl Desired {
    pub(super) fn parse(
        spec: &WorkerFleetSpec,
        owner: Owner,
        annotation: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Self, Invalid> {
        let template = &spec.template;
        let subnets = distinct(&template.subnets.ids, |id| SubnetId::try_from(id))?;
        // With one subnet there is nothing to spread over, and no need to ask for its zone.
        let placement = if subnets.len() == 1 { Placement::Ordered } else { template.placement.unwrap_or_default() };
        let uids = |name| uids(name, annotation(name));
        Ok(Self {
            suspended: spec.suspend,
            replicas: u32::try_from(spec.replicas).unwrap_or_default(),
            places: Places {
                instance_types: distinct(&template.instance_types, |name| InstanceType::try_from(name))?,
                subnets,
                placement,
            },
            image: ImageId::try_from(template.ami.id.as_str())?,
            revision: Revision::new(&owner, template)?,
            owner,
            readiness: spec.readiness.check,
            scale_down: spec.scale_down_policy,
            on_stopped: spec.on_stopped,
            adopt: uids(ADOPT)?,
            ignore: uids(IGNORE)?,
        })
    }
}

/// In the order given, each once.
fn distinct<T: PartialEq>(texts: &[String], parse: impl Fn(&str) -> Result<T, InvalidId>) -> Result<Vec<T>, InvalidId> {
    let mut parsed: Vec<T> = Vec::new();
    for text in texts {
        let value = parse(text)?;
        if !parsed.contains(&value) {
            parsed.push(value);
        }
    }
    Ok(parsed)
}

fn uids(annotation: &'static str, value: Option<String>) -> Result<BTreeSet<Uid>, Invalid> {
    let value = value.unwrap_or_default();
    let texts = value.split(',').map(str::trim).filter(|text| !text.is_empty());
    texts.map(|text| Uid::try_from(text).map_err(|source| Invalid::Annotation { annotation, source })).collect()
}
