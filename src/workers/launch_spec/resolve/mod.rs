//! Resolves a template: finds the ids of what it only describes.

mod image;
pub mod resolution;
pub mod unresolved;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;

use crate::{
    access::{Claim, Permits, grants::Found},
    aws::{
        Error, Session,
        ec2::{SubnetRow, TemplateRow},
    },
    crd::template::{Ami, CapacityType, ConfigMapKeyRef, SecurityGroups, Subnets, UserData, WorkerTemplate},
    error_chain::Chain,
    ids::{ImageId, InstanceType, ParameterName, SecurityGroupId, SubnetId, VpcId, Zone, list},
    inventory::lookups::{Inquiry, SubnetQuery},
    reconcile::context::Context,
    workers::launch_spec::resolve::{
        resolution::{Base, Image, Resolution, distinct},
        unresolved::{Field, NAMED, Unresolved, Why, marks},
    },
};

/// How many groups EC2 takes per interface. An account may have a higher quota.
const MAX_GROUPS: usize = 16;
/// How many subnets a template may name. The limit holds for subnets that are found by tags too.
const MAX_SUBNETS: usize = 32;

/// Resolves `template` for an object in the namespace of `permits`, which must cover what it resolves to. Answers that
/// other objects got within the last period are reused, unless they are older than `not_before`.
pub async fn resolve(
    ctx: &Context,
    session: &Session,
    permits: &Permits<'_>,
    template: &WorkerTemplate,
    not_before: Option<Instant>,
) -> Result<Resolution, Unresolved> {
    let asker = Asker { ctx, permits, inquiry: ctx.lookups.inquire(session, not_before) };
    let failed = |field| move |why| Unresolved { field, why, image: None };
    let base = asker.base(template).await.map_err(failed(Field::LaunchTemplate))?;
    let image = match (&template.ami, base.as_ref().and_then(|base| base.image.as_ref())) {
        (Some(ami), _) => asker.image(ami).await.map_err(failed(Field::Ami))?,
        (None, Some(id)) => asker.image_by_id(id).await.map_err(failed(Field::LaunchTemplate))?,
        (None, None) => {
            let message = "neither the template nor its launch template has an image: add spec.template.ami";
            return Err(failed(Field::Ami)(Why::Nothing(message.into())));
        }
    };
    let failed = |field| {
        let image = Some(image.clone());
        move |why| Unresolved { field, why, image }
    };
    let instance_types = instance_types(template, base.as_ref()).map_err(failed(Field::InstanceTypes))?;
    check_capacity_type(template, base.as_ref()).map_err(failed(Field::CapacityType))?;
    let subnets = asker.subnets(template.subnets.as_ref(), base.as_ref()).await.map_err(failed(Field::Subnets))?;
    let groups = template.security_groups.as_ref();
    let security_groups = asker.groups(groups, &subnets).await.map_err(failed(Field::SecurityGroups))?;
    let data = template.user_data.as_ref();
    let user_data = asker.user_data(permits.namespace.name, data).await.map_err(failed(Field::UserData))?;
    Ok(Resolution {
        image,
        base: base.map(|row| Base {
            id: row.id,
            version: row.version,
            interface: row.interface,
            has_user_data: row.has_user_data,
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
        return Ok(distinct(&template.instance_types)?);
    }
    base.and_then(|base| base.instance_type.clone()).map(|kind| vec![kind]).ok_or_else(|| {
        Why::Nothing(
            "the launch template names no instance type: add spec.template.instanceTypes, like [m6i.large]".into(),
        )
    })
}

/// A request cannot override the Spot option of a launch template with On-Demand.
fn check_capacity_type(template: &WorkerTemplate, base: Option<&TemplateRow>) -> Result<(), Why> {
    match (template.capacity_type, base) {
        (Some(CapacityType::OnDemand), Some(base)) if base.spot => Err(Why::Nothing(format!(
            "version {} of the launch template requests Spot instances, which a request cannot override: use a \
             version without market options, or remove capacityType",
            base.version
        ))),
        (Some(CapacityType::OnDemand | CapacityType::Spot) | None, _) => Ok(()),
    }
}

/// Subnets, and what is already known of them.
#[derive(Debug, Default)]
struct FoundSubnets {
    ids: Vec<SubnetId>,
    zones: BTreeMap<SubnetId, Zone>,
    vpc: Option<VpcId>,
}

/// The zones of `subnets`. Objects that ask for the same subnets share the answer.
pub async fn zones(
    ctx: &Context,
    session: &Session,
    subnets: BTreeSet<SubnetId>,
) -> Result<BTreeMap<SubnetId, Zone>, Error> {
    let rows = ctx.lookups.inquire(session, None).subnets(SubnetQuery::Ids(subnets)).await?;
    Ok(FoundSubnets::rows(&rows).zones)
}

impl FoundSubnets {
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
    permits: &'a Permits<'a>,
    inquiry: Inquiry<'a>,
}

impl Asker<'_> {
    async fn base(&self, template: &WorkerTemplate) -> Result<Option<TemplateRow>, Why> {
        let Some(wanted) = &template.launch_template else { return Ok(None) };
        let row = self.inquiry.launch_template(wanted).await?;
        let claim = Claim::ResolvedTemplate { id: row.id.clone(), name: row.name.clone() };
        self.permits.check(&[claim]).map_err(Why::NotGranted)?;
        Ok(Some(row))
    }

    async fn image(&self, ami: &Ami) -> Result<Image, Why> {
        if let Some(selector) = &ami.selector {
            let now = self.ctx.clock.now();
            return image::choose(selector, self.inquiry.newest_images(selector, Duration::ZERO).await?, now);
        }
        let id = match (&ami.id, &ami.ssm_parameter) {
            (Some(id), _) => ImageId::try_from(id.as_str())?,
            (None, Some(name)) => self.parameter(name).await?,
            (None, None) => return Err(Why::Nothing("set id, ssmParameter or selector".into())),
        };
        self.image_by_id(&id).await
    }

    async fn image_by_id(&self, id: &ImageId) -> Result<Image, Why> {
        image::usable(&self.inquiry.image(id).await?, self.ctx.clock.now())
    }

    async fn parameter(&self, name: &str) -> Result<ImageId, Why> {
        let parameter = ParameterName::try_from(name)?;
        let value = self.inquiry.parameter(&parameter, false).await?;
        // Without the value: it may be a secret that was named by mistake.
        ImageId::try_from(value.trim()).map_err(|_| {
            Why::Nothing(format!(
                "the value of the parameter {name} is not the id of an image: set it to one, like \
                 ami-0123456789abcdef0, or use another parameter"
            ))
        })
    }

    async fn subnets(&self, subnets: Option<&Subnets>, base: Option<&TemplateRow>) -> Result<FoundSubnets, Why> {
        match subnets {
            Some(Subnets { tags: Some(tags), .. }) => {
                let rows = self.inquiry.subnets(SubnetQuery::Tags(tags.clone())).await?;
                self.check_subnets(&rows)?;
                of_one_vpc(tags, &rows)
            }
            Some(Subnets { ids, tags: None }) => Ok(FoundSubnets { ids: distinct(ids)?, ..FoundSubnets::default() }),
            None => self.subnets_of(base).await,
        }
    }

    /// The subnet of the launch template or, without one, the default subnets.
    async fn subnets_of(&self, base: Option<&TemplateRow>) -> Result<FoundSubnets, Why> {
        let interface = base.and_then(|base| base.interface.as_ref());
        if let Some(subnet) = interface.and_then(|interface| interface.subnet.clone()) {
            return Ok(FoundSubnets { ids: vec![subnet], ..FoundSubnets::default() });
        }
        let rows = self.inquiry.subnets(SubnetQuery::Default).await?;
        let zone = base.and_then(|base| base.zone.as_ref());
        let rows: Vec<_> = rows.iter().filter(|row| zone.is_none_or(|zone| *zone == row.zone)).cloned().collect();
        self.check_subnets(&rows)?;
        if rows.is_empty() {
            let message = "neither the launch template nor the region has a default subnet: add spec.template.subnets";
            return Err(Why::Nothing(message.into()));
        }
        Ok(FoundSubnets::rows(&rows))
    }

    fn check_subnets(&self, rows: &[SubnetRow]) -> Result<(), Why> {
        let claims: Vec<_> = rows.iter().map(|row| Claim::Subnet(row.id.to_string())).collect();
        self.permits.check_found(Found::Subnets, &claims).map_err(Why::NotGranted)
    }

    async fn groups(
        &self,
        groups: Option<&SecurityGroups>,
        subnets: &FoundSubnets,
    ) -> Result<Vec<SecurityGroupId>, Why> {
        let Some(SecurityGroups { ids, tags }) = groups else { return Ok(Vec::new()) };
        let Some(tags) = tags else { return Ok(distinct(ids)?) };
        let vpc = match &subnets.vpc {
            Some(vpc) => vpc.clone(),
            None => {
                let query = SubnetQuery::Ids(subnets.ids.iter().cloned().collect());
                one_vpc(&self.inquiry.subnets(query).await?)?.clone()
            }
        };
        let found = self.inquiry.security_groups(&vpc, tags).await?;
        let claims: Vec<_> = found.iter().map(|id| Claim::SecurityGroup(id.to_string())).collect();
        self.permits.check_found(Found::SecurityGroups, &claims).map_err(Why::NotGranted)?;
        let marks = marks(tags);
        match found.len() {
            0 => Err(Why::Nothing(format!(
                "no security group of {vpc} has the tags {marks}: tag one, or change spec.template.securityGroups"
            ))),
            1..=MAX_GROUPS => Ok(found),
            many => Err(Why::Nothing(format!(
                "{many} security groups of {vpc} have the tags {marks}, and EC2 takes at most {MAX_GROUPS}: add a tag \
                 that fewer have"
            ))),
        }
    }

    async fn user_data(&self, namespace: &str, data: Option<&UserData>) -> Result<Option<String>, Why> {
        match data {
            None => Ok(None),
            Some(UserData { config_map_key_ref: Some(entry), .. }) => Ok(Some(self.entry(namespace, entry).await?)),
            Some(UserData { inline, config_map_key_ref: None }) => Ok(inline.clone()),
        }
    }

    async fn entry(&self, namespace: &str, ConfigMapKeyRef { name, key }: &ConfigMapKeyRef) -> Result<String, Why> {
        let api: Api<ConfigMap> = Api::namespaced(self.ctx.cluster.client.clone(), namespace);
        let found =
            self.ctx.cluster.find(&api, name).await.map_err(|error| Why::Kubernetes(Chain(&error).to_string()))?;
        let Some(found) = found else {
            return Err(Why::Kubernetes(format!("the ConfigMap {name} does not exist: create it, or use another")));
        };
        found.data.unwrap_or_default().remove(key).ok_or_else(|| {
            Why::Kubernetes(format!("the ConfigMap {name} has no key {key} in its data: add it, or use another"))
        })
    }
}

fn of_one_vpc(tags: &BTreeMap<String, String>, rows: &[SubnetRow]) -> Result<FoundSubnets, Why> {
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
    Ok(FoundSubnets::rows(rows))
}

fn one_vpc(rows: &[SubnetRow]) -> Result<&VpcId, Why> {
    let vpcs: BTreeSet<_> = rows.iter().map(|row| &row.vpc).collect();
    if vpcs.len() == 1 {
        return Ok(&rows[0].vpc);
    }
    let named = list(vpcs.into_iter(), NAMED);
    let message =
        format!("the subnets are in several VPCs ({named}): select those of one, for example with another tag");
    Err(Why::Nothing(message))
}
