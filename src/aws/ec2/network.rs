//! Subnets and security groups.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{Filter, Subnet};

use crate::{
    aws::{
        Error,
        ec2::{Ec2, tag_filters},
    },
    ids::{InvalidId, SecurityGroupId, SubnetId, VpcId, Zone},
};

const SUBNETS: &str = "ec2:DescribeSubnets";
const GROUPS: &str = "ec2:DescribeSecurityGroups";

/// A subnet as EC2 shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetRow {
    pub id: SubnetId,
    pub vpc: VpcId,
    pub zone: Zone,
}

/// Which subnets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SubnetQuery {
    Ids(BTreeSet<SubnetId>),
    /// Those that have all of these tags.
    Tags(BTreeMap<String, String>),
    /// The default subnets of the region.
    Default,
}

impl Ec2 {
    pub async fn subnets(&self, query: &SubnetQuery) -> Result<Vec<SubnetRow>, Error> {
        let call = self.client.describe_subnets();
        let call = match query {
            SubnetQuery::Ids(ids) => call.set_subnet_ids(Some(ids.iter().map(ToString::to_string).collect())),
            SubnetQuery::Tags(tags) => call.set_filters(Some(tag_filters(tags).collect())),
            SubnetQuery::Default => call.filters(Filter::builder().name("default-for-az").values("true").build()),
        };
        let rows = call.into_paginator().items().send().try_collect().await;
        let rows = rows.map_err(|e| Error::from_sdk(SUBNETS, &e))?;
        let mut found = rows.iter().map(subnet).collect::<Result<Vec<_>, _>>()?;
        // In a stable order; EC2 guarantees none.
        found.sort_by(|a, b| (&a.zone, &a.id).cmp(&(&b.zone, &b.id)));
        Ok(found)
    }

    /// The security groups of a VPC that have all of `tags`, in a fixed order.
    pub async fn security_groups_by_tags(
        &self,
        vpc: &VpcId,
        tags: &BTreeMap<String, String>,
    ) -> Result<Vec<SecurityGroupId>, Error> {
        let mut filters: Vec<_> = tag_filters(tags).collect();
        filters.push(Filter::builder().name("vpc-id").values(vpc.as_str()).build());
        let call = self.client.describe_security_groups().set_filters(Some(filters));
        let rows = call.into_paginator().items().send().try_collect().await;
        let rows = rows.map_err(|e| Error::from_sdk(GROUPS, &e))?;
        let ids = rows.iter().map(|row| SecurityGroupId::try_from(row.group_id().unwrap_or_default()));
        let mut found = ids.collect::<Result<Vec<_>, _>>().map_err(|error| Error::garbled(GROUPS, error))?;
        found.sort();
        Ok(found)
    }
}

fn subnet(row: &Subnet) -> Result<SubnetRow, Error> {
    let bad = |error: InvalidId| Error::garbled(SUBNETS, error);
    Ok(SubnetRow {
        id: SubnetId::try_from(row.subnet_id().unwrap_or_default()).map_err(bad)?,
        vpc: VpcId::try_from(row.vpc_id().unwrap_or_default()).map_err(bad)?,
        zone: Zone::try_from(row.availability_zone().unwrap_or_default()).map_err(bad)?,
    })
}
