//! Parameter Store as tests and demos control it.

use super::Control;
use crate::caller::AccountId;
use crate::state::ssm::{self, Parameter};

impl Control {
    /// The account's parameters in a region, with all their versions, decrypted.
    pub fn parameters(&self, account: &AccountId, region: &str) -> Vec<Parameter> {
        self.state.ssm.with(account, region, |store| store.own.values().cloned().collect())
    }

    pub fn parameter(&self, account: &AccountId, region: &str, name: &str) -> Option<Parameter> {
        self.state.ssm.with(account, region, |store| store.own.get(name).cloned())
    }

    /// Makes or replaces a parameter of an account, of type String.
    pub fn set_parameter(&self, account: &AccountId, region: &str, name: &str, value: &str) {
        let made = ssm::plain(Some(account), region, name, value, self.now());
        self.state.ssm.with(account, region, |store| store.own.insert(name.to_owned(), made));
    }

    /// Publishes a parameter to all accounts, as AWS does below `/aws/service`.
    pub fn put_public_parameter(&self, region: &str, name: &str, value: &str) {
        let made = ssm::public(region, name, value, self.now());
        self.state.ssm.publish(region, made);
    }
}
