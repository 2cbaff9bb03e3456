//! What new workers of a group are launched with: its template, resolved and rendered.

use std::time::Instant;

use crate::{
    aws::Session,
    context::Context,
    ids::Role,
    workers::{
        draft::Lessons,
        memory::Memory,
        ownership::Owner,
        parameters::ParametersRef,
        pools::Places,
        request::Unrenderable,
        resolve::{Field, Image, Resolution, Unresolved, Why, resolve},
        revision::Revision,
        template::WorkerTemplate,
    },
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supply {
    pub revision: Revision,
    pub places: Places,
    pub image: Image,
    pub launch_template_version: Option<i64>,
}

/// What workers of a group are to be.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    pub owner: &'a Owner,
    pub role: &'a Role,
    pub template: &'a WorkerTemplate,
    pub parameters: Option<&'a ParametersRef>,
}

impl Supply {
    fn new(wish: Wish<'_>, resolution: &Resolution) -> Result<Self, Unrenderable> {
        let Wish { owner, role, template, parameters } = wish;
        Ok(Self {
            revision: Revision::new(owner, role, template, resolution, parameters)?,
            places: resolution.places(template.placement),
            image: resolution.image.clone(),
            launch_template_version: resolution.base.as_ref().map(|base| base.version),
        })
    }
}

/// What a group's template comes to now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Supplied {
    /// The last that the same template came to. `None`: it never did while this process ran.
    pub supply: Option<Supply>,
    /// Why it comes to nothing now. Meanwhile nothing is launched, and nothing that runs is replaced by an update.
    pub unresolved: Option<Unresolved>,
    /// Something in Kubernetes has been missing for so long that it will hardly come by itself.
    pub overdue: bool,
}

impl Supplied {
    /// Of a template that names all by id.
    #[cfg(test)]
    pub(crate) fn of_ids(owner: &Owner, role: &Role, template: &WorkerTemplate) -> Self {
        let resolution = Resolution::of_ids(template).expect("ids");
        let wish = Wish { owner, role, template, parameters: None };
        let supply = Supply::new(wish, &resolution).expect("a template that can be rendered");
        Self { supply: Some(supply), ..Self::default() }
    }

    /// What to launch with, if anything may be launched.
    pub fn usable(&self) -> Option<&Supply> {
        self.supply.as_ref().filter(|_| self.unresolved.is_none())
    }

    /// Whether somebody has to change something before anything can be launched.
    pub fn stalls(&self) -> bool {
        self.unresolved.as_ref().is_some_and(|unresolved| unresolved.stalls() || self.overdue)
    }

    /// What a launch shows about an image goes before what was known of it.
    pub fn doubt(&self, ctx: &Context, session: &Session, lessons: &Lessons) {
        let Some(supply) = &self.supply else { return };
        let refusal = lessons.refusals.get(&supply.revision.name);
        if refusal.is_some_and(|refusal| refusal.cause.code.starts_with("InvalidAMIID.")) {
            ctx.resolver.doubt(session, &supply.image.id);
        }
    }

    /// The image that is in use or was found, if one was.
    pub fn image(&self) -> Option<&Image> {
        let found = self.unresolved.as_ref().and_then(|unresolved| unresolved.image.as_ref());
        found.or_else(|| self.supply.as_ref().map(|supply| &supply.image))
    }
}

/// What an object's memory holds of it: the last template that came to something, and since when one does not.
#[derive(Debug, Default)]
pub struct Supplies {
    last: Option<(WorkerTemplate, Supply)>,
    unresolved_since: Option<Instant>,
}

/// Resolves and renders the template of one group. With `not_before`, what AWS answered before that time counts no more.
pub async fn supply(
    ctx: &Context,
    session: &Session,
    wish: Wish<'_>,
    not_before: Option<Instant>,
    memory: &mut Memory,
) -> Supplied {
    let Wish { owner, role, template, parameters: _ } = wish;
    let resolved = resolve(ctx, session, &owner.namespace, template, not_before).await;
    let now = ctx.clock.monotonic();
    let supplies = memory.supplies.entry(role.clone()).or_default();
    let unresolved = match resolved.map(|resolution| (Supply::new(wish, &resolution), resolution)) {
        Ok((Ok(supply), resolution)) => {
            supplies.last = Some((template.clone(), supply.clone()));
            supplies.unresolved_since = None;
            memory.zones.extend(resolution.zones);
            return Supplied { supply: Some(supply), ..Supplied::default() };
        }
        Ok((Err(error), resolution)) => {
            let why = Why::Unrenderable(error);
            Unresolved { field: Field::UserData, why, image: Some(resolution.image) }
        }
        Err(unresolved) => unresolved,
    };
    let since = *supplies.unresolved_since.get_or_insert(now);
    let late = now.saturating_duration_since(since) >= ctx.config.timings.reference_grace;
    let overdue = late
        && match &unresolved.why {
            Why::Kubernetes(_) => true,
            Why::Aws(_) | Why::Pending(_) | Why::Nothing(_) | Why::Unrenderable(_) => false,
        };
    let last = supplies.last.as_ref().filter(|(before, _)| before.of_workers() == template.of_workers());
    let supply = last.map(|(_, supply)| supply.clone());
    Supplied { supply, unresolved: Some(unresolved), overdue }
}
