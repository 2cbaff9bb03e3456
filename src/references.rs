//! Who refers to what: so that an AwsAccount is kept while something needs it, and those who need it look again when it
//! changes.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock},
};

use kube::{
    ResourceExt,
    api::DynamicObject,
    runtime::reflector::{ObjectRef, Store},
};

use crate::{
    aws_account::AwsAccount,
    ids::{InstanceId, Uid},
    reconcile::Kind,
};

/// The caches of all kinds that can refer to an AwsAccount.
#[derive(Clone, Debug, Default)]
pub struct References(Arc<RwLock<Vec<Cache>>>);

#[derive(Clone)]
struct Cache {
    kind: &'static str,
    store: Store<DynamicObject>,
    uses: fn(&DynamicObject) -> Vec<Use>,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// An account and a region in it.
#[derive(Debug)]
struct Use {
    account: String,
    region: Option<String>,
}

/// Whose machines are somebody's.
#[derive(Debug, Default)]
pub struct Holdings {
    pub uids: HashSet<Uid>,
    pub adopted: HashSet<InstanceId>,
}

/// The caches are not filled yet, so that nothing is found proves nothing.
#[derive(Debug)]
pub struct NotSynced;

impl References {
    pub fn register<K: Kind>(&self, store: Store<DynamicObject>) {
        let cache = Cache { kind: K::NAME, store, uses: uses_of::<K> };
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(cache);
    }

    /// The AwsAccount of this name.
    pub fn account(&self, name: &str) -> Result<Option<Arc<DynamicObject>>, NotSynced> {
        let caches = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let cache = caches.iter().find(|cache| cache.kind == AwsAccount::NAME).ok_or(NotSynced)?;
        if !is_synced(&cache.store) {
            return Err(NotSynced);
        }
        Ok(cache.store.find(|account| account.metadata.name.as_deref() == Some(name)))
    }

    /// Whether there is an object of this kind, namespace and name.
    pub fn exists(&self, kind: &str, namespace: &str, name: &str) -> Result<bool, NotSynced> {
        let caches = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let named = |object: &DynamicObject| {
            object.metadata.name.as_deref() == Some(name) && object.metadata.namespace.as_deref() == Some(namespace)
        };
        // There is a cache for each namespace that is watched, where not all are.
        let mut of_kind = caches.iter().filter(|cache| cache.kind == kind).peekable();
        if of_kind.peek().is_none() {
            return Err(NotSynced);
        }
        let mut synced = true;
        for cache in of_kind {
            if cache.store.find(named).is_some() {
                return Ok(true);
            }
            synced &= is_synced(&cache.store);
        }
        if synced { Ok(false) } else { Err(NotSynced) }
    }

    /// What the objects of all kinds may own.
    pub fn holdings(&self) -> Result<Holdings, NotSynced> {
        let caches = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut found = Holdings::default();
        for cache in &caches {
            if !is_synced(&cache.store) {
                return Err(NotSynced);
            }
            for object in cache.store.state() {
                found.uids.extend(object.uid().and_then(|uid| Uid::try_from(uid).ok()));
                let adopted = object.data.pointer("/status/adopted").and_then(|ids| ids.as_array());
                let ids = adopted.into_iter().flatten().filter_map(|id| InstanceId::try_from(id.as_str()?).ok());
                found.adopted.extend(ids);
            }
        }
        Ok(found)
    }

    /// The regions of `account` that objects of `kinds` use.
    pub fn regions(&self, account: &str, kinds: &[&str]) -> Result<HashSet<String>, NotSynced> {
        let caches = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut found = HashSet::new();
        for cache in caches.iter().filter(|cache| kinds.contains(&cache.kind)) {
            if !is_synced(&cache.store) {
                return Err(NotSynced);
            }
            let uses = cache.store.state().into_iter().flat_map(|object| (cache.uses)(&object));
            found.extend(uses.filter(|used| used.account == account).filter_map(|used| used.region));
        }
        Ok(found)
    }

    /// The objects that refer to `account`, as `Kind namespace/name`.
    pub fn to_account(&self, account: &str) -> Result<Vec<String>, NotSynced> {
        let caches = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut found = Vec::new();
        for cache in &caches {
            if !is_synced(&cache.store) {
                return Err(NotSynced);
            }
            for object in cache.store.state() {
                if (cache.uses)(&object).iter().any(|used| used.account == account) {
                    let namespace = object.namespace().unwrap_or_default();
                    found.push(format!("{} {namespace}/{}", cache.kind, object.name_any()));
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

/// Whether `store` has been filled once.
pub fn is_synced(store: &Store<DynamicObject>) -> bool {
    use futures::FutureExt;
    store.wait_until_ready().now_or_never().is_some_and(|ready| ready.is_ok())
}

/// The objects of kind `K` in `store` that refer to `account`.
pub fn referring<K: Kind>(
    store: &Store<DynamicObject>,
    account: &str,
    resource: &kube::api::ApiResource,
) -> Vec<ObjectRef<DynamicObject>> {
    let refers = |object: &DynamicObject| uses_of::<K>(object).iter().any(|used| used.account == account);
    store.state_filter(|o| refers(o)).iter().map(|o| ObjectRef::from_obj_with(&**o, resource.clone())).collect()
}

/// Read from the JSON itself: an object whose spec this version cannot parse refers all the same.
fn uses_of<K: Kind>(object: &DynamicObject) -> Vec<Use> {
    let spec = &object.data["spec"];
    K::AWS_REFS
        .iter()
        .flat_map(|path| match path.split_once("[]") {
            None => spec.pointer(path).into_iter().collect::<Vec<_>>(),
            Some((list, rest)) => spec
                .pointer(list)
                .and_then(|l| l.as_array())
                .into_iter()
                .flatten()
                .filter_map(|i| i.pointer(rest))
                .collect(),
        })
        .map(|aws| Use {
            account: aws.pointer("/accountRef/name").and_then(|n| n.as_str()).unwrap_or("default").to_owned(),
            region: aws.get("region").and_then(|region| region.as_str()).map(str::to_owned),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use kube::{
        api::ApiResource,
        runtime::{reflector::store::Writer, watcher::Event},
    };

    use super::*;
    use crate::fleet_report::FleetReport;

    /// A cache of one namespace, as far as it is filled.
    fn cache(references: &References, named: &[(&str, &str)], synced: bool) -> Writer<DynamicObject> {
        let resource = ApiResource::erase::<FleetReport>(&());
        let mut writer = Writer::new(resource.clone());
        references.register::<FleetReport>(writer.as_reader());
        writer.apply_watcher_event(&Event::Init);
        for (namespace, name) in named {
            writer.apply_watcher_event(&Event::InitApply(DynamicObject::new(name, &resource).within(namespace)));
        }
        if synced {
            writer.apply_watcher_event(&Event::InitDone);
        }
        writer
    }

    #[test]
    fn an_object_is_looked_for_in_the_caches_of_all_namespaces() {
        let references = References::default();
        let exists = |namespace, name| references.exists(FleetReport::NAME, namespace, name).ok();
        assert_eq!(exists("web", "prod"), None);
        let _ml = cache(&references, &[("ml", "train")], true);
        let _web = cache(&references, &[("web", "prod")], true);
        for (namespace, name, there) in
            [("ml", "train", true), ("web", "prod", true), ("ml", "prod", false), ("web", "train", false)]
        {
            assert_eq!(exists(namespace, name), Some(there), "{namespace}/{name}");
        }
        assert!(references.regions("default", &[FleetReport::NAME]).is_ok());
        let _late = cache(&references, &[], false);
        assert!(references.regions("default", &[FleetReport::NAME]).is_err());
        assert_eq!((exists("web", "prod"), exists("ml", "prod")), (Some(true), None));
    }
}
