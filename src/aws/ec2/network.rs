//! Subnets and security groups.

use std::collections::BTreeMap;

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

impl Ec2 {
    /// The subnets with these ids.
    pub async fn subnets(&self, ids: &[SubnetId]) -> Result<Vec<SubnetRow>, Error> {
        let ids = ids.iter().map(ToString::to_string).collect();
        let answer = self.client.describe_subnets().set_subnet_ids(Some(ids)).send().await;
        answer.map_err(|e| Error::from_sdk(SUBNETS, &e))?.subnets().iter().map(subnet).collect()
    }

    /// The subnets that have all of `tags`.
    pub async fn subnets_by_tags(&self, tags: &BTreeMap<String, String>) -> Result<Vec<SubnetRow>, Error> {
        self.describe_subnets(tag_filters(tags).collect()).await
    }

    /// The default subnets of the region.
    pub async fn default_subnets(&self) -> Result<Vec<SubnetRow>, Error> {
        self.describe_subnets(vec![Filter::builder().name("default-for-az").values("true").build()]).await
    }

    async fn describe_subnets(&self, filters: Vec<Filter>) -> Result<Vec<SubnetRow>, Error> {
        let mut pages = self.client.describe_subnets().set_filters(Some(filters)).into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            for row in page.map_err(|e| Error::from_sdk(SUBNETS, &e))?.subnets() {
                found.push(subnet(row)?);
            }
        }
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
        let mut pages = self.client.describe_security_groups().set_filters(Some(filters)).into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            for row in page.map_err(|e| Error::from_sdk(GROUPS, &e))?.security_groups() {
                let id = SecurityGroupId::try_from(row.group_id().unwrap_or_default());
                found.push(id.map_err(|error| Error::garbled(GROUPS, error))?);
            }
        }
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
