//! An object as it was read, and the only way to write its status.

use std::{sync::Arc, time::Duration};

use kube::{
    Api, Resource, ResourceExt,
    api::{ApiResource, DynamicObject, PostParams},
};
use serde_json::Value;

use crate::{
    clock::Clock,
    ids::Uid,
    k8s::{
        cluster::{Cluster, Error},
        object::{Object, StatusList},
    },
    write_ahead::Acknowledgement,
};

/// A new value requests a reconcile now. `status.lastHandledRequestedAt` repeats the last handled value.
pub const REQUESTED_AT: &str = "muster.dev/requested-at";

/// An object of kind `K` together with the JSON it was read from.
///
/// Only [`Live::record`] writes the status: a PUT of the object as read, with its uid and resourceVersion, so that a
/// writer with an older object (a stale cache, a second leader, a recreated object) gets 409. Fields that this version
/// of muster does not know are kept.
#[derive(Clone, Debug)]
pub struct Live<K: Object> {
    raw: Arc<DynamicObject>,
    object: K,
    uid: Uid,
    /// A requested reconcile has to wait, so this one is not it.
    request_waits: bool,
}

impl<K: Object> Live<K> {
    /// Fails if the object does not match the types of this version of muster.
    pub fn parse(raw: Arc<DynamicObject>) -> Result<Self, serde_json::Error> {
        let object: K = serde_json::from_value(serde_json::to_value(&*raw)?)?;
        let uid = Uid::try_from(raw.uid().unwrap_or_default()).map_err(serde::de::Error::custom)?;
        Ok(Self { raw, object, uid, request_waits: false })
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

    /// Whether a reconcile with current data, rather than that of the last sweep, was requested and not handled yet.
    pub fn is_reconcile_requested(&self) -> bool {
        let handled = self.status().as_mut().last_handled_requested_at.take();
        self.requested_at().is_some_and(|requested| handled != Some(requested))
    }

    /// This is not the requested reconcile: a later one is.
    pub fn defer_request(&mut self) {
        self.request_waits = true;
    }

    /// The value of [`REQUESTED_AT`], as the status repeats it.
    pub fn requested_at(&self) -> Option<String> {
        if self.request_waits {
            return self.status().as_mut().last_handled_requested_at.take();
        }
        self.annotation(REQUESTED_AT).map(|requested| requested.chars().take(256).collect())
    }

    pub fn is_being_deleted(&self) -> bool {
        self.raw.metadata.deletion_timestamp.is_some()
    }

    pub fn raw(&self) -> &Arc<DynamicObject> {
        &self.raw
    }

    /// The status as last read or written; the default if there is none yet.
    pub fn status(&self) -> K::Status {
        self.object.status().cloned().unwrap_or_default()
    }

    /// Writes `status` if it differs from the stored one. The response contains what the API server really stored: an
    /// older CRD prunes fields and still returns 200.
    ///
    /// # Errors
    /// [`Error::Stale`] if the object has changed since it was read: nothing was written, reconcile again.
    pub async fn record(&mut self, cluster: &Cluster, status: K::Status) -> Result<Acknowledgement<K::Status>, Error> {
        let started = Clock.monotonic();
        let known = |status: Option<&K::Status>| serde_json::to_value(status).map_err(|source| Error::Shape { source });
        let (before, after) = (known(self.object.status())?, known(Some(&status))?);
        if before == after {
            return Ok(Acknowledgement::new(status, started));
        }
        let mut wanted = (*self.raw).clone();
        let stored = wanted.data.get("status").cloned().unwrap_or(Value::Null);
        if let Value::Object(data) = &mut wanted.data {
            data.insert("status".into(), merge(K::STATUS_LISTS, "status", stored, &before, after));
        }
        let operation = format!("write the status of {} {}", K::kind(&()), self.name());
        let api = cluster.api_of(&wanted, &ApiResource::erase::<K>(&()));
        let params = PostParams::default();
        let answer = cluster.call(&operation, api.replace_status(self.name(), &params, &wanted)).await?;
        cluster.written.note(&answer);
        let answer = Self::parse(Arc::new(answer)).map_err(|source| Error::Shape { source })?;
        *self = answer;
        Ok(Acknowledgement::new(self.status(), started))
    }

    /// An API for the namespace of this object.
    pub fn api<T>(&self, cluster: &Cluster) -> Api<T>
    where
        T: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(cluster.client.clone(), self.namespace())
    }

    /// `period`, varied a little by object, so that objects that were created together are not reconciled together.
    pub fn spread(&self, period: Duration) -> Duration {
        let byte = u128::from_str_radix(&self.uid.hex(), 16).unwrap_or_default() as u32 % 256;
        period.mul_f64(0.9 + f64::from(byte) / 1280.0)
    }
}

/// The lists of a status.
type Lists = &'static [&'static [StatusList]];

/// The value to store in `field`: `stored`, updated with `after`; `before` is the part of `stored` that this version
/// knows. Known fields that are absent in `after` are removed; unknown fields are kept, also in list items that have a
/// key.
fn merge(lists: Lists, field: &str, stored: Value, before: &Value, after: Value) -> Value {
    match (stored, after) {
        (Value::Object(mut stored), Value::Object(after)) => {
            for key in before.as_object().into_iter().flat_map(|b| b.keys()) {
                if !after.contains_key(key) {
                    stored.remove(key);
                }
            }
            for (key, value) in after {
                let old = stored.remove(&key).unwrap_or(Value::Null);
                let merged = merge(lists, &key, old, before.get(&key).unwrap_or(&Value::Null), value);
                stored.insert(key, merged);
            }
            Value::Object(stored)
        }
        (Value::Array(mut stored), Value::Array(after)) => {
            let Some(key) = item_key(lists, field) else { return Value::Array(after) };
            let merged = after.into_iter().map(|item| {
                let same = |other: &Value| other.get(key) == item.get(key);
                let Some(old) = stored.iter().position(same).map(|i| stored.swap_remove(i)) else { return item };
                let known = before.as_array().and_then(|before| before.iter().find(|i| same(i)));
                merge(lists, field, old, known.unwrap_or(&Value::Null), item.clone())
            });
            Value::Array(merged.collect())
        }
        (_, after) => after,
    }
}

/// The field that identifies an item of the list `list`.
fn item_key(lists: Lists, list: &str) -> Option<&'static str> {
    lists.iter().copied().flatten().find(|known| known.field == list)?.key
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::k8s::object::COMMON_LISTS;

    const LISTS: Lists = &[COMMON_LISTS, &[StatusList::keyed("launches", "token"), StatusList::replaced("plain")]];

    #[test]
    fn fields_of_another_version_are_kept() {
        let stored = json!({"a": 1, "gone": 2, "tomorrow": {"x": 1},
            "launches": [{"token": "t1", "count": 1, "tomorrow": true}, {"token": "t2", "count": 2}]});
        let before = json!({"a": 1, "gone": 2, "launches": [{"token": "t1", "count": 1}, {"token": "t2", "count": 2}]});
        let after = json!({"a": 5, "launches": [{"token": "t1", "count": 9}, {"token": "t3", "count": 3}]});
        assert_eq!(
            merge(LISTS, "status", stored, &before, after),
            json!({"a": 5, "tomorrow": {"x": 1},
                "launches": [{"token": "t1", "count": 9, "tomorrow": true}, {"token": "t3", "count": 3}]})
        );
    }

    #[test]
    fn a_first_status_is_stored_as_it_is() {
        assert_eq!(merge(LISTS, "status", Value::Null, &Value::Null, json!({"a": [1]})), json!({"a": [1]}));
    }

    #[test]
    fn a_list_without_a_key_is_replaced_as_a_whole() {
        let items = |known| json!({"plain": [{"name": "a", "known": known}]});
        let stored = json!({"plain": [{"name": "a", "known": 1, "tomorrow": true}]});
        assert_eq!(merge(LISTS, "status", stored, &items(1), items(2)), items(2));
    }
}
