//! An object as it was read, and the one way to write its status.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use kube::{
    Api, Resource, ResourceExt,
    api::{ApiResource, DynamicObject, PostParams},
};
use serde_json::Value;

use crate::{
    clock::Clock,
    context::Context,
    ids::Uid,
    reconcile::{Failure, Kind},
    write_ahead::Acknowledgement,
};

/// With a new value: look now. Echoed in `status.lastHandledRequestedAt`.
pub const REQUESTED_AT: &str = "muster.dev/requested-at";

/// An object of kind `K` together with the JSON it was read from.
///
/// Status is written only by [`Live::record`]: a PUT of the object as read, so it carries uid and resourceVersion, and
/// whoever looked at something older (a stale cache, a second leader, a recreated object) gets 409. Fields that this
/// version of muster does not know survive.
#[derive(Clone, Debug)]
pub struct Live<K: Kind> {
    raw: Arc<DynamicObject>,
    object: K,
    uid: Uid,
}

impl<K: Kind> Live<K> {
    /// Fails when the object does not have the shape that this version of muster knows.
    pub fn parse(raw: Arc<DynamicObject>) -> Result<Self, serde_json::Error> {
        let object: K = serde_json::from_value(serde_json::to_value(&*raw)?)?;
        let uid = Uid::try_from(raw.uid().unwrap_or_default()).map_err(serde::de::Error::custom)?;
        Ok(Self { raw, object, uid })
    }

    pub fn object(&self) -> &K {
        &self.object
    }

    pub fn uid(&self) -> &Uid {
        &self.uid
    }

    pub fn name(&self) -> &str {
        self.raw.metadata.name.as_deref().unwrap_or_default()
    }

    /// Empty for cluster-scoped kinds.
    pub fn namespace(&self) -> &str {
        self.raw.metadata.namespace.as_deref().unwrap_or_default()
    }

    pub fn generation(&self) -> i64 {
        self.raw.metadata.generation.unwrap_or_default()
    }

    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.raw.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// Whether somebody asks for a look at the world as it is now, rather than as it was at the last sweep.
    pub fn is_look_requested(&self) -> bool {
        let handled = self.status().as_mut().last_handled_requested_at.take();
        self.requested_at().is_some_and(|requested| handled != Some(requested))
    }

    /// What asks for a look, as the status echoes it.
    pub fn requested_at(&self) -> Option<String> {
        self.annotation(REQUESTED_AT).map(|requested| requested.chars().take(256).collect())
    }

    pub fn is_being_deleted(&self) -> bool {
        self.raw.metadata.deletion_timestamp.is_some()
    }

    pub fn raw(&self) -> &Arc<DynamicObject> {
        &self.raw
    }

    /// The status as last read or written; the default where there is none yet.
    pub fn status(&self) -> K::Status {
        self.object.status().cloned().unwrap_or_default()
    }

    /// Writes `status` unless it is what is stored already. The answer tells what the API server really stored: an older
    /// CRD prunes fields and still says 200.
    ///
    /// # Errors
    /// [`Failure::Stale`] when the object is no longer the one that was read: nothing was written, look again.
    pub async fn record(&mut self, ctx: &Context, status: K::Status) -> Result<Acknowledgement<K::Status>, Failure> {
        let started = Clock.monotonic();
        let before = known::<K>(self.object.status())?;
        let after = known::<K>(Some(&status))?;
        if before == after {
            return Ok(Acknowledgement::new(status, started));
        }
        let mut wanted = (*self.raw).clone();
        let stored = wanted.data.get("status").cloned().unwrap_or(Value::Null);
        if let Value::Object(data) = &mut wanted.data {
            data.insert("status".into(), merge("status", stored, &before, after));
        }
        let operation = format!("write the status of {} {}", K::kind(&()), self.name());
        let api = ctx.api_of(&wanted, &ApiResource::erase::<K>(&()));
        let params = PostParams::default();
        let answer = ctx.kube_call(&operation, api.replace_status(self.name(), &params, &wanted)).await?;
        ctx.written.note(&answer);
        let answer = Self::parse(Arc::new(answer)).map_err(|source| Failure::Shape { source })?;
        *self = answer;
        Ok(Acknowledgement::new(self.status(), started))
    }

    /// An API for the place where this object lives.
    pub fn api<T>(&self, ctx: &Context) -> Api<T>
    where
        T: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(ctx.kube.clone(), self.namespace())
    }

    /// When a requeue is due at the latest, spread a little so that objects made together do not stay together.
    pub fn spread(&self, period: Duration) -> Duration {
        let byte = u128::from_str_radix(&self.uid.hex(), 16).unwrap_or_default() as u32 % 256;
        period.mul_f64(0.9 + f64::from(byte) / 1280.0)
    }
}

/// The newest version of each object that this process wrote. The watch brings what was written a moment later; a look at
/// what was there before it would only find that it is outdated, after doing all the work.
#[derive(Clone, Debug, Default)]
pub struct Written(Arc<Mutex<HashMap<String, (u64, Instant)>>>);

impl Written {
    pub(crate) fn note(&self, object: &DynamicObject) {
        if let (Some(uid), Some(version)) = (object.uid(), version(object)) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(uid, (version, Clock.monotonic()));
        }
    }

    /// Whether something newer than `object` was written within `span`. Longer no watch lags: if what is there is still
    /// older, the cluster was restored from a backup, and what is there counts.
    pub(crate) fn is_newer_than(&self, object: &DynamicObject, span: Duration) -> bool {
        let written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = object.uid().and_then(|uid| written.get(&uid).copied());
        ours.zip(version(object)).is_some_and(|((ours, since), theirs)| ours > theirs && since.elapsed() < span)
    }

    pub(crate) fn forget(&self, uid: &Uid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid.as_str());
    }
}

/// Versions of one object are numbers that grow (Kubernetes 1.35, "Comparable resource versions").
fn version(object: &DynamicObject) -> Option<u64> {
    object.resource_version()?.parse().ok()
}

fn known<K: Kind>(status: Option<&K::Status>) -> Result<Value, Failure> {
    match status {
        Some(status) => serde_json::to_value(status).map_err(|source| Failure::Shape { source }),
        None => Ok(Value::Null),
    }
}

/// What to store: `after` laid over `stored`, where `before` is the part of `stored` that this version knows. What was
/// known and is gone is removed; what was never known stays, also inside of list items that have a key. `field` is where
/// it is stored.
fn merge(field: &str, stored: Value, before: &Value, after: Value) -> Value {
    match (stored, after) {
        (Value::Object(mut stored), Value::Object(after)) => {
            for key in before.as_object().into_iter().flat_map(|b| b.keys()) {
                if !after.contains_key(key) {
                    stored.remove(key);
                }
            }
            for (key, value) in after {
                let old = stored.remove(&key).unwrap_or(Value::Null);
                let merged = merge(&key, old, before.get(&key).unwrap_or(&Value::Null), value);
                stored.insert(key, merged);
            }
            Value::Object(stored)
        }
        (Value::Array(mut stored), Value::Array(after)) => Value::Array(
            after
                .into_iter()
                .map(|item| {
                    let Some(key) = item_key(field, &item) else { return item };
                    let same = |other: &Value| item_key(field, other) == Some(key);
                    let Some(old) = stored.iter().position(same).map(|i| stored.swap_remove(i)) else { return item };
                    let known = before.as_array().and_then(|b| b.iter().find(|i| same(i)));
                    merge(field, old, &known.cloned().unwrap_or(Value::Null), item.clone())
                })
                .collect(),
        ),
        (_, after) => after,
    }
}

/// What tells an item of a list from the others, in the lists of our statuses.
fn item_key<'a>(list: &str, item: &'a Value) -> Option<(&'static str, &'a Value)> {
    let keys: &[&str] = match list {
        "provisioned" => &["role"],
        "terminations" => &["reason"],
        "replacements" => &["since"],
        "indexFailures" => &["count"],
        _ => &["token", "type", "id", "name"],
    };
    keys.iter().find_map(|key| Some((*key, item.get(key).filter(|value| !value.is_null())?)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_another_version_wrote_survives() {
        let stored = json!({"a": 1, "gone": 2, "tomorrow": {"x": 1},
            "launches": [{"token": "t1", "count": 1, "tomorrow": true}, {"token": "t2", "count": 2}]});
        let before = json!({"a": 1, "gone": 2, "launches": [{"token": "t1", "count": 1}, {"token": "t2", "count": 2}]});
        let after = json!({"a": 5, "launches": [{"token": "t1", "count": 9}, {"token": "t3", "count": 3}]});
        assert_eq!(
            merge("status", stored, &before, after),
            json!({"a": 5, "tomorrow": {"x": 1},
                "launches": [{"token": "t1", "count": 9, "tomorrow": true}, {"token": "t3", "count": 3}]})
        );
    }

    #[test]
    fn a_first_status_is_stored_as_it_is() {
        assert_eq!(merge("status", Value::Null, &Value::Null, json!({"a": [1]})), json!({"a": [1]}));
    }

    #[test]
    fn items_of_every_list_that_is_on_record_keep_what_another_version_wrote() {
        for (list, key, value) in [
            ("launches", "token", json!("t1")),
            ("conditions", "type", json!("Ready")),
            ("instances", "id", json!("i-00000001")),
            ("roles", "name", json!("leader")),
            ("provisioned", "role", json!("main")),
            ("terminations", "reason", json!("ScaleDown")),
            ("replacements", "since", json!("2026-01-01T00:00:00Z")),
            ("indexFailures", "count", json!(2)),
        ] {
            let item = |tomorrow: bool| {
                let mut item = json!({key: value, "known": 1});
                if tomorrow {
                    item["tomorrow"] = json!({"x": 1});
                }
                json!({list: [{key: "another"}, item]})
            };
            let (before, mut after) = (item(false), item(false));
            after[list].as_array_mut().unwrap().remove(0);
            after[list][0]["known"] = json!(2);
            let expected = json!({list: [{key: value, "known": 2, "tomorrow": {"x": 1}}]});
            assert_eq!(merge("status", item(true), &before, after), expected, "{list}");
        }
    }
}
