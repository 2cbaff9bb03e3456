//! DescribeSecurityGroups

use super::call::{Ec2Call, Operation};
use super::filter::{self, Filters};
use super::page::Page;
use crate::error::ApiError;
use crate::protocol::xml::Xml;
use crate::state::ec2::network::SecurityGroup;
use crate::state::ec2::{ids, tags};
use crate::state::throttle::NON_MUTATING;

pub(super) const OPERATION: Operation = Operation { name: "DescribeSecurityGroups", requests: NON_MUTATING, run };

const FILTERS: &[&str] = &["description", "group-id", "group-name", "owner-id", "tag-key", "vpc-id"];

fn run(call: &Ec2Call<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let ids = root.list("GroupId");
    let names = root.list("GroupName");
    let filters = Filters::read(&root, FILTERS)?;
    let page = Page::read(&root)?;
    let dry_run = call.finish()?;
    dry_run.end()?;
    let (account, region) = (&call.caller.id.account, &call.caller.region);
    call.with(|world| {
        let estate = world.estate(account, region, call.now);
        if let Some(missing) = ids.iter().find(|id| !estate.security_groups.contains_key(**id)) {
            return Err(ids::group_not_found(missing));
        }
        // Names alone mean groups of the default VPC.
        let default_vpc = estate.default_vpc.clone();
        let named = |group: &SecurityGroup, name: &str| group.name == name && group.vpc_id == default_vpc;
        if let Some(missing) =
            names.iter().find(|name| !estate.security_groups.values().any(|group| named(group, name)))
        {
            return Err(ids::group_not_found(missing));
        }
        let rows = estate
            .security_groups
            .values()
            .filter(|group| ids.is_empty() || ids.contains(&group.id.as_str()))
            .filter(|group| names.is_empty() || names.iter().any(|name| named(group, name)))
            .filter(|group| {
                filters.match_row(|name| match name {
                    "owner-id" => vec![account.to_string()],
                    name => values(group, name),
                })
            });
        let (rows, next) = page.cut(rows.map(|group| (group.id.clone(), group)));
        let mut xml = Xml::default();
        xml.list("securityGroupInfo", rows, |xml, group| {
            xml.text("groupId", &group.id);
            xml.text("groupName", &group.name);
            xml.text("groupDescription", &group.description);
            xml.text("ownerId", account);
            xml.text("vpcId", &group.vpc_id);
            xml.text("securityGroupArn", format!("arn:aws:ec2:{region}:{account}:security-group/{}", group.id));
            xml.list("ipPermissions", [group], |xml, group| {
                xml.text("ipProtocol", "-1");
                xml.list("groups", [group], |xml, group| {
                    xml.text("groupId", &group.id);
                    xml.text("userId", account);
                });
            });
            xml.list("ipPermissionsEgress", [()], |xml, ()| {
                xml.text("ipProtocol", "-1");
                xml.list("ipRanges", [()], |xml, ()| xml.text("cidrIp", "0.0.0.0/0"));
            });
            tags::write(xml, &group.tags);
        });
        xml.option("nextToken", next);
        Ok(xml)
    })
}

fn values(group: &SecurityGroup, filter: &str) -> Vec<String> {
    match filter {
        "description" => vec![group.description.clone()],
        "group-id" => vec![group.id.clone()],
        "group-name" => vec![group.name.clone()],
        "vpc-id" => vec![group.vpc_id.clone()],
        tags => filter::tag_values(&group.tags, tags),
    }
}
