//! The parameters of all accounts and regions.

mod parameter;
mod published;
mod store;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::caller::AccountId;

pub use parameter::{Kind, Parameter, Tier, Version};
use published::published;
pub(crate) use published::{plain, public};
pub(crate) use store::Store;

#[derive(Debug, Default)]
pub(crate) struct Ssm {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    stores: HashMap<(AccountId, String), BTreeMap<String, Parameter>>,
    /// By region: what AWS itself publishes to everybody.
    public: HashMap<String, BTreeMap<String, Parameter>>,
}

impl Ssm {
    pub(crate) fn with<T>(&self, account: &AccountId, region: &str, work: impl FnOnce(&mut Store<'_>) -> T) -> T {
        let mut inner = self.lock();
        let Inner { stores, public } = &mut *inner;
        let own = stores.entry((account.clone(), region.to_owned())).or_default();
        let public = public.entry(region.to_owned()).or_insert_with(|| published(region));
        work(&mut Store { own, public })
    }

    pub(crate) fn publish(&self, region: &str, parameter: Parameter) {
        let mut inner = self.lock();
        let public = inner.public.entry(region.to_owned()).or_insert_with(|| published(region));
        public.insert(parameter.name.clone(), parameter);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
