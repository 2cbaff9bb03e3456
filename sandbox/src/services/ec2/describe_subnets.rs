//! DescribeSubnets

use super::call::{Ec2Call, Operation};
use super::filter::{self, Filters};
use super::page::Page;
use crate::error::ApiError;
use crate::protocol::xml::Xml;
use crate::state::ec2::network::Subnet;
use crate::state::ec2::{ids, tags};
use crate::state::throttle::NON_MUTATING;

pub(super) const OPERATION: Operation = Operation { name: "DescribeSubnets", requests: NON_MUTATING, run };

const FILTERS: &[&str] = &[
    "availability-zone",
    "availabilityZone",
    "availability-zone-id",
    "availabilityZoneId",
    "available-ip-address-count",
    "cidr-block",
    "cidrBlock",
    "cidr",
    "default-for-az",
    "defaultForAz",
    "map-public-ip-on-launch",
    "owner-id",
    "state",
    "subnet-arn",
    "subnet-id",
    "tag-key",
    "vpc-id",
];

fn run(call: &Ec2Call<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let ids = root.list("SubnetId");
    let filters = Filters::read(&root, FILTERS)?;
    let page = Page::read(&root)?;
    let dry_run = call.finish()?;
    dry_run.end()?;
    let (account, region) = (&call.caller.id.account, &call.caller.region);
    let arn = |subnet: &Subnet| format!("arn:aws:ec2:{region}:{account}:subnet/{}", subnet.id);
    call.with(|world| {
        let estate = world.estate(account, region, call.now);
        if let Some(missing) = ids.iter().find(|id| !estate.subnets.contains_key(**id)) {
            return Err(ids::subnet_not_found(missing));
        }
        let rows = estate.subnets.values().filter(|subnet| ids.is_empty() || ids.contains(&subnet.id.as_str())).filter(
            |subnet| {
                filters.match_row(|name| match name {
                    "owner-id" => vec![account.to_string()],
                    "subnet-arn" => vec![arn(subnet)],
                    name => values(subnet, name),
                })
            },
        );
        let (rows, next) = page.cut(rows.map(|subnet| (subnet.id.clone(), subnet)));
        let mut xml = Xml::default();
        xml.list("subnetSet", rows, |xml, subnet| {
            xml.text("subnetId", &subnet.id);
            xml.text("subnetArn", arn(subnet));
            xml.text("state", "available");
            xml.text("ownerId", account);
            xml.text("vpcId", &subnet.vpc_id);
            xml.text("cidrBlock", subnet.cidr());
            xml.text("availableIpAddressCount", subnet.free_addresses());
            xml.text("availabilityZone", &subnet.zone);
            xml.text("availabilityZoneId", &subnet.zone_id);
            xml.text("defaultForAz", subnet.default_for_zone);
            xml.text("mapPublicIpOnLaunch", subnet.map_public_ip);
            xml.text("assignIpv6AddressOnCreation", false);
            xml.element("ipv6CidrBlockAssociationSet", |_| {});
            tags::write(xml, &subnet.tags);
        });
        xml.option("nextToken", next);
        Ok(xml)
    })
}

fn values(subnet: &Subnet, filter: &str) -> Vec<String> {
    let one = |value: &dyn ToString| vec![value.to_string()];
    match filter {
        "availability-zone" | "availabilityZone" => one(&subnet.zone),
        "availability-zone-id" | "availabilityZoneId" => one(&subnet.zone_id),
        "available-ip-address-count" => one(&subnet.free_addresses()),
        "cidr-block" | "cidrBlock" | "cidr" => one(&subnet.cidr()),
        "default-for-az" | "defaultForAz" => one(&subnet.default_for_zone),
        "map-public-ip-on-launch" => one(&subnet.map_public_ip),
        "state" => one(&"available"),
        "subnet-id" => one(&subnet.id),
        "vpc-id" => one(&subnet.vpc_id),
        tags => filter::tag_values(&subnet.tags, tags),
    }
}
