//! What the world adds to a template: ids for what it only describes.

mod cache;
mod image;
mod unresolved;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;

pub use self::{
    cache::Resolver,
    unresolved::{Field, Unresolved, Why},
};
use self::{
    cache::{Inquiry, SubnetQuery},
    image::{choose, usable},
};
use crate::{
    aws::{
        Error, Session,
        ec2::{InterfaceRow, SubnetRow, TemplateRow},
    },
    context::Context,
    ids::{ImageId, InstanceType, InvalidId, LaunchTemplateId, ParameterName, SecurityGroupId, SubnetId, VpcId, Zone},
    reconcile::Chain,
    workers::{
        pools::Places,
        template::{Ami, CapacityType, ConfigMapKeyRef, Placement, SecurityGroups, Subnets, UserData, WorkerTemplate},
    },
};

/// EC2 takes at most this many groups an interface, unless the account's quota was raised.
const MAX_GROUPS: usize = 16;
/// What a template may name one by one; subnets that are found by tags are held to it too.
const MAX_SUBNETS: usize = 32;
/// So many things are named in a message.
const NAMED: usize = 5;

/// What a template comes to in one account and region, at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    pub image: Image,
    pub base: Option<Base>,
    pub instance_types: Vec<InstanceType>,
    pub subnets: Vec<SubnetId>,
    /// The zones of the subnets, as far as they were asked for on the way.
    pub zones: BTreeMap<SubnetId, Zone>,
    pub security_groups: Vec<SecurityGroupId>,
    /// What the worker runs at its first boot; not what the launch template has there.
    pub user_data: Option<String>,
}

/// A machine image as EC2 shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub id: ImageId,
    pub name: Option<String>,
    /// Its owner advises against it. It can still be launched.
    pub deprecated: bool,
}

/// A version of a launch template that requests are laid over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    pub id: LaunchTemplateId,
    pub version: i64,
    /// Its first network interface, where it has any.
    pub interface: Option<InterfaceRow>,
    /// Its user data, where that is text.
    pub user_data: Option<String>,
}

impl Resolution {
    /// What a template comes to that names all by id.
    ///
    /// # Errors
    /// For one that does not, and for ids that the schema would have refused.
    pub fn of_ids(template: &WorkerTemplate) -> Result<Self, InvalidId> {
        let id = template.ami.as_ref().and_then(|ami| ami.id.as_deref()).unwrap_or_default();
        let groups = template.security_groups.as_ref().map_or(&[][..], |groups| &groups.ids);
        Ok(Self {
            image: Image { id: ImageId::try_from(id)?, name: None, deprecated: false },
            base: None,
            instance_types: distinct(&template.instance_types)?,
            subnets: distinct(template.subnets.as_ref().map_or(&[][..], |subnets| &subnets.ids))?,
            zones: BTreeMap::new(),
            security_groups: distinct(groups)?,
            user_data: template.user_data.as_ref().and_then(|data| data.inline.clone()),
        })
    }

    /// What may be launched where.
    pub fn places(&self, placement: Option<Placement>) -> Places {
        // With one subnet there is nothing to spread over, and no need to ask for its zone.
        let placement = if self.subnets.len() == 1 { Placement::Ordered } else { placement.unwrap_or_default() };
        Places { instance_types: self.instance_types.clone(), subnets: self.subnets.clone(), placement }
    }
}

/// Finds out what `template` comes to for an object in `namespace`. What others asked within the last period is taken
/// from them, unless it was before `not_before`.
///
/// # Errors
/// What it cannot be made into, with what to change. Nothing may be launched then.
pub async fn resolve(
    ctx: &Context,
    session: &Session,
    namespace: &str,
    template: &WorkerTemplate,
    not_before: Option<Instant>,
) -> Result<Resolution, Unresolved> {
    let asker = Asker { ctx, session, inquiry: ctx.resolver.inquire(session, not_before) };
    let base =
        asker.base(template).await.map_err(|why| Unresolved { field: Field::LaunchTemplate, why, image: None })?;
    let image = match &template.ami {
        Some(ami) => asker.image(ami).await.map_err(|why| Unresolved { field: Field::Ami, why, image: None })?,
        None => asker.image_of(base.as_ref()).await?,
    };
    let found = Some(image.clone());
    let failed = |field| {
        let image = found.clone();
        move |why| Unresolved { field, why, image }
    };
    let instance_types = instance_types(template, base.as_ref()).map_err(failed(Field::InstanceTypes))?;
    check_capacity_type(template, base.as_ref()).map_err(failed(Field::CapacityType))?;
    let subnets = asker.subnets(template.subnets.as_ref(), base.as_ref()).await.map_err(failed(Field::Subnets))?;
    let groups = template.security_groups.as_ref();
    let security_groups = asker.groups(groups, &subnets).await.map_err(failed(Field::SecurityGroups))?;
    let data = template.user_data.as_ref();
    let user_data = asker.user_data(namespace, data).await.map_err(failed(Field::UserData))?;
    Ok(Resolution {
        image,
        base: base.map(|row| Base {
            id: row.id,
            version: row.version,
            interface: row.interface,
            user_data: row.user_data,
        }),
        instance_types,
        subnets: subnets.ids,
        zones: subnets.zones,
        security_groups,
        user_data,
    })
}

fn instance_types(template: &WorkerTemplate, base: Option<&TemplateRow>) -> Result<Vec<InstanceType>, Why> {
    if !template.instance_types.is_empty() {
        return distinct(&template.instance_types).map_err(invalid);
    }
    base.and_then(|base| base.instance_type.clone()).map(|kind| vec![kind]).ok_or_else(|| {
        Why::Nothing(
            "the launch template names no instance type: add spec.template.instanceTypes, like [m6i.large]".into(),
        )
    })
}

/// EC2 has no word for On-Demand that a request could lay over a template's Spot.
fn check_capacity_type(template: &WorkerTemplate, base: Option<&TemplateRow>) -> Result<(), Why> {
    match (template.capacity_type, base) {
        (Some(CapacityType::OnDemand), Some(base)) if base.spot => Err(Why::Nothing(format!(
            "version {} of the launch template asks for Spot, and a request cannot undo that: name a version without \
             market options, or leave capacityType out",
            base.version
        ))),
        (Some(CapacityType::OnDemand | CapacityType::Spot) | None, _) => Ok(()),
    }
}

/// Subnets, and what was learned of them on the way.
#[derive(Debug, Default)]
struct Found {
    ids: Vec<SubnetId>,
    zones: BTreeMap<SubnetId, Zone>,
    vpc: Option<VpcId>,
}

/// The zones that `subnets` are in. All that ask for the same share the answer.
pub async fn zones(
    ctx: &Context,
    session: &Session,
    subnets: BTreeSet<SubnetId>,
) -> Result<BTreeMap<SubnetId, Zone>, Error> {
    let rows = ctx.resolver.inquire(session, None).subnets(SubnetQuery::Ids(subnets)).await?;
    Ok(rows.iter().map(|row| (row.id.clone(), row.zone.clone())).collect())
}

impl Found {
    fn rows(rows: &[SubnetRow]) -> Self {
        Self {
            ids: rows.iter().map(|row| row.id.clone()).collect(),
            zones: rows.iter().map(|row| (row.id.clone(), row.zone.clone())).collect(),
            vpc: rows.first().map(|row| row.vpc.clone()),
        }
    }
}

struct Asker<'a> {
    ctx: &'a Context,
    session: &'a Session,
    inquiry: Inquiry<'a>,
}

impl Asker<'_> {
    async fn base(&self, template: &WorkerTemplate) -> Result<Option<TemplateRow>, Why> {
        match &template.launch_template {
            Some(wanted) => Ok(Some(self.inquiry.launch_template(wanted).await.map_err(Why::Aws)?)),
            None => Ok(None),
        }
    }

    async fn image(&self, ami: &Ami) -> Result<Image, Why> {
        let now = self.ctx.clock.now();
        if let Some(selector) = &ami.selector {
            let rows = self.inquiry.images(selector).await.map_err(Why::Aws)?;
            return choose(selector, &self.session.account, &rows, now);
        }
        let id = match (&ami.id, &ami.ssm_parameter) {
            (Some(id), _) => ImageId::try_from(id.as_str()).map_err(invalid)?,
            (None, Some(name)) => self.parameter(name).await?,
            (None, None) => return Err(Why::Nothing("set id, ssmParameter or selector".into())),
        };
        usable(&self.inquiry.image(&id).await.map_err(Why::Aws)?, now)
    }

    async fn parameter(&self, name: &str) -> Result<ImageId, Why> {
        let parameter = ParameterName::try_from(name).map_err(invalid)?;
        let value = self.inquiry.parameter(&parameter).await.map_err(Why::Aws)?;
        // Not with the value: it may be a secret that was named by mistake.
        ImageId::try_from(value.trim()).map_err(|_| {
            Why::Nothing(format!(
                "the value of the parameter {name} is not the id of an image: write one there, like \
                                  ami-0123456789abcdef0, or name another parameter"
            ))
        })
    }

    async fn image_of(&self, base: Option<&TemplateRow>) -> Result<Image, Unresolved> {
        let failed = |field, why| Unresolved { field, why, image: None };
        let Some(id) = base.and_then(|base| base.image.as_ref()) else {
            let message = "neither the template nor its launch template names an image: add spec.template.ami";
            return Err(failed(Field::Ami, Why::Nothing(message.into())));
        };
        let row = self.inquiry.image(id).await;
        let row = row.map_err(|error| failed(Field::LaunchTemplate, Why::Aws(error)))?;
        usable(&row, self.ctx.clock.now()).map_err(|why| failed(Field::LaunchTemplate, why))
    }

    async fn subnets(&self, subnets: Option<&Subnets>, base: Option<&TemplateRow>) -> Result<Found, Why> {
        match subnets {
            Some(Subnets { tags: Some(tags), .. }) => {
                let query = SubnetQuery::Tags(tags.clone());
                let rows = self.inquiry.subnets(query).await.map_err(Why::Aws)?;
                of_one_vpc(tags, &rows)
            }
            Some(Subnets { ids, tags: None }) => Ok(Found { ids: distinct(ids).map_err(invalid)?, ..Found::default() }),
            None => self.subnets_of(base).await,
        }
    }

    /// The launch template's, or those that EC2 would take where nobody says any.
    async fn subnets_of(&self, base: Option<&TemplateRow>) -> Result<Found, Why> {
        let interface = base.and_then(|base| base.interface.as_ref());
        if let Some(subnet) = interface.and_then(|interface| interface.subnet.clone()) {
            return Ok(Found { ids: vec![subnet], ..Found::default() });
        }
        let rows = self.inquiry.subnets(SubnetQuery::Default).await.map_err(Why::Aws)?;
        let zone = base.and_then(|base| base.zone.as_ref());
        let rows: Vec<_> = rows.iter().filter(|row| zone.is_none_or(|zone| *zone == row.zone)).cloned().collect();
        if rows.is_empty() {
            let message = "the launch template has no subnet, and the region no default one: add spec.template.subnets";
            return Err(Why::Nothing(message.into()));
        }
        Ok(Found::rows(&rows))
    }

    async fn groups(&self, groups: Option<&SecurityGroups>, subnets: &Found) -> Result<Vec<SecurityGroupId>, Why> {
        let (ids, tags) = match groups {
            None => return Ok(Vec::new()),
            Some(SecurityGroups { ids, tags }) => (ids, tags),
        };
        let Some(tags) = tags else { return distinct(ids).map_err(invalid) };
        let vpc = match &subnets.vpc {
            Some(vpc) => vpc.clone(),
            None => self.vpc(&subnets.ids).await?,
        };
        let found = self.inquiry.security_groups(&vpc, tags).await.map_err(Why::Aws)?;
        let marks = marks(tags);
        match found.len() {
            0 => Err(Why::Nothing(format!(
                "no security group of {vpc} has the tags {marks}: tag one, or change spec.template.securityGroups"
            ))),
            1..=MAX_GROUPS => Ok(found),
            many => Err(Why::Nothing(format!(
                "{many} security groups of {vpc} have the tags {marks}, and EC2 takes at most {MAX_GROUPS}: add a tag that \
                 fewer have"
            ))),
        }
    }

    async fn vpc(&self, subnets: &[SubnetId]) -> Result<VpcId, Why> {
        let query = SubnetQuery::Ids(subnets.iter().cloned().collect::<BTreeSet<_>>());
        let rows = self.inquiry.subnets(query).await.map_err(Why::Aws)?;
        Ok(one_vpc(&rows)?.clone())
    }

    async fn user_data(&self, namespace: &str, data: Option<&UserData>) -> Result<Option<String>, Why> {
        match data {
            None => Ok(None),
            Some(UserData { config_map_key_ref: Some(entry), .. }) => Ok(Some(self.entry(namespace, entry).await?)),
            Some(UserData { inline, config_map_key_ref: None }) => Ok(inline.clone()),
        }
    }

    async fn entry(&self, namespace: &str, ConfigMapKeyRef { name, key }: &ConfigMapKeyRef) -> Result<String, Why> {
        let api: Api<ConfigMap> = Api::namespaced(self.ctx.kube.clone(), namespace);
        let found = self.ctx.kube_call(&format!("read the ConfigMap {name}"), api.get_opt(name)).await;
        let found = found.map_err(|error| Why::Kubernetes(Chain(&error).to_string()))?;
        let Some(found) = found else {
            return Err(Why::Kubernetes(format!("the ConfigMap {name} does not exist: create it, or name another")));
        };
        found.data.unwrap_or_default().remove(key).ok_or_else(|| {
            Why::Kubernetes(format!("the ConfigMap {name} has no key {key} in its data: add it, or name another"))
        })
    }
}

fn of_one_vpc(tags: &BTreeMap<String, String>, rows: &[SubnetRow]) -> Result<Found, Why> {
    let marks = marks(tags);
    if rows.is_empty() {
        return Err(Why::Nothing(format!(
            "no subnet has the tags {marks}: tag the subnets to launch into, or change spec.template.subnets"
        )));
    }
    one_vpc(rows)?;
    if rows.len() > MAX_SUBNETS {
        let many = rows.len();
        return Err(Why::Nothing(format!(
            "{many} subnets have the tags {marks}, and muster takes at most {MAX_SUBNETS}: add a tag that fewer have"
        )));
    }
    Ok(Found::rows(rows))
}

fn one_vpc(rows: &[SubnetRow]) -> Result<&VpcId, Why> {
    let vpcs: BTreeSet<_> = rows.iter().map(|row| &row.vpc).collect();
    match vpcs.len() {
        1 => Ok(&rows[0].vpc),
        _ => {
            let named: Vec<_> = vpcs.iter().take(NAMED).map(|vpc| vpc.as_str()).collect();
            Err(Why::Nothing(format!(
                "the subnets are of several VPCs ({}): take those of one, for example with a further tag",
                named.join(", ")
            )))
        }
    }
}

/// Tags as a person reads them.
fn marks(tags: &BTreeMap<String, String>) -> String {
    tags.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ")
}

fn invalid(error: InvalidId) -> Why {
    Why::Nothing(error.to_string())
}

/// In the order given, each once.
fn distinct<'a, T>(texts: &'a [String]) -> Result<Vec<T>, InvalidId>
where
    T: PartialEq + TryFrom<&'a str, Error = InvalidId>,
{
    let mut parsed: Vec<T> = Vec::new();
    for text in texts {
        let value = T::try_from(text)?;
        if !parsed.contains(&value) {
            parsed.push(value);
        }
    }
    Ok(parsed)
}
