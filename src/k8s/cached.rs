//! An object as the watch caches hold it. There are thousands of them at rest, and each is reconciled once a period.

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
};

use kube::{
    Resource,
    api::{ApiResource, DynamicObject, ObjectMeta, TypeMeta},
    core::DynamicResourceScope,
};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

use crate::k8s::object::Object;

/// Where kubectl keeps all of what was applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A reference to an AwsAccount, and the region.
#[derive(Clone, Debug)]
pub struct Use {
    pub account: String,
    pub region: Option<String>,
}

/// An object of any kind. It is small: what muster never reads is left out, and all but the metadata stays JSON text, which
/// takes a fifth of what a [`Value`] takes.
///
/// The API server keeps what is left out when a status is written.
#[derive(Clone, Debug)]
pub struct Cached {
    metadata: ObjectMeta,
    rest: Box<str>,
    /// Asked for of all objects whenever something that they may refer to changes.
    uses: OnceLock<Box<[Use]>>,
}

impl Cached {
    /// The object of kind `K` that this is, as far as muster knows it.
    pub fn object<K: Object>(&self) -> DynamicObject {
        let types = TypeMeta { api_version: K::api_version(&()).into_owned(), kind: K::kind(&()).into_owned() };
        DynamicObject { types: Some(types), metadata: self.metadata.clone(), data: self.read().unwrap_or_default() }
    }

    pub fn spec(&self) -> Value {
        #[derive(Deserialize)]
        struct Rest {
            spec: Value,
        }
        self.read().map(|Rest { spec }| spec).unwrap_or_default()
    }

    /// Whom its spec uses, as `read` finds it in there at the first time.
    pub fn uses(&self, read: impl FnOnce(&Value) -> Vec<Use>) -> &[Use] {
        self.uses.get_or_init(|| read(&self.spec()).into())
    }

    /// `None` where spec and status do not have this shape.
    pub fn read<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(&self.rest).ok()
    }
}

impl From<DynamicObject> for Cached {
    fn from(object: DynamicObject) -> Self {
        let DynamicObject { types: _, mut metadata, data } = object;
        metadata.managed_fields = None;
        if let Some(annotations) = &mut metadata.annotations {
            annotations.remove(LAST_APPLIED);
        }
        metadata.annotations = metadata.annotations.filter(|annotations| !annotations.is_empty());
        Self { metadata, rest: data.to_string().into(), uses: OnceLock::new() }
    }
}

impl<'de> Deserialize<'de> for Cached {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        DynamicObject::deserialize(deserializer).map(Self::from)
    }
}

impl Resource for Cached {
    /// Shared, as the cache and the queue name every object with it.
    type DynamicType = Arc<ApiResource>;
    type Scope = DynamicResourceScope;

    fn kind(resource: &Arc<ApiResource>) -> Cow<'_, str> {
        DynamicObject::kind(resource)
    }

    fn group(resource: &Arc<ApiResource>) -> Cow<'_, str> {
        DynamicObject::group(resource)
    }

    fn version(resource: &Arc<ApiResource>) -> Cow<'_, str> {
        DynamicObject::version(resource)
    }

    fn plural(resource: &Arc<ApiResource>) -> Cow<'_, str> {
        DynamicObject::plural(resource)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::crd::worker_fleet::WorkerFleet;

    #[test]
    fn a_cache_keeps_only_the_fields_that_muster_reads() {
        let spec = json!({"replicas": 0, "tomorrow": {"x": [1, "ä"]}});
        let status = json!({"adopted": ["i-00000001"], "tomorrow": true});
        let metadata = json!({"name": "web", "namespace": "ns", "uid": "u", "resourceVersion": "7", "generation": 2,
            "annotations": {"muster.dev/orphan": "true"}, "finalizers": ["muster.dev/workerfleet"],
            "deletionTimestamp": "2026-01-01T00:00:00Z"});
        let mut full = metadata.clone();
        full["managedFields"] = json!([{"manager": "kubectl", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]);
        full["annotations"][LAST_APPLIED] = spec.to_string().into();
        let types = json!({"apiVersion": "muster.dev/v1alpha1", "kind": "WorkerFleet"});
        let object = |metadata: &Value| {
            let mut object = types.clone();
            (object["metadata"], object["spec"], object["status"]) = (metadata.clone(), spec.clone(), status.clone());
            object
        };
        let cached: Cached = serde_json::from_value(object(&full)).unwrap();
        assert_eq!(serde_json::to_value(cached.object::<WorkerFleet>()).unwrap(), object(&metadata));
        assert_eq!(cached.spec(), spec);
        let held = format!("{cached:?}");
        assert!(!held.contains("f:replicas") && !held.contains(LAST_APPLIED), "{held}");
    }

    #[test]
    fn an_object_without_a_spec_is_cached_too() {
        let cached: Cached = serde_json::from_value(json!({"metadata": {"name": "web"}})).unwrap();
        assert_eq!(cached.spec(), Value::Null);
        assert_eq!(cached.object::<WorkerFleet>().data, json!({}));
        assert!(cached.meta().annotations.is_none());
    }
}
