//! The launch specs of new workers: the template of a role, resolved and rendered.

pub mod granted;
pub mod render;
pub mod resolve;
pub mod revision;
pub mod revisions;
#[cfg(test)]
mod sample;
pub mod stored;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use crate::{
    access::Permits,
    aws::Session,
    crd::template::WorkerTemplate,
    ids::{Role, SubnetId, Zone},
    reconcile::context::Context,
    workers::{
        launch_spec::{
            render::Unrenderable,
            resolve::{
                resolution::{Image, Resolution},
                resolve,
                unresolved::{Field, Unresolved, Why},
            },
            revision::{Revision, Workers},
            revisions::Revisions,
        },
        observe::observed::LaunchFeedback,
        parameters::Synced,
        plan::{pools::Places, share::Share},
    },
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchSpec<R = Revision> {
    pub revision: R,
    pub places: Places,
    pub image: Image,
    pub launch_template_version: Option<i64>,
}

/// The desired workers of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredRole {
    pub role: Role,
    pub replicas: u32,
    pub template: WorkerTemplate,
    /// Filled in once the template is resolved.
    pub resolved: Resolved,
}

/// The desired state, parsed once from a spec.
pub trait DesiredWorkers: Send + Sync {
    /// The main role first.
    fn roles(&self) -> &[DesiredRole];

    fn roles_mut(&mut self) -> &mut [DesiredRole];

    fn parameters(&self) -> &Synced;

    /// Adapts `revision` to this kind.
    fn adjust(&self, _revision: &mut Revision) {}

    /// Whether the status checks are needed.
    fn needs_status_checks(&self) -> bool {
        false
    }

    /// How many instances may be missing at once and still be replaced after the grace period.
    fn max_missing(&self) -> Share;
}

impl LaunchSpec {
    fn new(workers: Workers<'_>, resolution: &Resolution) -> Result<Self, Unrenderable> {
        Ok(Self {
            revision: Revision::new(workers, resolution)?,
            places: resolution.places(workers.template.placement),
            image: resolution.image.clone(),
            launch_template_version: resolution.base.as_ref().map(|base| base.version),
        })
    }
}

impl<R> LaunchSpec<R> {
    /// The same, with another form of its revision.
    fn with<T>(&self, revision: T) -> LaunchSpec<T> {
        let (places, image) = (self.places.clone(), self.image.clone());
        LaunchSpec { revision, places, image, launch_template_version: self.launch_template_version }
    }
}

/// The current resolution of a role's template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// The last result for the same template. `None` if it did not resolve since this process started.
    pub launch_spec: Option<LaunchSpec>,
    /// Why it does not resolve now. Until it does, nothing is launched, and no update replaces workers.
    pub unresolved: Option<Unresolved>,
    /// An object in Kubernetes has been missing for so long that somebody must create it.
    pub overdue: bool,
}

impl Resolved {
    /// The launch spec to use, if launches are possible.
    pub fn usable(&self) -> Option<&LaunchSpec> {
        self.launch_spec.as_ref().filter(|_| self.unresolved.is_none())
    }

    /// Whether somebody must change something before anything can be launched.
    pub fn stalls(&self) -> bool {
        self.unresolved.as_ref().is_some_and(|unresolved| unresolved.stalls() || self.overdue)
    }

    /// Forgets the cached image after a launch was refused because of it.
    pub fn doubt(&self, ctx: &Context, session: &Session, feedback: &LaunchFeedback) {
        let Some(launch_spec) = &self.launch_spec else { return };
        let refusal = feedback.refusals.get(&launch_spec.revision.name);
        if refusal.is_some_and(|refusal| refusal.cause.is_about_image()) {
            ctx.lookups.doubt(session, &launch_spec.image.id);
        }
    }

    /// The image that was found or, without one, that is in use.
    pub fn image(&self) -> Option<&Image> {
        let found = self.unresolved.as_ref().and_then(|unresolved| unresolved.image.as_ref());
        found.or_else(|| self.launch_spec.as_ref().map(|launch_spec| &launch_spec.image))
    }
}

/// The places and revisions of all roles that have a launch spec.
#[derive(Debug)]
pub struct LaunchSpecs<'a> {
    pub places: Vec<&'a Places>,
    pub revisions: BTreeSet<String>,
}

impl<'a> LaunchSpecs<'a> {
    pub fn of(roles: &'a [DesiredRole]) -> Self {
        let all = roles.iter().filter_map(|role| role.resolved.launch_spec.as_ref());
        Self {
            places: all.clone().map(|launch_spec| &launch_spec.places).collect(),
            revisions: all.map(|launch_spec| launch_spec.revision.name.clone()).collect(),
        }
    }
}

/// The last launch spec of a role, and since when its template does not resolve.
#[derive(Debug, Default)]
pub struct Remembered {
    /// With the name of its revision only: the stored revisions have the content. Boxed, because a map allocates room
    /// for eleven entries at once.
    last: Option<Box<LaunchSpec<String>>>,
    unresolved_since: Option<Instant>,
}

/// Resolves and renders the template of a role. Answers of AWS from before `not_before` are not used.
pub async fn resolved(
    ctx: &Context,
    (session, permits): (&Session, &Permits<'_>),
    workers: Workers<'_>,
    not_before: Option<Instant>,
    (remembered, zones): (&mut BTreeMap<Role, Remembered>, &mut BTreeMap<SubnetId, Zone>),
    revisions: &Revisions,
) -> Resolved {
    let Workers { role, template, .. } = workers;
    let resolution = resolve(ctx, session, permits, template, not_before).await;
    let now = ctx.clock.monotonic();
    let remembered = remembered.entry(role.clone()).or_default();
    let unresolved = match resolution.map(|resolution| (LaunchSpec::new(workers, &resolution), resolution)) {
        Ok((Ok(launch_spec), resolution)) => {
            remembered.last = Some(Box::new(launch_spec.with(launch_spec.revision.name.clone())));
            remembered.unresolved_since = None;
            zones.extend(resolution.zones);
            return Resolved { launch_spec: Some(launch_spec), ..Resolved::default() };
        }
        Ok((Err(error), Resolution { image, .. })) => {
            Unresolved { field: Field::UserData, why: Why::Unrenderable(error), image: Some(image) }
        }
        Err(unresolved) => unresolved,
    };
    let since = *remembered.unresolved_since.get_or_insert(now);
    let late = now.saturating_duration_since(since) >= ctx.config.timings.reference_grace;
    let overdue = late && matches!(unresolved.why, Why::Kubernetes(_));
    // None if it was of another template, or if its revision was never stored.
    let stored = |last: &LaunchSpec<String>| Some(last.with(revisions.revision(&last.revision, template)?));
    let launch_spec = remembered.last.as_deref().and_then(stored);
    Resolved { launch_spec, unresolved: Some(unresolved), overdue }
}
