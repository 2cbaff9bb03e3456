//! What one account has in one region.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;

use super::ids;
use super::instance::{Instance, Market};
use super::launch_template::LaunchTemplates;
use super::network::{SecurityGroup, Subnet};
use crate::caller::AccountId;
use crate::error::ApiError;
use crate::state::autoscaling::group::AutoScalingGroup;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Zone {
    pub(crate) name: String,
    pub(crate) id: String,
}

#[derive(Debug)]
pub(crate) struct Estate {
    pub(crate) account: AccountId,
    pub(crate) region: String,
    pub(crate) zones: Vec<Zone>,
    pub(crate) default_vpc: String,
    pub(crate) subnets: BTreeMap<String, Subnet>,
    pub(crate) security_groups: BTreeMap<String, SecurityGroup>,
    pub(crate) key_pairs: BTreeSet<String>,
    /// By the order of launches.
    pub(crate) instances: BTreeMap<u64, Instance>,
    pub(crate) sequences: HashMap<String, u64>,
    /// What instances said on their consoles, as far as no virtual worker can be asked.
    pub(crate) consoles: HashMap<String, Vec<u8>>,
    pub(crate) tokens: HashMap<TokenKey, TokenUse>,
    pub(crate) launch_templates: LaunchTemplates,
    /// By name.
    pub(crate) groups: BTreeMap<String, AutoScalingGroup>,
    /// Whether instances get InstanceMetadataTags when the request does not say.
    pub(crate) metadata_tags_default: bool,
    /// Zones whose rows are missing from describe calls.
    pub(crate) dark_zones: Vec<String>,
}

/// A token counts per zone where the request names one, by subnet or placement; otherwise for the region.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct TokenKey {
    pub(crate) token: String,
    pub(crate) zone: Option<String>,
}

/// What a client token was used for.
#[derive(Debug, Clone)]
pub(crate) struct TokenUse {
    /// All parameters of the request but the token.
    pub(crate) fingerprint: BTreeMap<String, String>,
    pub(crate) instances: Vec<u64>,
    pub(crate) used_at: Timestamp,
}

impl Estate {
    pub(crate) fn new(
        account: AccountId,
        region: String,
        zones: Vec<Zone>,
        default_vpc: String,
        subnets: BTreeMap<String, Subnet>,
        security_groups: BTreeMap<String, SecurityGroup>,
    ) -> Self {
        Self {
            account,
            region,
            zones,
            default_vpc,
            subnets,
            security_groups,
            key_pairs: BTreeSet::new(),
            instances: BTreeMap::new(),
            sequences: HashMap::new(),
            consoles: HashMap::new(),
            tokens: HashMap::new(),
            launch_templates: LaunchTemplates::default(),
            groups: BTreeMap::new(),
            metadata_tags_default: false,
            dark_zones: Vec::new(),
        }
    }

    pub(crate) fn instance(&self, id: &str) -> Option<&Instance> {
        self.sequences.get(id).and_then(|sequence| self.instances.get(sequence)).filter(|instance| !instance.vanished)
    }

    /// The instances with these ids, all or an error that names those that do not exist.
    pub(crate) fn sequences_of(&self, ids: &[&str]) -> Result<Vec<u64>, ApiError> {
        ids.iter().try_for_each(|id| ids::check_instance_id(id))?;
        let missing: Vec<&str> = ids.iter().copied().filter(|id| self.instance(id).is_none()).collect();
        if !missing.is_empty() {
            return Err(ids::instances_not_found(&missing));
        }
        Ok(ids.iter().filter_map(|id| self.sequences.get(*id).copied()).collect())
    }

    /// Rows as describe calls see them, in the order of launches: those with these ids, all or an error that names the
    /// ones that are not there; without ids all rows from `first` on.
    pub(crate) fn visible<'a>(
        &'a self,
        ids: &[&str],
        first: u64,
        now: Timestamp,
    ) -> Result<Box<dyn Iterator<Item = &'a Instance> + 'a>, ApiError> {
        if ids.is_empty() {
            return Ok(Box::new(self.visible_from(first, now)));
        }
        let found = |id: &&str| self.visible_by_id(id, now);
        let missing: Vec<&str> = ids.iter().copied().filter(|id| found(id).is_none()).collect();
        if !missing.is_empty() {
            return Err(ids::instances_not_found(&missing));
        }
        let mut rows: Vec<&Instance> = ids.iter().filter_map(found).collect();
        rows.sort_by_key(|instance| instance.sequence);
        rows.dedup_by_key(|instance| instance.sequence);
        Ok(Box::new(rows.into_iter()))
    }

    fn visible_from(&self, first: u64, now: Timestamp) -> impl Iterator<Item = &Instance> {
        self.instances
            .range(first..)
            .filter_map(move |(_, instance)| instance.visible(now))
            .filter(|instance| !self.dark_zones.contains(&instance.zone))
    }

    fn visible_by_id(&self, id: &str, now: Timestamp) -> Option<&Instance> {
        let instance = self.sequences.get(id).and_then(|sequence| self.instances.get(sequence))?;
        instance.visible(now).filter(|instance| !self.dark_zones.contains(&instance.zone))
    }

    /// How many instances take up a pool's capacity.
    pub(crate) fn placed(&self, zone: &str, instance_type: &str, market: Option<Market>) -> usize {
        self.instances
            .values()
            .filter(|instance| {
                instance.state.is_placed()
                    && instance.zone == zone
                    && instance.instance_type == instance_type
                    && market.is_none_or(|market| market == instance.market)
            })
            .count()
    }
}
