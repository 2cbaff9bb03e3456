//! Reads what AWS shows. At rest, all objects share the sweeps of templates and groups and the look-ups of images.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use crate::{
    access::{Claim, Permits},
    aws::{
        Class, Error, Session,
        autoscaling::{AutoScaling, RefreshState, group::GroupRow},
        ec2::{
            Ec2, ImageRow,
            template_versions::{TemplateHead, VersionRow},
        },
    },
    clock::{Clock, Timings},
    condition::Reason,
    crd::launch_template_pin::{LaunchTemplatePin, PinnedTemplate},
    ids::{ImageId, LaunchTemplateId, ParameterName},
    inventory::{
        instances::{self, Sweeps},
        lookups::{Inquiry, Lookups},
    },
    k8s::{live::Live, references::References},
    kinds::launch_template_pin::{
        desired::Desired,
        memory::PinMemory,
        observed::{Group, Observed, resolve},
        plan::{
            groups::{aim, needs_refreshes},
            target::Target,
        },
    },
    reconcile::{Failure, context::Context},
};

/// How many groups one object may change.
pub(super) const MOST_GROUPS: usize = 200;

/// Where data comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    pub(super) sweeps: &'a Sweeps,
    pub(super) lookups: &'a Lookups,
    /// `None` outside of a cluster.
    pub(super) references: Option<&'a References>,
    pub(super) timings: &'a Timings,
}

impl<'a> Reader<'a> {
    pub(super) fn new(ctx: &'a Context) -> Self {
        let Context { sweeps, lookups, references, config, .. } = ctx;
        Self { sweeps, lookups, references: Some(references), timings: &config.timings }
    }
}

/// How new the data must be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Freshness {
    /// Shared data from before this is not used.
    pub(super) not_before: Instant,
    /// What the object itself is about is read by itself, for a decision.
    pub(super) own: bool,
}

/// The id of the launch template.
///
/// # Errors
/// [`Failure::Refused`] if it is another one than before, or not granted.
pub(super) async fn template_id(
    reader: &Reader<'_>,
    session: &Session,
    live: &Live<LaunchTemplatePin>,
    permits: &Permits<'_>,
    not_before: Instant,
) -> Result<LaunchTemplateId, Failure> {
    let PinnedTemplate { id, name, id_from } = &live.object().spec.launch_template;
    let invalid = |error: &dyn std::fmt::Display| Failure::InvalidSpec(format!("spec.launchTemplate: {error}"));
    let swept = reader.sweeps.templates(session, not_before).await?;
    let (reference, found) = match (id, name, id_from) {
        (Some(id), ..) => (id.clone(), swept.iter().find(|template| template.id.as_str() == id)),
        (None, Some(name), _) => (name.clone(), swept.iter().find(|template| template.name == *name)),
        (None, None, Some(from)) => {
            let parameter = ParameterName::try_from(from.ssm_parameter.as_str()).map_err(|error| invalid(&error))?;
            let value = reader.lookups.inquire(session, Some(not_before)).parameter(&parameter, true).await?;
            // The value may be a secret, so it is not shown.
            let id = LaunchTemplateId::try_from(value.trim()).map_err(|_| Failure::Missing {
                reason: Reason::TemplateUnresolved,
                message: format!(
                    "the value of parameter {} is not the id of a launch template: write an id like \
                     lt-0123456789abcdef0 there",
                    from.ssm_parameter
                ),
            })?;
            (format!("of parameter {}", from.ssm_parameter), swept.iter().find(|template| template.id == id))
        }
        (None, None, None) => return Err(invalid(&"needs id, name or idFrom")),
    };
    // Whether a launch template exists, and its other name, is told only to whom it is granted.
    let claim =
        |id: &LaunchTemplateId, name: Option<&String>| Claim::ResolvedTemplate { id: id.clone(), name: name.cloned() };
    let granted = found.filter(|head| permits.check(&[claim(&head.id, Some(&head.name))]).is_ok());
    let Some(head) = granted else {
        return Err(Failure::Refused {
            reason: Reason::TemplateUnresolved,
            message: format!(
                "launch template {reference} does not exist in this account and region, or AwsAccount {} does not grant it \
                 to this namespace: create it, name another, or add its name or id to launchTemplates of the grant for \
                 LaunchTemplatePin",
                permits.account
            ),
        });
    };
    let known = live.status().launch_template_id;
    if let Some(known) = known.filter(|known| *known != head.id.as_str()) {
        return Err(Failure::Refused {
            reason: Reason::TemplateChanged,
            message: format!(
                "the launch template was {known} and is {} now: create a LaunchTemplatePin of another name for it",
                head.id
            ),
        });
    }
    Ok(head.id.clone())
}

fn missing(template: &str) -> Failure {
    Failure::Missing {
        reason: Reason::TemplateUnresolved,
        message: format!(
            "launch template {template} does not exist in this account and region: create it, or name another"
        ),
    }
}

pub(super) async fn observe(
    reader: &Reader<'_>,
    session: &Session,
    live: &Live<LaunchTemplatePin>,
    (desired, permits, id): (&Desired, &Permits<'_>, &LaunchTemplateId),
    memory: &mut PinMemory,
    freshness: Freshness,
) -> Result<Observed, Failure> {
    let ec2 = Ec2::new(session);
    let template = head(reader, session, id, freshness).await?;
    let versions = versions(reader, &ec2, &template, memory, freshness).await?;
    let inquiry = reader.lookups.inquire(session, Some(freshness.not_before));
    let images = match &desired.ami {
        Some(ami) => Some(inquiry.newest_images(&ami.selector, ami.min_age).await?),
        None => None,
    };
    let current = live.status().current_ami.map(|image| image.id);
    let newest = images.as_ref().and_then(|images| images.available.first());
    let current = match current {
        Some(current) if newest.is_some_and(|newest| newest.id != current) => Some(image(&inquiry, &current).await?),
        Some(_) | None => None,
    };
    let groups = groups(reader, session, (desired, permits), freshness).await?;
    let swept = groups.swept.iter().flat_map(|swept| swept.values());
    let mut observed = Observed {
        of_groups: of_groups(&template, swept),
        swept: groups.swept.clone(),
        template,
        claimed_here: None,
        versions,
        images,
        current,
        groups: groups.ours,
        absent: groups.absent,
        ungranted: groups.ungranted,
        left_out: groups.left_out,
        unread_refreshes: None,
        running: None,
        of_fleets: None,
    };
    // Who uses the versions matters only if there are some to delete.
    if desired.keep.is_some_and(|keep| observed.versions.len() > keep.newest) {
        let template = &observed.template;
        let references = reader.references;
        let named = references.and_then(|all| all.launch_template_versions(template.id.as_str(), &template.name).ok());
        let named = named.map(|all| all.iter().filter_map(|version| resolve(template, version)).collect());
        observed.of_fleets = named;
        observed.running = Some(running(reader, &ec2, &observed.template.id, memory, freshness).await?);
    }
    Ok(observed)
}

/// Reads the refreshes of those groups for which they matter.
pub(super) async fn read_refreshes(
    session: &Session,
    live: &Live<LaunchTemplatePin>,
    desired: &Desired,
    observed: &mut Observed,
    target: &Target,
) -> Result<(), Failure> {
    let record = live.status();
    let auto_scaling = AutoScaling::new(session);
    let needed: Vec<String> = observed
        .groups
        .values()
        .filter(|group| {
            let (_, version) = aim(desired, observed, group.follow, target);
            needs_refreshes(desired, observed, &record, group, version)
        })
        .map(|group| group.row.name.clone())
        .collect();
    for name in needed {
        // One group must not hold up the others.
        let found = auto_scaling.refreshes(&name).await;
        let Some(group) = observed.groups.get_mut(&name) else { continue };
        match found {
            Ok(found) => group.refreshes = Some(found),
            Err(error) => group.unreadable = Some(error),
        }
    }
    Ok(())
}

async fn head(
    reader: &Reader<'_>,
    session: &Session,
    id: &LaunchTemplateId,
    freshness: Freshness,
) -> Result<TemplateHead, Failure> {
    if freshness.own {
        return Ok(Ec2::new(session).template_head(id).await?);
    }
    let swept = reader.sweeps.templates(session, freshness.not_before).await?;
    swept.iter().find(|template| template.id == *id).cloned().ok_or_else(|| missing(id.as_str()))
}

async fn versions(
    reader: &Reader<'_>,
    ec2: &Ec2,
    template: &TemplateHead,
    memory: &mut PinMemory,
    freshness: Freshness,
) -> Result<Vec<VersionRow>, Failure> {
    let of = (template.id.clone(), template.latest, template.default);
    let now = Clock.monotonic();
    if !freshness.own
        && let Some(known) = memory.versions(&of, now, reader.timings)
    {
        return Ok(known.to_vec());
    }
    let rows = ec2.template_versions(&template.id).await?;
    memory.learn_versions(of, now, rows.clone());
    Ok(rows)
}

async fn image(inquiry: &Inquiry<'_>, id: &ImageId) -> Result<Option<ImageRow>, Failure> {
    match inquiry.image(id).await {
        Ok(row) => Ok(Some(row)),
        Err(error) if error.class == Class::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

struct Groups {
    ours: BTreeMap<String, Group>,
    absent: Vec<String>,
    ungranted: usize,
    left_out: usize,
    /// All groups of the region; `None` if no group matters.
    swept: Option<Arc<instances::Groups>>,
}

async fn groups(
    reader: &Reader<'_>,
    session: &Session,
    (desired, permits): (&Desired, &Permits<'_>),
    freshness: Freshness,
) -> Result<Groups, Failure> {
    if desired.named.is_empty() && desired.selector.is_none() && desired.keep.is_none() {
        return Ok(Groups { ours: BTreeMap::new(), absent: vec![], ungranted: 0, left_out: 0, swept: None });
    }
    let swept = reader.sweeps.groups(session, freshness.not_before).await?;
    let mut rows: BTreeMap<&str, GroupRow> = BTreeMap::new();
    let (mut ungranted, mut selected) = (0, BTreeSet::new());
    // Those that the spec names come first.
    let named = desired.named.keys().filter_map(|name| swept.get_key_value(name));
    let selected_rows = swept.iter().filter(|(name, _)| !desired.named.contains_key(*name));
    let mut left_out = 0;
    for (name, row) in named.chain(selected_rows) {
        if desired.follow(row).is_none() {
            continue;
        }
        // Whoever may tag a group may tag one of others.
        if permits.check(&[Claim::AutoScalingGroup(name.clone())]).is_err() {
            ungranted += 1;
        } else if selected.len() < MOST_GROUPS {
            selected.insert(name.as_str());
            rows.insert(name, row.clone());
        } else {
            left_out += 1;
        }
    }
    if freshness.own && !selected.is_empty() {
        let names: Vec<_> = selected.iter().copied().collect();
        let now = AutoScaling::new(session).groups_named(&names).await?;
        rows = now.into_iter().filter_map(|row| Some((swept.get_key_value(&row.name)?.0.as_str(), row))).collect();
    }
    let absent = desired.named.keys().filter(|name| !swept.contains_key(*name)).cloned().collect();
    let ours = rows.into_iter().filter_map(|(name, row)| {
        let follow = desired.follow(&row)?;
        Some((name.to_owned(), Group { row, follow, refreshes: None, unreadable: None }))
    });
    Ok(Groups { ours: ours.collect(), absent, ungranted, left_out, swept: Some(swept) })
}

/// The versions that any of `groups` names, or has instances of.
pub(super) fn of_groups<'a>(template: &TemplateHead, groups: impl Iterator<Item = &'a GroupRow>) -> BTreeSet<i64> {
    let mut found = BTreeSet::new();
    for group in groups {
        let places = group.places.iter().filter(|place| place.is_of(&template.id, &template.name));
        found.extend(places.filter_map(|place| resolve(template, &place.version)));
        let members = group.instances.iter().filter_map(|member| member.template.as_ref());
        found.extend(members.filter(|(id, _)| *id == template.id).map(|(_, version)| *version));
    }
    found
}

/// The versions to which refreshes lead groups that name the launch template, also groups of others. A call for each
/// group, so only before a deletion.
pub(super) async fn moving(session: &Session, observed: &Observed) -> Result<BTreeSet<i64>, Error> {
    let Observed { template, swept, .. } = observed;
    let groups = swept.iter().flat_map(|swept| swept.values());
    let is_of = |group: &&GroupRow| group.places.iter().any(|place| place.is_of(&template.id, &template.name));
    let (auto_scaling, mut found) = (AutoScaling::new(session), BTreeSet::new());
    for group in groups.filter(is_of) {
        let refreshes = auto_scaling.refreshes(&group.name).await?;
        let active = refreshes.iter().filter(|row| matches!(row.state, RefreshState::Active | RefreshState::Ending));
        let places = active.flat_map(|row| &row.desired).filter(|place| place.is_of(&template.id, &template.name));
        found.extend(places.filter_map(|place| resolve(template, &place.version)));
    }
    Ok(found)
}

/// The versions that instances run.
async fn running(
    reader: &Reader<'_>,
    ec2: &Ec2,
    id: &LaunchTemplateId,
    memory: &mut PinMemory,
    freshness: Freshness,
) -> Result<BTreeSet<i64>, Failure> {
    let now = Clock.monotonic();
    if !freshness.own
        && let Some(known) = memory.running(now, reader.timings)
    {
        return Ok(known.clone());
    }
    let found: BTreeSet<i64> = ec2.versions_in_use(id).await?.into_iter().collect();
    memory.learn_running(now, found.clone());
    Ok(found)
}
