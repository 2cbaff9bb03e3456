//! What every account and region starts with: a default VPC, as AWS makes it, Amazon's public images, and, so that not
//! every test has to make them, a key pair and an instance profile.
//!
//! Ids are derived from account, region and zone, so they are the same in every sandbox.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use jiff::Timestamp;

use super::estate::{Estate, Zone};
use super::ids;
use super::image::{Image, ImageState};
use super::network::{Addresses, SecurityGroup, Subnet};
use crate::caller::AccountId;

/// Amazon Linux 2023, the same id in every region of the sandbox (on AWS, ids differ by region).
pub const AMAZON_LINUX_X86_64: &str = "ami-0a11ce5a4db0c0001";
pub const AMAZON_LINUX_ARM64: &str = "ami-0a11ce5a4db0c0002";

/// A key pair of every account, in every region.
pub const KEY_PAIR: &str = "ops";
/// An instance profile of every account, and its role.
pub const INSTANCE_PROFILE: &str = "worker";

pub(crate) fn estate(account: &AccountId, region: &str) -> Estate {
    let zones: Vec<Zone> = zone_letters(region)
        .iter()
        .enumerate()
        .map(|(index, letter)| Zone {
            name: format!("{region}{letter}"),
            id: format!("{}-az{}", short_region(region), index + 1),
        })
        .collect();
    let vpc_id = ids::derived("vpc", &[account.as_str(), region]);
    let subnets = zones
        .iter()
        .enumerate()
        .map(|(index, zone)| {
            let id = ids::derived("subnet", &[account.as_str(), region, &zone.name]);
            let subnet = Subnet {
                id: id.clone(),
                vpc_id: vpc_id.clone(),
                zone: zone.name.clone(),
                zone_id: zone.id.clone(),
                network: Ipv4Addr::new(172, 31, u8::try_from(index * 16).unwrap_or_default(), 0),
                prefix_length: 20,
                default_for_zone: true,
                map_public_ip: true,
                tags: BTreeMap::new(),
                addresses: Addresses::default(),
            };
            (id, subnet)
        })
        .collect();
    let group = SecurityGroup {
        id: ids::derived("sg", &[account.as_str(), region, "default"]),
        vpc_id: vpc_id.clone(),
        name: "default".to_owned(),
        description: "default VPC security group".to_owned(),
        tags: BTreeMap::new(),
    };
    let groups = BTreeMap::from([(group.id.clone(), group)]);
    let mut estate = Estate::new(account.clone(), region.to_owned(), zones, vpc_id, subnets, groups);
    estate.key_pairs.insert(KEY_PAIR.to_owned());
    estate
}

pub(crate) fn public_images(now: Timestamp) -> BTreeMap<String, Image> {
    let amazon_linux = |id: &str, architecture: &str| Image {
        id: id.to_owned(),
        owner: AccountId::amazon(),
        owner_alias: Some("amazon".to_owned()),
        name: format!("al2023-ami-2023.9.20251110.1-kernel-6.1-{architecture}"),
        description: Some(format!("Amazon Linux 2023 AMI 2023.9.20251110.1 {architecture} HVM kernel-6.1")),
        architecture: architecture.to_owned(),
        state: ImageState::Available,
        public: true,
        created: now,
        deprecated_at: None,
        root_device_name: "/dev/xvda".to_owned(),
        root_volume_gib: 8,
        snapshot_id: ids::derived("snap", &[id]),
        virtualization_type: "hvm".to_owned(),
        ena_support: true,
        boot_mode: Some(if architecture == "arm64" { "uefi" } else { "uefi-preferred" }.to_owned()),
        imds_v2: true,
        tags: BTreeMap::new(),
        files: BTreeMap::new(),
    };
    [amazon_linux(AMAZON_LINUX_X86_64, "x86_64"), amazon_linux(AMAZON_LINUX_ARM64, "arm64")]
        .into_iter()
        .map(|image| (image.id.clone(), image))
        .collect()
}

fn zone_letters(region: &str) -> [char; 3] {
    match region {
        // Tokyo has no `b` for accounts of today.
        "ap-northeast-1" => ['a', 'c', 'd'],
        _three_in_a_row => ['a', 'b', 'c'],
    }
}

/// `ap-northeast-1` is `apne1` in zone ids.
fn short_region(region: &str) -> String {
    let mut parts = region.split('-');
    let mut short = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (north_south, rest) = match part {
            "central" => ("c", ""),
            part if part.starts_with("north") => ("n", &part["north".len()..]),
            part if part.starts_with("south") => ("s", &part["south".len()..]),
            part => ("", part),
        };
        short.push_str(north_south);
        short.push_str(match rest {
            "east" => "e",
            "west" => "w",
            other => other,
        });
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zone_ids_are_short() {
        for (region, short) in
            [("ap-northeast-1", "apne1"), ("us-east-1", "use1"), ("eu-central-1", "euc1"), ("sa-east-1", "sae1")]
        {
            assert_eq!(short_region(region), short);
        }
    }

    #[test]
    fn an_estate_is_the_same_in_every_sandbox_and_unlike_any_other() {
        let (one, two): (AccountId, AccountId) =
            ("111111111111".parse().expect("an id"), "222222222222".parse().expect("an id"));
        let ids = |account: &AccountId, region: &str| estate(account, region).subnets.into_keys().collect::<Vec<_>>();
        assert_eq!(ids(&one, "eu-west-1"), ids(&one, "eu-west-1"));
        assert_ne!(ids(&one, "eu-west-1"), ids(&two, "eu-west-1"));
        assert_ne!(ids(&one, "eu-west-1"), ids(&one, "us-east-1"));
        assert_eq!(ids(&one, "eu-west-1").len(), 3);
    }
}
