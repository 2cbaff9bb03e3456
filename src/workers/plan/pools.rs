//! How many instances to launch where: types by preference, subnets by placement, without pools that have no capacity.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    crd::template::Placement,
    ids::{InstanceType, SubnetId, Zone},
};

/// How many instances one RunInstances call requests at most.
pub const MAX_PER_CALL: u32 = 100;

/// An instance type in a subnet, the unit of EC2 capacity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pool {
    pub subnet: SubnetId,
    pub instance_type: InstanceType,
}

/// The pools of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    pub instance_types: Vec<InstanceType>,
    pub subnets: Vec<SubnetId>,
    pub placement: Placement,
}

impl Places {
    pub fn pools(&self) -> impl Iterator<Item = Pool> + '_ {
        self.pools_by_type(&self.subnets)
    }

    /// Splits `wanted` new instances into calls. `zones` are the zones of the subnets, `present` how many instances
    /// each zone has, `unavailable` the pools not to use. Instances without a pool are not in the result.
    pub fn calls(
        &self,
        wanted: u32,
        zones: &BTreeMap<SubnetId, Zone>,
        present: &BTreeMap<Zone, u32>,
        unavailable: &BTreeSet<Pool>,
    ) -> Vec<(Pool, u32)> {
        match self.placement {
            Placement::Ordered => {
                // The first subnet in which any type is available.
                let mut subnets = self.subnets.iter().map(std::slice::from_ref);
                let pool = subnets.find_map(|subnet| self.open_pool(subnet, unavailable));
                pool.map_or_else(Vec::new, |pool| batches(pool, wanted))
            }
            Placement::Spread => {
                let mut shares: Vec<ZoneShare<'_>> = Vec::new();
                for zone in self.subnets.iter().filter_map(|subnet| zones.get(subnet)) {
                    if shares.iter().any(|share| share.zone == zone) {
                        continue;
                    }
                    let inside: Vec<_> = self.subnets.iter().filter(|s| zones.get(*s) == Some(zone)).cloned().collect();
                    if let Some(pool) = self.open_pool(&inside, unavailable) {
                        let present = present.get(zone).copied().unwrap_or_default();
                        shares.push(ZoneShare { zone, pool, present, new: 0 });
                    }
                }
                for _ in 0..wanted {
                    // The order of the subnets breaks ties.
                    let Some(share) = shares.iter_mut().min_by_key(|share| share.present + share.new) else { break };
                    share.new += 1;
                }
                shares.into_iter().flat_map(|share| batches(share.pool, share.new)).collect()
            }
        }
    }

    /// The first type that is available in any of `subnets`.
    fn open_pool(&self, subnets: &[SubnetId], unavailable: &BTreeSet<Pool>) -> Option<Pool> {
        self.pools_by_type(subnets).find(|pool| !unavailable.contains(pool))
    }

    fn pools_by_type<'a>(&'a self, subnets: &'a [SubnetId]) -> impl Iterator<Item = Pool> + 'a {
        self.instance_types.iter().flat_map(move |instance_type| {
            subnets.iter().map(|subnet| Pool { subnet: subnet.clone(), instance_type: instance_type.clone() })
        })
    }
}

struct ZoneShare<'a> {
    zone: &'a Zone,
    pool: Pool,
    present: u32,
    new: u32,
}

fn batches(pool: Pool, count: u32) -> Vec<(Pool, u32)> {
    let starts = (0..count).step_by(MAX_PER_CALL as usize);
    starts.map(|start| (pool.clone(), MAX_PER_CALL.min(count - start))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn subnet(n: usize) -> SubnetId {
        SubnetId::try_from(format!("subnet-{n:08x}")).unwrap()
    }

    fn kind(name: &str) -> InstanceType {
        InstanceType::try_from(name).unwrap()
    }

    fn zone(name: &str) -> Zone {
        Zone::try_from(name).unwrap()
    }

    fn pool(n: usize, name: &str) -> Pool {
        Pool { subnet: subnet(n), instance_type: kind(name) }
    }

    fn places(placement: Placement) -> Places {
        Places {
            instance_types: vec![kind("m6i.large"), kind("m5.large")],
            subnets: vec![subnet(1), subnet(2), subnet(3)],
            placement,
        }
    }

    /// Subnets 1 and 3 are in zone a, 2 in b.
    fn zones() -> BTreeMap<SubnetId, Zone> {
        [(1, "a"), (2, "b"), (3, "a")].into_iter().map(|(n, z)| (subnet(n), zone(z))).collect()
    }

    #[test]
    fn spread_includes_existing_workers() {
        let present = BTreeMap::from([(zone("a"), 3)]);
        let calls = places(Placement::Spread).calls(5, &zones(), &present, &BTreeSet::new());
        assert_eq!(calls, [(pool(1, "m6i.large"), 1), (pool(2, "m6i.large"), 4)]);
    }

    #[test]
    fn spread_uses_another_subnet_then_another_type_then_another_zone() {
        let spread = places(Placement::Spread);
        let calls =
            |unavailable: &[Pool]| spread.calls(1, &zones(), &BTreeMap::new(), &unavailable.iter().cloned().collect());
        let order = [
            pool(1, "m6i.large"),
            pool(3, "m6i.large"),
            pool(1, "m5.large"),
            pool(3, "m5.large"),
            pool(2, "m6i.large"),
            pool(2, "m5.large"),
        ];
        let first: Vec<_> = (0..=5).map(|n| calls(&order[..n])[0].0.clone()).collect();
        assert_eq!(first, order);
        let all: BTreeSet<_> = spread.pools().collect();
        assert_eq!(spread.calls(1, &zones(), &BTreeMap::new(), &all), []);
    }

    #[test]
    fn ordered_uses_the_first_subnet_with_any_type_before_the_next() {
        let ordered = places(Placement::Ordered);
        let calls =
            |unavailable: &[Pool]| ordered.calls(3, &zones(), &BTreeMap::new(), &unavailable.iter().cloned().collect());
        assert_eq!(calls(&[]), [(pool(1, "m6i.large"), 3)]);
        assert_eq!(calls(&[pool(1, "m6i.large")]), [(pool(1, "m5.large"), 3)]);
        assert_eq!(calls(&[pool(1, "m6i.large"), pool(1, "m5.large")]), [(pool(2, "m6i.large"), 3)]);
    }

    proptest! {
        #[test]
        fn equal_instances_are_launched_together(wanted in 0u32..2500, ordered: bool) {
            let placement = if ordered { Placement::Ordered } else { Placement::Spread };
            let calls = places(placement).calls(wanted, &zones(), &BTreeMap::new(), &BTreeSet::new());
            prop_assert_eq!(calls.iter().map(|(_, count)| count).sum::<u32>(), wanted);
            prop_assert!(calls.iter().all(|(_, count)| (1..=MAX_PER_CALL).contains(count)));
            prop_assert!(calls.len() as u32 <= wanted.div_ceil(MAX_PER_CALL) + 2);
        }
    }
}
