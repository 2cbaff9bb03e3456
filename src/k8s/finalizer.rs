//! The finalizer: added before resources are created in AWS, removed when all of them are deleted.
//!
//! `finalizer()` of kube identifies objects by name only, so a paused leader could remove the finalizer of an object
//! that was deleted and created again. These patches test the uid and the resourceVersion.

use kube::{
    ResourceExt,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    core::Status,
};
use serde_json::json;

use crate::k8s::{
    cluster::{Cluster, Error},
    live::Live,
    object::Object,
};

/// With the value `true` on an object that is being deleted, its finalizer is removed without a change in AWS.
pub const ORPHAN: &str = "muster.dev/orphan";

pub fn is_set<K: Object>(object: &DynamicObject) -> bool {
    object.finalizers().iter().any(|f| f == K::FINALIZER)
}

/// Whether the object is being deleted and has the annotation [`ORPHAN`].
pub fn is_orphaned(object: &DynamicObject) -> bool {
    object.metadata.deletion_timestamp.is_some() && object.annotations().get(ORPHAN).is_some_and(|v| v == "true")
}

/// Adds the finalizer, and returns the stored object.
pub async fn add<K: Object>(cluster: &Cluster, live: &Live<K>) -> Result<Live<K>, Error> {
    let mut finalizers = live.raw().finalizers().to_vec();
    finalizers.push(K::FINALIZER.into());
    let stored = patch::<K>(cluster, live.raw(), finalizers).await?.ok_or(Error::Stale)?;
    cluster.written.note(&stored);
    Live::parse(stored.into()).map_err(|source| Error::Shape { source })
}

/// Removes the finalizer. It is no error if the object no longer exists.
pub async fn remove<K: Object>(cluster: &Cluster, object: &DynamicObject) -> Result<(), Error> {
    let finalizers = object.finalizers().iter().filter(|f| *f != K::FINALIZER).cloned().collect();
    patch::<K>(cluster, object, finalizers).await.map(drop)
}

/// `None` if the object no longer exists.
async fn patch<K: Object>(
    cluster: &Cluster,
    raw: &DynamicObject,
    finalizers: Vec<String>,
) -> Result<Option<DynamicObject>, Error> {
    let operations = json!([
        {"op": "test", "path": "/metadata/uid", "value": raw.uid()},
        {"op": "test", "path": "/metadata/resourceVersion", "value": raw.resource_version()},
        {
            "op": if raw.finalizers().is_empty() { "add" } else { "replace" },
            "path": "/metadata/finalizers",
            "value": finalizers,
        },
    ]);
    let patch = serde_json::from_value(operations).map_err(|source| Error::Shape { source })?;
    let name = raw.metadata.name.as_deref().unwrap_or_default();
    let operation = format!("change the finalizers of {} {name}", K::NAME);
    let api = cluster.api_of(raw, &ApiResource::erase::<K>(&()));
    let (params, patch) = (PatchParams::default(), Patch::Json::<()>(patch));
    match cluster.call(&operation, api.patch(name, &params, &patch)).await {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.is_not_found() => Ok(None),
        // A failed test gives 422 without causes; an invalid object gives 422 with causes.
        Err(Error::Call { source, .. }) if matches!(&*source, kube::Error::Api(s) if s.code == 422 && causes(s) == 0) => {
            Err(Error::Stale)
        }
        Err(error) => Err(error),
    }
}

fn causes(status: &Status) -> usize {
    status.details.as_ref().map_or(0, |details| details.causes.len())
}
