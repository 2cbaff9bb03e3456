//! All regions and accounts, and the one queue of what happens next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::estate::Estate;
use super::event::InstanceEvent;
use super::image::Image;
use super::instance::{Instance, Market};
use super::seed;
use crate::caller::AccountId;
use crate::config::Lifecycle;
use crate::error::ApiError;
use crate::state::ssm::Ssm;

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) lifecycle: Lifecycle,
    pub(crate) describe_lag: Duration,
    regions: BTreeMap<String, Region>,
    capacity: Vec<(Pool, u32)>,
    /// By account and name: the role's name. IAM has no regions.
    instance_profiles: BTreeMap<(AccountId, String), Option<String>>,
    /// When something may happen to an instance. An entry counts only while the instance still expects it.
    due: BTreeMap<(Timestamp, u64), (AccountId, String)>,
    /// What else looks at the world when a time has come.
    wakes: BTreeSet<(Timestamp, Wake)>,
    /// CloudWatch alarms in the ALARM state, as control says: account, region and name.
    alarms: BTreeSet<(AccountId, String, String)>,
    /// Why launches of images fail, by region and id.
    failing_images: BTreeMap<(String, String), ApiError>,
    ssm: Arc<Ssm>,
    events: Vec<InstanceEvent>,
    last_sequence: u64,
}

#[derive(Debug)]
struct Region {
    /// Of all accounts.
    images: BTreeMap<String, Image>,
    estates: BTreeMap<AccountId, Estate>,
}

/// A pool of capacity. `None` stands for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pool {
    pub(crate) account: Option<AccountId>,
    pub(crate) zone: String,
    pub(crate) instance_type: String,
    pub(crate) market: Option<Market>,
}

/// Who looks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wake {
    Group {
        account: AccountId,
        region: String,
        name: String,
    },
    /// One that is pending becomes available.
    Image {
        region: String,
        id: String,
    },
}

impl World {
    pub(crate) fn new(lifecycle: Lifecycle, describe_lag: Duration, ssm: Arc<Ssm>) -> Self {
        Self {
            lifecycle,
            describe_lag,
            regions: BTreeMap::new(),
            capacity: Vec::new(),
            instance_profiles: BTreeMap::new(),
            due: BTreeMap::new(),
            wakes: BTreeSet::new(),
            alarms: BTreeSet::new(),
            failing_images: BTreeMap::new(),
            ssm,
            events: Vec::new(),
            last_sequence: 0,
        }
    }

    /// What the account has in the region. Every account is there, in every region, from the first look on.
    pub(crate) fn estate(&mut self, account: &AccountId, region: &str, now: Timestamp) -> &mut Estate {
        self.region(region, now).estates.entry(account.clone()).or_insert_with(|| seed::estate(account, region))
    }

    pub(crate) fn images(&mut self, region: &str, now: Timestamp) -> &mut BTreeMap<String, Image> {
        &mut self.region(region, now).images
    }

    fn region(&mut self, region: &str, now: Timestamp) -> &mut Region {
        self.regions
            .entry(region.to_owned())
            .or_insert_with(|| Region { images: seed::public_images(now), estates: BTreeMap::new() })
    }

    pub(crate) fn estates(&self) -> impl Iterator<Item = &Estate> {
        self.regions.values().flat_map(|region| region.estates.values())
    }

    /// The estate that an instance is in.
    pub(crate) fn owner_of(&self, id: &str) -> Option<(AccountId, String)> {
        self.estates()
            .find(|estate| estate.instance(id).is_some())
            .map(|estate| (estate.account.clone(), estate.region.clone()))
    }

    pub(crate) fn next_sequence(&mut self) -> u64 {
        self.last_sequence += 1;
        self.last_sequence
    }

    /// The role of an instance profile. `None`: the account has no such profile.
    pub(crate) fn role_of_profile(&self, account: &AccountId, name: &str) -> Option<String> {
        match self.instance_profiles.get(&(account.clone(), name.to_owned())) {
            Some(role) => role.clone(),
            None => (name == seed::INSTANCE_PROFILE).then(|| name.to_owned()),
        }
    }

    /// Makes an instance profile with a role, or takes it away.
    pub(crate) fn set_instance_profile(&mut self, account: &AccountId, name: &str, role: Option<String>) {
        self.instance_profiles.insert((account.clone(), name.to_owned()), role);
    }

    /// At most so many instances of the pool at a time. `None` lifts the limit.
    pub(crate) fn set_capacity(&mut self, pool: Pool, limit: Option<u32>) {
        self.capacity.retain(|(known, _)| *known != pool);
        self.capacity.extend(limit.map(|limit| (pool, limit)));
    }

    /// How many more instances could be placed, by all limits that apply. `None`: no limit.
    pub(crate) fn free_capacity(
        &self,
        account: &AccountId,
        zone: &str,
        instance_type: &str,
        market: Market,
    ) -> Option<u32> {
        self.capacity
            .iter()
            .filter(|(pool, _)| {
                pool.account.as_ref().is_none_or(|of| of == account)
                    && pool.zone == zone
                    && pool.instance_type == instance_type
                    && pool.market.is_none_or(|of| of == market)
            })
            .map(|(pool, limit)| {
                let placed: usize = self
                    .estates()
                    .filter(|estate| pool.account.as_ref().is_none_or(|of| *of == estate.account))
                    .map(|estate| estate.placed(zone, instance_type, pool.market))
                    .sum();
                limit.saturating_sub(u32::try_from(placed).unwrap_or(u32::MAX))
            })
            .min()
    }

    pub(crate) fn instance_mut(&mut self, account: &AccountId, region: &str, sequence: u64) -> Option<&mut Instance> {
        self.regions.get_mut(region)?.estates.get_mut(account)?.instances.get_mut(&sequence)
    }

    pub(crate) fn estate_mut(&mut self, account: &AccountId, region: &str) -> Option<&mut Estate> {
        self.regions.get_mut(region)?.estates.get_mut(account)
    }

    pub(crate) fn schedule(&mut self, at: Timestamp, sequence: u64, account: &AccountId, region: &str) {
        self.due.insert((at, sequence), (account.clone(), region.to_owned()));
    }

    pub(crate) fn take_due(&mut self, now: Timestamp) -> Option<(Timestamp, u64, AccountId, String)> {
        let entry = self.due.first_entry()?;
        if entry.key().0 > now {
            return None;
        }
        let ((at, sequence), (account, region)) = entry.remove_entry();
        Some((at, sequence, account, region))
    }

    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        let wake = self.wakes.first().map(|(at, _)| *at);
        self.due.keys().next().map(|(at, _)| *at).into_iter().chain(wake).min()
    }

    pub(crate) fn wake_group(&mut self, at: Timestamp, account: &AccountId, region: &str, name: &str) {
        let group = Wake::Group { account: account.clone(), region: region.to_owned(), name: name.to_owned() };
        self.wakes.insert((at, group));
    }

    pub(crate) fn wake_image(&mut self, at: Timestamp, region: &str, id: &str) {
        self.wakes.insert((at, Wake::Image { region: region.to_owned(), id: id.to_owned() }));
    }

    /// The id of an image that may be named by a parameter: `resolve:ssm:/name` or `resolve:ssm:/name:version`.
    pub(crate) fn resolve_alias(&self, account: &AccountId, region: &str, image: &str) -> Result<String, ApiError> {
        let Some(name) = image.strip_prefix("resolve:ssm:") else { return Ok(image.to_owned()) };
        self.ssm.with(account, region, |store| match store.find(name) {
            Ok((_, version, _)) => Ok(version.value.clone()),
            Err(missing) => Err(ApiError::new(
                "InvalidParameterValue",
                format!("Invalid value '{image}' for ImageId. {}", missing.message),
            )),
        })
    }

    /// From now on launches of an image fail so; `None`: they succeed again.
    pub(crate) fn fail_launches(&mut self, region: &str, image: &str, error: Option<ApiError>) {
        let key = (region.to_owned(), image.to_owned());
        match error {
            Some(error) => self.failing_images.insert(key, error),
            None => self.failing_images.remove(&key),
        };
    }

    pub(crate) fn check_launches(&self, region: &str, image: &str) -> Result<(), ApiError> {
        self.failing_images.get(&(region.to_owned(), image.to_owned())).cloned().map_or(Ok(()), Err)
    }

    /// Lets an instance's group look at it.
    pub(crate) fn wake_group_of(&mut self, at: Timestamp, account: &AccountId, region: &str, id: &str) {
        let instance = self.estate_mut(account, region).and_then(|estate| estate.instance(id));
        if let Some(name) = instance.and_then(|instance| instance.auto_scaling_group.clone()) {
            self.wake_group(at, account, region, &name);
        }
    }

    /// The next of those that look, if nothing happens to an instance before.
    pub(crate) fn take_wake(&mut self, now: Timestamp) -> Option<(Timestamp, Wake)> {
        let at = self.wakes.first()?.0;
        let instance = self.due.keys().next().map(|(at, _)| *at);
        if at > now || instance.is_some_and(|due| due <= at) {
            return None;
        }
        self.wakes.pop_first()
    }

    pub(crate) fn last_sequence(&self) -> u64 {
        self.last_sequence
    }

    pub(crate) fn set_alarm(&mut self, account: &AccountId, region: &str, name: &str, on: bool, now: Timestamp) {
        let alarm = (account.clone(), region.to_owned(), name.to_owned());
        if on {
            self.alarms.insert(alarm);
        } else {
            self.alarms.remove(&alarm);
        }
        let groups = self.estate(account, region, now).groups.keys().cloned().collect::<Vec<_>>();
        groups.iter().for_each(|group| self.wake_group(now, account, region, group));
    }

    pub(crate) fn is_in_alarm(&self, account: &AccountId, region: &str, name: &str) -> bool {
        self.alarms.contains(&(account.clone(), region.to_owned(), name.to_owned()))
    }

    pub(crate) fn announce(&mut self, event: InstanceEvent) {
        self.wake_group_of(event.at, &event.account, &event.region, &event.instance_id);
        self.events.push(event);
    }

    pub(crate) fn take_events(&mut self) -> Vec<InstanceEvent> {
        std::mem::take(&mut self.events)
    }
}
