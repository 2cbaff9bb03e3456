//! The desired state: a spec parsed once into types that cannot be invalid.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::{
    aws::cpu_samples::Period,
    crd::{
        fields::{InvalidDuration, PLAN_ONLY, duration, is_plan_only},
        template::WorkerTemplate,
        worker_fleet::{OnStopped, Readiness, ReadinessCheck, ScaleDownPolicy, WorkerFleetSpec},
    },
    ids::{self, InstanceId, InvalidId, Role, Uid},
    inventory::ownership::Owner,
    kinds::worker_fleet::cpu::{self, InvalidMetrics},
    workers::{
        launch_spec::{DesiredRole, DesiredWorkers, LaunchSpecs, Resolved, render},
        observe::health::Criteria,
        parameters::Synced,
        plan::share::Share,
    },
};

/// Adopts the instances of an earlier fleet of the same name, given by its uid.
pub(super) const ADOPT: &str = "muster.dev/adopt";
/// Ignores them.
pub(super) const IGNORE: &str = "muster.dev/ignore";

/// The minimum of the default for `maxReplacementsPerHour`.
const MIN_REPLACEMENTS: u32 = 100;
const STARTUP_DEADLINE: Duration = Duration::from_mins(15);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    pub(super) owner: Owner,
    /// Change nothing in AWS.
    pub(super) suspended: bool,
    /// Show the plan, and change nothing.
    pub(super) plan_only: bool,
    /// The main role first.
    pub(super) roles: Vec<DesiredRole>,
    /// Nothing is launched while these have a problem.
    pub(super) parameters: Synced,
    /// When a worker is ready, and when it is late.
    pub(super) criteria: Criteria,
    /// The FleetReport that readiness depends on, if it does.
    pub(super) report: Option<String>,
    pub(super) update: Update,
    pub(super) max_replacements: u32,
    pub(super) max_unhealthy: Share,
    pub(super) scale_down: ScaleDownPolicy,
    pub(super) on_stopped: OnStopped,
    /// The period of CPU samples. `None`: CPU metrics are not requested.
    pub(super) cpu: Option<Period>,
    pub(super) adopt: BTreeSet<Uid>,
    /// Instances to adopt.
    pub(super) adopt_ids: BTreeSet<InstanceId>,
    pub(super) ignore: BTreeSet<Uid>,
}

fn share(field: &'static str, value: Option<&IntOrString>, default: Share) -> Result<Share, Invalid> {
    let (parsed, value) = match value {
        None => return Ok(default),
        Some(IntOrString::Int(number)) => (u32::try_from(*number).ok().map(Share::Number), number.to_string()),
        Some(IntOrString::String(text)) => {
            let percent = text.strip_suffix('%').and_then(|digits| digits.parse().ok());
            (percent.map(Share::Percent), text.clone())
        }
    };
    parsed.ok_or(Invalid::Share { field, value })
}

/// The bounds of a rolling update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Update {
    max_surge: Share,
    max_unavailable: Share,
    pub progress_deadline: Duration,
}

impl Update {
    /// How many workers more than `replicas` may exist, and how many fewer may be available. Never both 0, because no
    /// update could proceed: Deployments round the same way.
    pub(super) fn bounds(&self, replicas: u32) -> (u32, u32) {
        match (self.max_surge.rounded_up(replicas), self.max_unavailable.rounded_down(replicas)) {
            (0, 0) => (0, 1),
            bounds => bounds,
        }
    }
}

fn seconds(seconds: i32) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

fn roles(spec: &WorkerFleetSpec) -> Result<Vec<DesiredRole>, Invalid> {
    let mut roles = vec![role(Role::main(), spec.replicas, spec.template.clone())?];
    for own in &spec.roles {
        let mut template = spec.template.clone();
        if let Some(user_data) = &own.user_data {
            template.user_data = Some(user_data.clone());
        }
        if !own.instance_types.is_empty() {
            template.instance_types.clone_from(&own.instance_types);
        }
        roles.push(role(Role::try_from(own.name.as_str())?, own.replicas, template)?);
    }
    Ok(roles)
}

/// A spec that the schema allows but that cannot be carried out.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum Invalid {
    #[error("spec.{0}")]
    Template(#[from] render::Unrenderable),
    #[error("spec.template: {0}")]
    Id(#[from] InvalidId),
    #[error("spec.{0}")]
    Metrics(#[from] InvalidMetrics),
    #[error("spec.{field}: {value:?} is neither a number of workers nor a percentage like 25%")]
    Share { field: &'static str, value: String },
    #[error("spec.readiness.startupDeadline: {0}")]
    StartupDeadline(InvalidDuration),
    #[error("the annotation {annotation} must be the uid of the earlier fleet, or uids separated by commas: {source}")]
    Annotation { annotation: &'static str, source: InvalidId },
}

impl Desired {
    /// The desired number of workers of all roles together.
    pub(super) fn total(&self) -> u32 {
        self.roles.iter().map(|role| role.replicas).sum()
    }

    pub(super) fn revisions(&self) -> BTreeSet<String> {
        LaunchSpecs::of(&self.roles).revisions
    }

    /// For a plan that is only shown: the desired state without suspension and unwritten parameters.
    pub(super) fn freed(&self) -> Self {
        Self { suspended: false, parameters: self.parameters.once_written(), ..self.clone() }
    }

    /// The revision that new workers of a role are launched with.
    pub(super) fn revision(&self, role: &Role) -> Option<String> {
        let role = self.roles.iter().find(|desired| &desired.role == role)?;
        role.resolved.launch_spec.as_ref().map(|launch_spec| launch_spec.revision.name.clone())
    }

    /// Leaves the templates unresolved.
    pub(super) fn parse<'a>(
        spec: &WorkerFleetSpec,
        owner: Owner,
        parameters: Synced,
        annotation: impl Fn(&'static str) -> Option<&'a str>,
    ) -> Result<Self, Invalid> {
        let plan_only = is_plan_only(annotation(PLAN_ONLY));
        let roles = roles(spec)?;
        let total: u32 = roles.iter().map(|role| role.replicas).sum();
        let WorkerFleetSpec {
            update, max_unhealthy, readiness: Readiness { check, report_ref, startup_deadline }, ..
        } = spec;
        let startup_deadline = startup_deadline.as_deref().map_or(Ok(STARTUP_DEADLINE), duration);
        let adopt_ids = spec.adopt.iter().flat_map(|adopt| &adopt.instance_ids);
        let uids = |name| {
            let uids = ids::uids(annotation(name).unwrap_or_default());
            uids.map_err(|source| Invalid::Annotation { annotation: name, source })
        };
        Ok(Self {
            suspended: spec.suspend || plan_only,
            plan_only: plan_only && !spec.suspend,
            owner,
            max_replacements: spec
                .max_replacements_per_hour
                .map_or_else(|| (2 * total).max(MIN_REPLACEMENTS), |limit| u32::try_from(limit).unwrap_or_default()),
            max_unhealthy: share("maxUnhealthy", max_unhealthy.as_ref(), Share::Percent(20))?,
            update: Update {
                max_surge: share("update.maxSurge", update.max_surge.as_ref(), Share::Percent(25))?,
                max_unavailable: share("update.maxUnavailable", update.max_unavailable.as_ref(), Share::Number(0))?,
                progress_deadline: seconds(update.progress_deadline_seconds),
            },
            criteria: Criteria {
                check: *check,
                startup_deadline: startup_deadline.map_err(Invalid::StartupDeadline)?,
                min_ready: seconds(update.min_ready_seconds),
            },
            report: match check {
                ReadinessCheck::Report => report_ref.as_ref().map(|report| report.name.clone()),
                ReadinessCheck::Running | ReadinessCheck::StatusChecks => None,
            },
            adopt_ids: adopt_ids.map(|id| InstanceId::try_from(id.as_str())).collect::<Result<_, _>>()?,
            roles,
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
    /// With the templates resolved, which must name everything by id.
    pub(super) fn resolved(mut self) -> Self {
        for role in &mut self.roles {
            role.resolved = Resolved::of_ids(&self.owner, &role.role, &role.template);
        }
        self
    }
}

fn role(role: Role, replicas: i32, template: WorkerTemplate) -> Result<DesiredRole, Invalid> {
    render::check(&template)?;
    let replicas = u32::try_from(replicas).unwrap_or_default();
    Ok(DesiredRole { role, replicas, template, resolved: Resolved::default() })
}

impl DesiredWorkers for Desired {
    fn roles(&self) -> &[DesiredRole] {
        &self.roles
    }

    fn roles_mut(&mut self) -> &mut [DesiredRole] {
        &mut self.roles
    }

    fn parameters(&self) -> &Synced {
        &self.parameters
    }

    fn needs_status_checks(&self) -> bool {
        self.criteria.check == ReadinessCheck::StatusChecks
    }

    fn max_missing(&self) -> Share {
        self.max_unhealthy
    }
}

#[cfg(test)]
mod tests;
