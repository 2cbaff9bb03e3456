//! Subnets, their addresses, and security groups.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde::Serialize;

use crate::error::ApiError;

/// EC2 keeps the first four addresses and the last one of each subnet.
const RESERVED_ADDRESSES: u32 = 5;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Subnet {
    pub id: String,
    pub vpc_id: String,
    pub zone: String,
    pub zone_id: String,
    pub network: Ipv4Addr,
    pub prefix_length: u8,
    pub default_for_zone: bool,
    pub map_public_ip: bool,
    pub tags: BTreeMap<String, String>,
    #[serde(skip)]
    pub(crate) addresses: Addresses,
}

/// Which addresses of a subnet are taken: those below the mark that did not come back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Addresses {
    mark: u32,
    returned: BTreeSet<u32>,
}

impl Subnet {
    pub fn cidr(&self) -> String {
        format!("{}/{}", self.network, self.prefix_length)
    }

    pub fn free_addresses(&self) -> u32 {
        let returned = u32::try_from(self.addresses.returned.len()).unwrap_or(u32::MAX);
        self.usable() - self.addresses.mark + returned
    }

    fn usable(&self) -> u32 {
        (1 << (32 - u32::from(self.prefix_length))) - RESERVED_ADDRESSES
    }

    fn first(&self) -> u32 {
        u32::from(self.network) + RESERVED_ADDRESSES - 1
    }

    /// The lowest free address.
    pub(crate) fn take_address(&mut self) -> Option<Ipv4Addr> {
        let first = self.first();
        if let Some(offset) = self.addresses.returned.pop_first() {
            return Some(Ipv4Addr::from(first + offset));
        }
        if self.addresses.mark == self.usable() {
            return None;
        }
        self.addresses.mark += 1;
        Some(Ipv4Addr::from(first + self.addresses.mark - 1))
    }

    pub(crate) fn free_address(&mut self, address: Ipv4Addr) {
        self.addresses.returned.insert(u32::from(address) - self.first());
    }
}

/// Reads `10.0.0.0/24` as VPCs take it: /16 to /28, no bits beyond the prefix.
pub(crate) fn parse_cidr(text: &str) -> Result<(Ipv4Addr, u8), ApiError> {
    let invalid =
        || ApiError::new("InvalidParameterValue", format!("Value ({text}) for parameter cidrBlock is invalid."));
    let (network, length) = text.split_once('/').ok_or_else(invalid)?;
    let network: Ipv4Addr = network.parse().map_err(|_not_an_address| invalid())?;
    let length: u8 = length.parse().map_err(|_not_a_number| invalid())?;
    let host_bits =
        (16..=28).contains(&length).then(|| u32::from(network) & (u32::MAX >> length)).ok_or_else(invalid)?;
    if host_bits == 0 { Ok((network, length)) } else { Err(invalid()) }
}

/// From TEST-NET-3 and the other blocks that are nobody's (RFC 5737, RFC 2544).
pub(crate) fn public_address(sequence: u64) -> Ipv4Addr {
    let [.., b, c, d] = sequence.to_be_bytes();
    Ipv4Addr::new(198, 18 + (b & 1), c, d)
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecurityGroup {
    pub id: String,
    pub vpc_id: String,
    pub name: String,
    pub description: String,
    pub tags: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_gives_all_but_five_of_its_addresses() {
        let (network, prefix_length) = parse_cidr("10.0.0.16/28").expect("a block");
        let mut subnet = Subnet {
            id: "subnet-1".into(),
            vpc_id: "vpc-1".into(),
            zone: "eu-west-1a".into(),
            zone_id: "euw1-az1".into(),
            network,
            prefix_length,
            default_for_zone: false,
            map_public_ip: false,
            tags: BTreeMap::new(),
            addresses: Addresses::default(),
        };
        let taken: Vec<_> = std::iter::from_fn(|| subnet.take_address()).collect();
        assert_eq!(taken.len(), 11);
        assert_eq!(taken.first(), Some(&Ipv4Addr::new(10, 0, 0, 20)));
        assert_eq!(taken.last(), Some(&Ipv4Addr::new(10, 0, 0, 30)));
        assert_eq!(subnet.free_addresses(), 0);
        subnet.free_address(Ipv4Addr::new(10, 0, 0, 25));
        assert_eq!(subnet.take_address(), Some(Ipv4Addr::new(10, 0, 0, 25)));
    }

    #[test]
    fn blocks_are_checked() {
        for bad in ["10.0.0.0", "10.0.0.0/15", "10.0.0.0/29", "10.0.0.1/24", "10.0.0/24", "x/24"] {
            assert!(parse_cidr(bad).is_err(), "{bad}");
        }
    }
}
