//! The wish: a spec parsed once into types that cannot be wrong.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::{
    fields::{InvalidDuration, duration},
    ids::{self, InstanceId, InvalidId, Role, Uid},
    worker_fleet::{
        cpu::{self, InvalidMetrics},
        crd::{self, OnStopped, ScaleDownPolicy, WorkerFleetSpec},
    },
    workers::{
        cpu::Period,
        health::{Criteria, ReadinessCheck},
        ownership::Owner,
        parameters::Synced,
        preview::{PLAN_ONLY, is_plan_only},
        request::{Unrenderable, check},
        share::Share,
        supply::Supplied,
        template::WorkerTemplate,
    },
};

/// Takes over the machines of an earlier fleet of the same name, named by its uid.
pub(super) const ADOPT: &str = "muster.dev/adopt";
/// Starts beside them.
pub(super) const IGNORE: &str = "muster.dev/ignore";

/// So many replacements an hour are always allowed.
const MIN_REPLACEMENTS: u32 = 100;
const STARTUP_DEADLINE: Duration = Duration::from_mins(15);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Desired {
    pub owner: Owner,
    /// Change nothing in AWS.
    pub suspended: bool,
    /// Tell what would be done, and do nothing.
    pub plan_only: bool,
    /// The main group first.
    pub groups: Vec<Group>,
    /// Nothing is launched while these have a problem.
    pub parameters: Synced,
    pub readiness: Readiness,
    pub update: Update,
    pub max_replacements: u32,
    pub max_unhealthy: Share,
    pub scale_down: ScaleDownPolicy,
    pub on_stopped: OnStopped,
    /// What the CPU is measured over. `None`: it is not.
    pub cpu: Option<Period>,
    pub adopt: BTreeSet<Uid>,
    /// Machines to take over.
    pub adopt_ids: BTreeSet<InstanceId>,
    pub ignore: BTreeSet<Uid>,
}

fn share(field: &'static str, value: Option<&IntOrString>, default: Share) -> Result<Share, Invalid> {
    match value {
        None => Ok(default),
        Some(IntOrString::Int(number)) => {
            u32::try_from(*number).map(Share::Number).map_err(|_| Invalid::Share { field, value: number.to_string() })
        }
        Some(IntOrString::String(text)) => {
            let percent = text.strip_suffix('%').and_then(|digits| digits.parse().ok());
            percent.map(Share::Percent).ok_or_else(|| Invalid::Share { field, value: text.clone() })
        }
    }
}

/// The bounds of a rolling update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Update {
    max_surge: Share,
    max_unavailable: Share,
    pub progress_deadline: Duration,
}

impl Update {
    fn parse(update: &crd::Update) -> Result<Self, Invalid> {
        Ok(Self {
            max_surge: share("update.maxSurge", update.max_surge.as_ref(), Share::Percent(25))?,
            max_unavailable: share("update.maxUnavailable", update.max_unavailable.as_ref(), Share::Number(0))?,
            progress_deadline: seconds(update.progress_deadline_seconds),
        })
    }

    /// How many more than `replicas` there may be, and how many fewer may be available. Never both 0, or nothing could
    /// move: Deployments round the same way.
    pub(super) fn bounds(&self, replicas: u32) -> (u32, u32) {
        match (self.max_surge.rounded_up(replicas), self.max_unavailable.rounded_down(replicas)) {
            (0, 0) => (0, 1),
            bounds => bounds,
        }
    }
}

/// When a worker is ready, and when it is too late for that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Readiness {
    pub criteria: Criteria,
    /// The FleetReport to read.
    pub report: Option<String>,
}

impl Readiness {
    fn parse(readiness: &crd::Readiness, min_ready: Duration) -> Result<Self, Invalid> {
        let deadline = readiness.startup_deadline.as_deref().map(duration).transpose();
        let startup_deadline = deadline.map_err(Invalid::StartupDeadline)?.unwrap_or(STARTUP_DEADLINE);
        let check: ReadinessCheck = readiness.check;
        Ok(Self {
            criteria: Criteria { check, startup_deadline, min_ready },
            report: readiness.report_ref.as_ref().map(|report| report.name.clone()),
        })
    }
}

/// Workers that are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub role: Role,
    pub replicas: u32,
    pub template: WorkerTemplate,
    /// Filled in once the template is resolved.
    pub supplied: Supplied,
}

fn seconds(seconds: i32) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

fn total(groups: &[Group]) -> u32 {
    groups.iter().map(|group| group.replicas).sum()
}

fn groups(spec: &WorkerFleetSpec) -> Result<Vec<Group>, Invalid> {
    let mut groups = vec![Group::parse(Role::main(), spec.replicas, spec.template.clone())?];
    for role in &spec.roles {
        let mut template = spec.template.clone();
        if let Some(user_data) = &role.user_data {
            template.user_data = Some(user_data.clone());
        }
        if !role.instance_types.is_empty() {
            template.instance_types.clone_from(&role.instance_types);
        }
        groups.push(Group::parse(Role::try_from(role.name.as_str())?, role.replicas, template)?);
    }
    Ok(groups)
}

fn adopt_ids(spec: &WorkerFleetSpec) -> Result<BTreeSet<InstanceId>, InvalidId> {
    let ids = spec.adopt.iter().flat_map(|adopt| &adopt.instance_ids);
    ids.map(|id| InstanceId::try_from(id.as_str())).collect()
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
    #[error("spec.{field}: {value:?} is neither a number of workers nor a share like 25%")]
    Share { field: &'static str, value: String },
    #[error("spec.readiness.startupDeadline: {0}")]
    StartupDeadline(InvalidDuration),
    #[error(
        "the annotation {annotation} must hold the uid of the earlier fleet, or several separated by commas: {source}"
    )]
    Annotation { annotation: &'static str, source: InvalidId },
}

impl Desired {
    /// How many workers there shall be, all groups together.
    pub(super) fn total(&self) -> u32 {
        total(&self.groups)
    }

    /// For a plan that is only told: as it is wanted once nothing holds it back.
    pub(super) fn freed(&self) -> Self {
        Self { suspended: false, parameters: self.parameters.once_written(), ..self.clone() }
    }

    /// The revisions to launch with.
    pub(super) fn revisions(&self) -> BTreeSet<String> {
        let supplies = self.groups.iter().filter_map(|group| group.supplied.supply.as_ref());
        supplies.map(|supply| supply.revision.name.clone()).collect()
    }

    /// The revision that new workers of a group are launched with.
    pub(super) fn revision(&self, role: &Role) -> Option<String> {
        let group = self.groups.iter().find(|group| &group.role == role)?;
        group.supplied.supply.as_ref().map(|supply| supply.revision.name.clone())
    }

    /// Without what the templates come to.
    pub(super) fn parse(
        spec: &WorkerFleetSpec,
        owner: Owner,
        parameters: Synced,
        annotation: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Self, Invalid> {
        let plan_only = is_plan_only(annotation(PLAN_ONLY).as_deref());
        let groups = groups(spec)?;
        let uids = |name| {
            let text = annotation(name).unwrap_or_default();
            ids::uids(&text).map_err(|source| Invalid::Annotation { annotation: name, source })
        };
        Ok(Self {
            suspended: spec.suspend || plan_only,
            plan_only: plan_only && !spec.suspend,
            owner,
            max_replacements: spec.max_replacements_per_hour.map_or_else(
                || (2 * total(&groups)).max(MIN_REPLACEMENTS),
                |limit| u32::try_from(limit).unwrap_or_default(),
            ),
            max_unhealthy: share("maxUnhealthy", spec.max_unhealthy.as_ref(), Share::Percent(20))?,
            update: Update::parse(&spec.update)?,
            readiness: Readiness::parse(&spec.readiness, seconds(spec.update.min_ready_seconds))?,
            adopt_ids: adopt_ids(spec)?,
            groups,
            parameters,
            scale_down: spec.scale_down_policy,
            on_stopped: spec.on_stopped,
            cpu: cpu::period(spec.metrics.as_ref())?,
            adopt: uids(ADOPT)?,
            ignore: uids(IGNORE)?,
        })
    }
}

#[cfg(test)]
impl Desired {
    /// With what the templates come to, where they name all by id.
    pub(super) fn supplied(mut self) -> Self {
        for group in &mut self.groups {
            group.supplied = Supplied::of_ids(&self.owner, &group.role, &group.template);
        }
        self
    }
}

impl Group {
    fn parse(role: Role, replicas: i32, template: WorkerTemplate) -> Result<Self, Invalid> {
        check(&template)?;
        let replicas = u32::try_from(replicas).unwrap_or_default();
        Ok(Self { role, replicas, template, supplied: Supplied::default() })
    }
}

/// The earlier fleets of this name whose machines and parameters are taken over. An annotation that cannot be read is told
/// of when all is parsed.
pub(super) fn earlier(annotation: impl Fn(&str) -> Option<String>) -> BTreeSet<Uid> {
    ids::uids(&annotation(ADOPT).unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
