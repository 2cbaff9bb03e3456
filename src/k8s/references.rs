//! References to AwsAccounts: an AwsAccount is kept while an object refers to it, and a change of it reconciles these
//! objects.

use std::{
    collections::HashSet,
    hash::Hash,
    sync::{Arc, PoisonError, RwLock},
};

use futures::FutureExt;
use kube::{
    Resource, ResourceExt,
    api::ApiResource,
    runtime::reflector::{ObjectRef, Store},
};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    crd::aws_account::AwsAccount,
    ids::{InstanceId, Uid},
    k8s::{
        cached::{Cached, Use},
        object::Object,
    },
};

/// The caches of all kinds that can refer to an AwsAccount.
#[derive(Clone, Debug, Default)]
pub struct References(Arc<RwLock<Vec<Cache>>>);

#[derive(Clone)]
struct Cache {
    kind: &'static str,
    runs_workers: bool,
    store: Store<Cached>,
    uses: fn(&Cached) -> &[Use],
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// The owners of instances.
#[derive(Debug, Default)]
pub struct Holdings {
    pub uids: HashSet<Uid>,
    /// The adopted instances, each with the namespace and the name of the object that says so, as its owner tag has them.
    pub adopted: HashSet<(InstanceId, String)>,
}

/// The caches are not filled yet, so that a missing object proves nothing.
#[derive(Debug)]
pub struct NotSynced;

impl References {
    pub fn register<K: Object>(&self, store: Store<Cached>) {
        let cache = Cache { kind: K::NAME, runs_workers: K::OWNER_TAG.is_some(), store, uses: uses_of::<K> };
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(cache);
    }

    /// The AwsAccount of this name.
    pub fn account(&self, name: &str) -> Result<Option<Arc<Cached>>, NotSynced> {
        let caches = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let cache = caches.iter().find(|cache| cache.kind == AwsAccount::kind(&())).ok_or(NotSynced)?;
        if !is_synced(&cache.store) {
            return Err(NotSynced);
        }
        Ok(cache.store.find(|account| account.meta().name.as_deref() == Some(name)))
    }

    /// Whether there is an object of this kind, namespace and name.
    pub fn exists(&self, kind: &str, namespace: &str, name: &str) -> Result<bool, NotSynced> {
        let caches = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let named = |object: &Cached| {
            object.meta().name.as_deref() == Some(name) && object.meta().namespace.as_deref() == Some(namespace)
        };
        // If only some namespaces are watched, each has a cache.
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

    /// All objects that can own instances, and the instances that they have adopted.
    pub fn holdings(&self) -> Result<Holdings, NotSynced> {
        let mut found = Holdings::default();
        for object in self.synced(|_| true)?.iter().flat_map(|cache| cache.store.state()) {
            found.uids.extend(object.uid().and_then(|uid| Uid::try_from(uid).ok()));
            let status = object.read().map(|Adopter { status }| status).unwrap_or_default();
            let path = format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any());
            let ids = status.adopted.iter().filter_map(|id| InstanceId::try_from(id["id"].as_str()?).ok());
            found.adopted.extend(ids.map(|id| (id, path.clone())));
        }
        Ok(found)
    }

    /// Whether objects of this kind run workers.
    pub fn runs_workers(&self, kind: &str) -> bool {
        let caches = self.0.read().unwrap_or_else(PoisonError::into_inner);
        caches.iter().any(|cache| cache.kind == kind && cache.runs_workers)
    }

    /// The regions of `account` in which objects may run workers.
    pub fn regions_with_workers(&self, account: &str) -> Result<HashSet<String>, NotSynced> {
        let mut found = HashSet::new();
        for cache in self.synced(|cache| cache.runs_workers)? {
            for object in cache.store.state() {
                let uses = (cache.uses)(&object).iter().filter(|used| used.account == account);
                found.extend(uses.filter_map(|used| used.region.clone()));
            }
        }
        Ok(found)
    }

    /// The objects that refer to `account`, as `Kind namespace/name`, if `included` returns true for the kind and the
    /// namespace.
    pub fn to_account(&self, account: &str, included: impl Fn(&str, &str) -> bool) -> Result<Vec<String>, NotSynced> {
        let mut found = Vec::new();
        for cache in self.synced(|_| true)? {
            for object in cache.store.state() {
                let namespace = object.namespace().unwrap_or_default();
                if (cache.uses)(&object).iter().any(|used| used.account == account) && included(cache.kind, &namespace)
                {
                    found.push(format!("{} {namespace}/{}", cache.kind, object.name_any()));
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// The versions of a launch template that objects which run workers name, as they name them.
    pub fn launch_template_versions(&self, id: &str, name: &str) -> Result<HashSet<String>, NotSynced> {
        let mut found = HashSet::new();
        for object in self.synced(|cache| cache.runs_workers)?.iter().flat_map(|cache| cache.store.state()) {
            let Some(Templated { spec }) = object.read() else { continue };
            let base = &spec["template"]["launchTemplate"];
            if base["id"] == id || base["name"] == name {
                found.insert(base["version"].as_str().unwrap_or("$Default").to_owned());
            }
        }
        Ok(found)
    }

    fn synced(&self, included: impl Fn(&Cache) -> bool) -> Result<Vec<Cache>, NotSynced> {
        let caches = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let caches: Vec<_> = caches.iter().filter(|&cache| included(cache)).cloned().collect();
        if caches.iter().all(|cache| is_synced(&cache.store)) { Ok(caches) } else { Err(NotSynced) }
    }
}

/// Whether `store` has been filled.
pub fn is_synced<K: Resource<DynamicType: Clone + Eq + Hash> + Clone + 'static>(store: &Store<K>) -> bool {
    store.wait_until_ready().now_or_never().is_some_and(|ready| ready.is_ok())
}

/// The objects of kind `K` in `store` that refer to one of `accounts`.
pub fn referring<K: Object>(
    store: &Store<Cached>,
    accounts: &HashSet<String>,
    resource: &Arc<ApiResource>,
) -> Vec<ObjectRef<Cached>> {
    let refers = |object: &Cached| uses_of::<K>(object).iter().any(|used| accounts.contains(&used.account));
    store.state_filter(|o| refers(o)).iter().map(|o| ObjectRef::from_obj_with(&**o, resource.clone())).collect()
}

/// The instances that an object has adopted.
#[derive(Deserialize)]
struct Adopter {
    status: Adopted,
}

/// The spec of an object.
#[derive(Deserialize)]
struct Templated {
    spec: Value,
}

#[derive(Default, Deserialize)]
struct Adopted {
    #[serde(default)]
    adopted: Vec<Value>,
}

/// Reads the JSON, because an object whose spec this version cannot parse refers to an account too.
fn uses_of<K: Object>(object: &Cached) -> &[Use] {
    object.uses(|spec| aws_refs(spec, K::AWS_REFS))
}

fn aws_refs(spec: &Value, paths: &[&str]) -> Vec<Use> {
    paths
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
        api::DynamicObject,
        runtime::{reflector::store::Writer, watcher::Event},
    };

    use super::*;
    use crate::crd::worker_fleet::WorkerFleet;

    /// A cache of one namespace.
    fn cache(references: &References, named: &[(&str, &str)], synced: bool) -> Writer<Cached> {
        let resource = Arc::new(ApiResource::erase::<WorkerFleet>(&()));
        let mut writer = Writer::new(resource.clone());
        references.register::<WorkerFleet>(writer.as_reader());
        writer.apply_watcher_event(&Event::Init);
        for (namespace, name) in named {
            let object = DynamicObject::new(name, &resource).within(namespace);
            writer.apply_watcher_event(&Event::InitApply(object.into()));
        }
        if synced {
            writer.apply_watcher_event(&Event::InitDone);
        }
        writer
    }

    #[test]
    fn an_object_is_searched_in_the_caches_of_all_namespaces() {
        let references = References::default();
        let exists = |namespace, name| references.exists(WorkerFleet::NAME, namespace, name).ok();
        assert_eq!(exists("web", "prod"), None);
        let _ml = cache(&references, &[("ml", "train")], true);
        let _web = cache(&references, &[("web", "prod")], true);
        for (namespace, name, there) in
            [("ml", "train", true), ("web", "prod", true), ("ml", "prod", false), ("web", "train", false)]
        {
            assert_eq!(exists(namespace, name), Some(there), "{namespace}/{name}");
        }
        assert!(references.regions_with_workers("default").is_ok());
        let _late = cache(&references, &[], false);
        assert!(references.regions_with_workers("default").is_err());
        assert_eq!((exists("web", "prod"), exists("ml", "prod")), (Some(true), None));
    }
}
