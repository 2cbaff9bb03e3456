//! The hand that tests and demos have in the sandbox: everything that AWS's API does not offer.
//!
//! The same operations are served over HTTP, see [`http`].

pub(crate) mod http;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::accounts::{Credentials, RoleSpec};
use crate::caller::AccountId;
use crate::clock::Clock;
use crate::config::{Lifecycle, millis};
use crate::ec2::event::InstanceEvent;
use crate::ec2::ids;
use crate::ec2::image::{Image, ImageState};
use crate::ec2::instance::{HealthStatus, Instance, Market};
use crate::ec2::lifecycle::{self, Ending};
use crate::ec2::network::{self, SecurityGroup, Subnet};
use crate::ec2::world::Pool;
use crate::error::ApiError;
use crate::faults::{Fault, FaultId, FaultStatus};
use crate::journal::{Call, CallQuery};
use crate::state::State;

/// A handle to a running sandbox. Clones work on the same sandbox.
#[derive(Debug, Clone)]
pub struct Control {
    pub(crate) state: Arc<State>,
}

/// What can be changed while the sandbox runs. A field left out stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Settings {
    pub throttling: Option<bool>,
    #[serde(rename = "describeLagMillis")]
    pub describe_lag: Option<u64>,
    pub lifecycle: Option<Lifecycle>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CapacitySpec {
    /// `None`: of all accounts together.
    #[serde(default)]
    pub account: Option<AccountId>,
    pub zone: String,
    pub instance_type: String,
    /// `None`: of both markets together.
    #[serde(default)]
    pub market: Option<Market>,
    /// So many instances may exist at a time. `None` lifts the limit.
    pub limit: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubnetSpec {
    pub account: AccountId,
    pub region: String,
    /// The last letter or the whole name of the zone.
    pub zone: String,
    /// `None`: the default VPC.
    #[serde(default)]
    pub vpc_id: Option<String>,
    pub cidr: String,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecurityGroupSpec {
    pub account: AccountId,
    pub region: String,
    #[serde(default)]
    pub vpc_id: Option<String>,
    pub name: String,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImageSpec {
    pub owner: AccountId,
    pub region: String,
    pub name: String,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default = "x86_64")]
    pub architecture: String,
    #[serde(default)]
    pub state: ImageState,
    #[serde(default)]
    pub public: bool,
    /// `None`: now.
    #[serde(default)]
    pub created: Option<Timestamp>,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

fn x86_64() -> String {
    "x86_64".to_owned()
}

impl ImageSpec {
    pub fn new(owner: &AccountId, region: &str, name: &str) -> Self {
        Self {
            owner: owner.clone(),
            region: region.to_owned(),
            name: name.to_owned(),
            description: None,
            architecture: x86_64(),
            state: ImageState::Available,
            public: false,
            created: None,
            tags: BTreeMap::new(),
        }
    }
}

impl Control {
    pub(crate) fn new(state: Arc<State>) -> Self {
        Self { state }
    }

    pub fn clock(&self) -> Arc<Clock> {
        Arc::clone(&self.state.clock)
    }

    pub fn now(&self) -> Timestamp {
        self.state.clock.now()
    }

    /// Moves the clock on. When this returns, everything that came due has happened.
    pub fn step(&self, by: Duration) {
        self.state.step(by);
    }

    // Faults.

    pub fn add_fault(&self, fault: Fault) -> FaultId {
        self.state.faults.add(fault)
    }

    pub fn faults(&self) -> Vec<FaultStatus> {
        self.state.faults.list()
    }

    /// Lets the calls go on that this fault holds. It holds no further ones.
    pub fn release_fault(&self, id: FaultId) {
        self.state.faults.release(id);
    }

    pub fn remove_fault(&self, id: FaultId) {
        self.state.faults.remove(id);
    }

    pub fn clear_faults(&self) {
        self.state.faults.clear();
    }

    /// Returns once the fault has hit so many calls, e.g. once a call is held.
    pub async fn wait_for_hits(&self, id: FaultId, hits: u64) {
        self.state.faults.wait_for_hits(id, hits).await;
    }

    // Journal.

    pub fn calls(&self, query: &CallQuery) -> Vec<Call> {
        self.state.journal.find(query)
    }

    /// How many calls each `service:operation` got.
    pub fn call_counts(&self, query: &CallQuery) -> BTreeMap<String, u64> {
        self.state.journal.counts(query)
    }

    pub fn clear_calls(&self) {
        self.state.journal.clear();
    }

    /// Returns the matching calls once they satisfy `enough`.
    pub async fn wait_for_calls(&self, query: &CallQuery, enough: impl Fn(&[Call]) -> bool) -> Vec<Call> {
        let mut changed = self.state.journal.changes();
        loop {
            let calls = self.state.journal.find(query);
            if enough(&calls) || changed.changed().await.is_err() {
                return calls;
            }
        }
    }

    /// How many calls of each operation were refused for their rate.
    pub fn throttled(&self) -> BTreeMap<String, u64> {
        self.state.throttle.throttled()
    }

    // Settings.

    pub fn configure(&self, settings: &Settings) {
        let Settings { throttling, describe_lag, lifecycle } = settings;
        if let Some(on) = throttling {
            self.state.throttle.switch(*on);
        }
        self.state.ec2.with(self.now(), |world| {
            if let Some(lag) = describe_lag {
                world.describe_lag = Duration::from_millis(*lag);
            }
            if let Some(lifecycle) = lifecycle {
                world.lifecycle = lifecycle.clone();
            }
        });
    }

    pub fn settings(&self) -> Settings {
        self.state.ec2.with(self.now(), |world| Settings {
            throttling: Some(self.state.throttle.is_on()),
            describe_lag: Some(u64::try_from(world.describe_lag.as_millis()).unwrap_or(u64::MAX)),
            lifecycle: Some(world.lifecycle.clone()),
        })
    }

    pub fn set_throttling(&self, on: bool) {
        self.state.throttle.switch(on);
    }

    /// Writes from now on are unseen by describe calls for so long.
    pub fn set_describe_lag(&self, lag: Duration) {
        self.state.ec2.with(self.now(), |world| world.describe_lag = lag);
    }

    pub fn set_capacity(&self, spec: CapacitySpec) {
        let CapacitySpec { account, zone, instance_type, market, limit } = spec;
        self.state.ec2.with(self.now(), |world| {
            world.set_capacity(Pool { account, zone, instance_type, market }, limit);
        });
    }

    /// Whether the account's instances get InstanceMetadataTags when a request does not say.
    pub fn set_metadata_tags_default(&self, account: &AccountId, region: &str, on: bool) {
        let now = self.now();
        self.state.ec2.with(now, |world| world.estate(account, region, now).metadata_tags_default = on);
    }

    /// The zone's instances are missing from describe calls, as in an outage. They live on.
    pub fn set_zone_dark(&self, account: &AccountId, region: &str, zone: &str, dark: bool) {
        let now = self.now();
        self.state.ec2.with(now, |world| {
            let zones = &mut world.estate(account, region, now).dark_zones;
            zones.retain(|known| known != zone);
            zones.extend(dark.then(|| zone.to_owned()));
        });
    }

    // Identities.

    /// Makes a role, or replaces its trust.
    pub fn put_role(&self, role: RoleSpec) {
        self.state.accounts.put_role(role);
    }

    pub fn delete_role(&self, account: &AccountId, name: &str) {
        self.state.accounts.delete_role(account, name);
    }

    /// Refuses an access key from now on.
    pub fn revoke_key(&self, access_key: &str) {
        self.state.accounts.revoke(access_key);
    }

    pub fn restore_key(&self, access_key: &str) {
        self.state.accounts.restore(access_key);
    }

    /// What an instance finds in its metadata: credentials of its profile's role, which has the profile's name.
    pub fn instance_credentials(&self, instance_id: &str) -> Option<Credentials> {
        let instance = self.instance(instance_id)?;
        let role = instance.instance_profile_name()?;
        let lasting = Duration::from_secs(6 * 3600);
        Some(self.state.accounts.start_session(&instance.account, role, &instance.id, lasting))
    }

    // Network and images.

    pub fn subnets(&self, account: &AccountId, region: &str) -> Vec<Subnet> {
        let now = self.now();
        self.state.ec2.with(now, |world| {
            let mut subnets: Vec<Subnet> = world.estate(account, region, now).subnets.values().cloned().collect();
            subnets.sort_by(|a, b| (&a.zone, !a.default_for_zone, &a.id).cmp(&(&b.zone, !b.default_for_zone, &b.id)));
            subnets
        })
    }

    pub fn security_groups(&self, account: &AccountId, region: &str) -> Vec<SecurityGroup> {
        let now = self.now();
        self.state.ec2.with(now, |world| world.estate(account, region, now).security_groups.values().cloned().collect())
    }

    pub fn add_subnet(&self, spec: SubnetSpec) -> Result<Subnet, ApiError> {
        let (network, prefix_length) = network::parse_cidr(&spec.cidr)?;
        let now = self.now();
        self.state.ec2.with(now, |world| {
            let estate = world.estate(&spec.account, &spec.region, now);
            let named = |zone: &&crate::ec2::estate::Zone| {
                zone.name == spec.zone || zone.name == format!("{}{}", spec.region, spec.zone)
            };
            let zone = estate.zones.iter().find(named).ok_or_else(|| {
                ApiError::new("InvalidParameterValue", format!("There is no zone {} in {}", spec.zone, spec.region))
            })?;
            let subnet = Subnet {
                id: ids::random("subnet"),
                vpc_id: spec.vpc_id.unwrap_or_else(|| estate.default_vpc.clone()),
                zone: zone.name.clone(),
                zone_id: zone.id.clone(),
                network,
                prefix_length,
                default_for_zone: false,
                map_public_ip: false,
                tags: spec.tags,
                addresses: network::Addresses::default(),
            };
            estate.subnets.insert(subnet.id.clone(), subnet.clone());
            Ok(subnet)
        })
    }

    pub fn add_security_group(&self, spec: SecurityGroupSpec) -> SecurityGroup {
        let now = self.now();
        self.state.ec2.with(now, |world| {
            let estate = world.estate(&spec.account, &spec.region, now);
            let group = SecurityGroup {
                id: ids::random("sg"),
                vpc_id: spec.vpc_id.unwrap_or_else(|| estate.default_vpc.clone()),
                description: spec.name.clone(),
                name: spec.name,
                tags: spec.tags,
            };
            estate.security_groups.insert(group.id.clone(), group.clone());
            group
        })
    }

    pub fn add_image(&self, spec: ImageSpec) -> Image {
        let now = self.now();
        let image = Image {
            id: ids::random("ami"),
            owner: spec.owner,
            owner_alias: None,
            name: spec.name,
            description: spec.description,
            architecture: spec.architecture,
            state: spec.state,
            public: spec.public,
            created: spec.created.unwrap_or(now),
            deprecated_at: None,
            root_device_name: "/dev/xvda".to_owned(),
            root_volume_gib: 8,
            snapshot_id: ids::random("snap"),
            virtualization_type: "hvm".to_owned(),
            ena_support: true,
            boot_mode: None,
            imds_v2: true,
            tags: spec.tags,
        };
        self.state.ec2.with(now, |world| world.images(&spec.region, now).insert(image.id.clone(), image.clone()));
        image
    }

    pub fn set_image_state(&self, region: &str, image_id: &str, state: ImageState) -> Result<(), ApiError> {
        let now = self.now();
        self.state.ec2.with(now, |world| match world.images(region, now).get_mut(image_id) {
            Some(image) => {
                image.state = state;
                Ok(())
            }
            None => Err(ids::images_not_found(&[image_id])),
        })
    }

    // Instances.

    /// All instances of the sandbox whose rows have not gone, by the order of launches.
    pub fn instances(&self) -> Vec<Instance> {
        self.state.ec2.with(self.now(), |world| {
            let mut all: Vec<Instance> = world
                .estates()
                .flat_map(|estate| estate.instances.values())
                .filter(|instance| !instance.vanished)
                .cloned()
                .collect();
            all.sort_by_key(|instance| instance.sequence);
            all
        })
    }

    /// The account's instances in all regions, whatever describe calls see.
    pub fn instances_of(&self, account: &AccountId) -> Vec<Instance> {
        self.state.ec2.with(self.now(), |world| {
            world
                .estates()
                .filter(|estate| estate.account == *account)
                .flat_map(|estate| estate.instances.values())
                .filter(|instance| !instance.vanished)
                .cloned()
                .collect()
        })
    }

    pub fn instance(&self, id: &str) -> Option<Instance> {
        self.state.ec2.with(self.now(), |world| world.estates().find_map(|estate| estate.instance(id)).cloned())
    }

    /// Every state that an instance enters from now on. List the instances after subscribing, to miss none.
    pub fn instance_events(&self) -> broadcast::Receiver<InstanceEvent> {
        self.state.ec2.events()
    }

    /// As somebody would in the console.
    pub fn terminate_instance(&self, id: &str) -> Result<(), ApiError> {
        self.end(id, Ending::UserTerminates)
    }

    /// As somebody would in the console.
    pub fn stop_instance(&self, id: &str) -> Result<(), ApiError> {
        self.end(id, Ending::UserStops)
    }

    /// As `shutdown` inside of the instance does: it stops or terminates, by its shutdown behaviour.
    pub fn shut_down_from_inside(&self, id: &str) -> Result<(), ApiError> {
        self.end(id, Ending::InstanceShutsDown)
    }

    /// Takes a spot instance back.
    pub fn reclaim_spot_instance(&self, id: &str) -> Result<(), ApiError> {
        if self.instance(id).is_some_and(|instance| instance.market == Market::OnDemand) {
            return Err(ApiError::new("UnsupportedOperation", format!("{id} is no spot instance")));
        }
        self.end(id, Ending::SpotInterruption)
    }

    /// The machine dies: `Server.InternalError`.
    pub fn fail_instance(&self, id: &str) -> Result<(), ApiError> {
        self.end(id, Ending::InternalError)
    }

    fn end(&self, id: &str, ending: Ending) -> Result<(), ApiError> {
        self.on_instance(id, |world, account, region, sequence, now| {
            world.end(sequence, account, region, ending, now);
        })
    }

    /// What the status checks say from now on; `None`: what they would say by themselves.
    pub fn set_health(
        &self,
        id: &str,
        system: Option<HealthStatus>,
        instance: Option<HealthStatus>,
    ) -> Result<(), ApiError> {
        self.on_instance(id, |world, account, region, sequence, now| {
            let lag = world.describe_lag;
            if let Some(found) = world.instance_mut(account, region, sequence) {
                lifecycle::remember(found, lag, now);
                found.system_status = system;
                found.instance_status = instance;
            }
        })
    }

    /// Sets tags as CreateTags does, without a call. An empty value removes nothing.
    pub fn tag_instance(&self, id: &str, tags: &BTreeMap<String, String>) -> Result<(), ApiError> {
        self.on_instance(id, |world, account, region, sequence, now| {
            let lag = world.describe_lag;
            if let Some(found) = world.instance_mut(account, region, sequence) {
                lifecycle::remember(found, lag, now);
                found.tags.extend(tags.clone());
            }
        })
    }

    fn on_instance(
        &self,
        id: &str,
        work: impl FnOnce(&mut crate::ec2::world::World, &AccountId, &str, u64, Timestamp),
    ) -> Result<(), ApiError> {
        let now = self.now();
        self.state.ec2.with(now, |world| {
            let missing = || ids::instances_not_found(&[id]);
            let (account, region) = world.owner_of(id).ok_or_else(missing)?;
            let sequence = world.estate(&account, &region, now).sequences.get(id).copied().ok_or_else(missing)?;
            work(world, &account, &region, sequence, now);
            Ok(())
        })
    }
}

/// A step of the clock, as JSON has it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Step {
    #[serde(rename = "millis", with = "millis")]
    pub(crate) by: Duration,
}
