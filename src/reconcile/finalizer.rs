//! The finalizer: put on before anything is made outside, taken off when nothing of it is left.
//!
//! kube's own `finalizer()` tells objects apart by name only, so a leader that was paused could strip an object that was
//! deleted and made again meanwhile. These patches test uid and resourceVersion.

use json_patch::{
    AddOperation, Patch as JsonPatch, PatchOperation, ReplaceOperation, TestOperation, jsonptr::PointerBuf,
};
use kube::{
    ResourceExt,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    core::Status,
};
use serde_json::{Value, json};

use super::{Failure, Kind};
use crate::{context::Context, live::Live};

/// With the value `true` on an object that is being deleted, it is let go and AWS is left as it is.
pub const ORPHAN: &str = "muster.dev/orphan";

pub(super) fn is_set<K: Kind>(object: &DynamicObject) -> bool {
    object.finalizers().iter().any(|f| f == K::FINALIZER)
}

/// Whether an object that is being deleted shall go at once, and AWS be left as it is.
pub(super) fn is_orphaned(object: &DynamicObject) -> bool {
    object.metadata.deletion_timestamp.is_some() && object.annotations().get(ORPHAN).is_some_and(|v| v == "true")
}

/// The object with its finalizer, as stored.
pub(super) async fn put_on<K: Kind>(ctx: &Context, live: &Live<K>) -> Result<Live<K>, Failure> {
    let mut finalizers = live.raw().finalizers().to_vec();
    finalizers.push(K::FINALIZER.into());
    let stored = patch::<K>(ctx, live.raw(), finalizers).await?.ok_or(Failure::Stale)?;
    ctx.written.note(&stored);
    Live::parse(stored.into()).map_err(|source| Failure::Shape { source })
}

/// Takes the finalizer off. That the object is gone already is as good.
pub(super) async fn take_off<K: Kind>(ctx: &Context, object: &DynamicObject) -> Result<(), Failure> {
    let finalizers = object.finalizers().iter().filter(|f| *f != K::FINALIZER).cloned().collect();
    patch::<K>(ctx, object, finalizers).await.map(drop)
}

/// `None` when the object does not exist any more.
async fn patch<K: Kind>(
    ctx: &Context,
    raw: &DynamicObject,
    finalizers: Vec<String>,
) -> Result<Option<DynamicObject>, Failure> {
    let at = |path: &str| PointerBuf::parse(path).map_err(|_| Failure::Stale);
    let value = json!(finalizers);
    let change = match raw.finalizers() {
        [] => PatchOperation::Add(AddOperation { path: at("/metadata/finalizers")?, value }),
        _ => PatchOperation::Replace(ReplaceOperation { path: at("/metadata/finalizers")?, value }),
    };
    let test = |path: &str, value: Option<String>| {
        Ok::<_, Failure>(PatchOperation::Test(TestOperation {
            path: at(path)?,
            value: value.map_or(Value::Null, Value::String),
        }))
    };
    let operations =
        vec![test("/metadata/uid", raw.uid())?, test("/metadata/resourceVersion", raw.resource_version())?, change];
    let name = raw.metadata.name.as_deref().unwrap_or_default();
    let operation = format!("change the finalizers of {} {name}", K::NAME);
    let api = ctx.api_of(raw, &ApiResource::erase::<K>(&()));
    let params = PatchParams::default();
    let patch = Patch::Json::<()>(JsonPatch(operations));
    match ctx.kube_call(&operation, api.patch(name, &params, &patch)).await {
        Ok(object) => Ok(Some(object)),
        Err(Failure::Kube { source, .. }) if matches!(&*source, kube::Error::Api(s) if s.code == 404) => Ok(None),
        // A test that does not hold is answered 422 without a cause; an object that is not valid, with causes.
        Err(Failure::Kube { source, .. }) if matches!(&*source, kube::Error::Api(s) if s.code == 422 && causes(s) == 0) => {
            Err(Failure::Stale)
        }
        Err(error) => Err(error),
    }
}

fn causes(status: &Status) -> usize {
    status.details.as_ref().map_or(0, |details| details.causes.len())
}
