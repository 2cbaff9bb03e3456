//! Instances as the sandbox sees them, and what happens to them from outside of AWS's API.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tokio::sync::broadcast;

use super::Control;
use crate::caller::{AccountId, Caller, CallerId};
use crate::error::ApiError;
use crate::protocol::params::Params;
use crate::services::ec2::call::Ec2Call;
use crate::services::ec2::run_instances;
use crate::state::ec2::event::InstanceEvent;
use crate::state::ec2::ids;
use crate::state::ec2::instance::{HealthStatus, Instance};
use crate::state::ec2::lifecycle::{self, Ending};
use crate::state::ec2::world::World;

impl Control {
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

    /// Launches what RunInstances with these parameters would launch for the account's root user, without a call: for
    /// tests of scale, which need instances and not their launch. Throttling applies while it is on.
    pub fn launch(
        &self,
        account: &AccountId,
        region: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Vec<String>, ApiError> {
        let form = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let caller = Caller { id: self.root(account)?, region: region.to_owned() };
        run_instances::launch_ids(&self.ec2_call(&caller, &form))
    }

    /// The account's root user.
    pub(super) fn root(&self, account: &AccountId) -> Result<CallerId, ApiError> {
        self.state.accounts.authenticate(&account.root_access_key(), None).map_err(|_| {
            ApiError::new("AuthFailure", format!("The access key of the root user of {account} was revoked"))
        })
    }

    pub(super) fn ec2_call<'a>(&'a self, caller: &'a Caller, form: &BTreeMap<String, String>) -> Ec2Call<'a> {
        Ec2Call { state: &self.state, caller, params: Params::new(form), now: self.now() }
    }

    /// As a user does in the AWS console.
    pub fn terminate_instance(&self, id: &str) -> Result<(), ApiError> {
        self.end(id, Ending::UserTerminates)
    }

    /// As a user does in the AWS console.
    pub fn stop_instance(&self, id: &str) -> Result<(), ApiError> {
        self.end(id, Ending::UserStops)
    }

    /// As a user does in the AWS console. Nothing happens to an instance that is not stopped.
    pub fn start_instance(&self, id: &str) -> Result<(), ApiError> {
        self.on_instance(id, |world, account, region, sequence, now| {
            world.start(sequence, account, region, now);
        })
    }

    /// As `shutdown` inside of the instance does: it stops or terminates, by its shutdown behaviour.
    pub fn shut_down_from_inside(&self, id: &str) -> Result<(), ApiError> {
        self.end(id, Ending::InstanceShutsDown)
    }

    /// Reclaims a Spot Instance without notice.
    pub fn reclaim_spot_instance(&self, id: &str) -> Result<(), ApiError> {
        self.check_spot(id)?;
        self.end(id, Ending::SpotInterruption)
    }

    /// The hardware under the instance fails: `Server.InternalError`.
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
            world.wake_group_of(now, account, region, id);
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

    /// Removes a tag as DeleteTags does, without a call.
    pub fn untag_instance(&self, id: &str, tag: &str) -> Result<(), ApiError> {
        self.on_instance(id, |world, account, region, sequence, now| {
            let lag = world.describe_lag;
            if let Some(found) = world.instance_mut(account, region, sequence) {
                lifecycle::remember(found, lag, now);
                found.tags.remove(tag);
            }
        })
    }

    pub(super) fn on_instance(
        &self,
        id: &str,
        work: impl FnOnce(&mut World, &AccountId, &str, u64, Timestamp),
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
