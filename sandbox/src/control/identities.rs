//! Roles, access keys and instance profiles as tests and demos control them.

use std::time::Duration;

use super::Control;
use crate::caller::AccountId;
use crate::state::accounts::{Credentials, RoleSpec};

impl Control {
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

    /// Makes an instance profile with a role. Every account has one to start with, [`crate::INSTANCE_PROFILE`].
    pub fn put_instance_profile(&self, account: &AccountId, name: &str, role: &str) {
        self.state.ec2.with(self.now(), |world| world.set_instance_profile(account, name, Some(role.to_owned())));
    }

    /// From now on, launches with this profile fail. Running instances keep its role.
    pub fn delete_instance_profile(&self, account: &AccountId, name: &str) {
        self.state.ec2.with(self.now(), |world| world.set_instance_profile(account, name, None));
    }

    /// The credentials that an instance finds in its metadata: those of its profile's role.
    pub fn instance_credentials(&self, instance_id: &str) -> Option<Credentials> {
        let instance = self.instance(instance_id)?;
        let role = instance.instance_role.as_deref()?;
        let lasting = Duration::from_secs(6 * 3600);
        Some(self.state.accounts.start_session(&instance.account, role, &instance.id, lasting))
    }
}
