//! Secrets and ConfigMaps: read by name, and watched if they have the label.
//!
//! The watches receive metadata only, never values.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api, Client, Resource as _, ResourceExt,
    api::ApiResource,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt,
        reflector::{ObjectRef, Store},
        watcher,
    },
};
use serde_json::Value;

use crate::{
    clock::Clock,
    config::Namespaces,
    error_chain::Chain,
    k8s::{
        cached::Cached,
        changes::Changes,
        cluster::{Cluster, Error},
        live::Live,
        object::Object,
    },
};

/// How long the end of a watch is remembered. No read that it may concern is older.
const REMEMBERED: Duration = Duration::from_hours(2);

/// With the value `true` on a Secret or ConfigMap, a change of it takes effect at once.
pub const WATCH_LABEL: &str = "muster.dev/watch";

/// A Secret or ConfigMap that values come from, by name, in the namespace of the object that refers to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    Secret(String),
    ConfigMap(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(name) => write!(f, "Secret {name}"),
            Self::ConfigMap(name) => write!(f, "ConfigMap {name}"),
        }
    }
}

/// The content of a source.
#[derive(Clone, PartialEq, Eq)]
pub struct Content {
    pub data: BTreeMap<String, Vec<u8>>,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content").field("keys", &self.data.keys()).finish_non_exhaustive()
    }
}

/// Reads a source. `None` when it does not exist.
pub async fn read<K>(cluster: &Cluster, live: &Live<K>, source: &Source) -> Result<Option<Content>, Error>
where
    K: Object + kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
{
    Ok(match source {
        Source::Secret(name) => {
            let secret = cluster.find(&live.api::<Secret>(cluster), name).await?;
            secret.map(|secret| Content {
                data: secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect(),
            })
        }
        Source::ConfigMap(name) => {
            let map = cluster.find(&live.api::<ConfigMap>(cluster), name).await?;
            map.map(|map| {
                let text = map.data.clone().unwrap_or_default().into_iter().map(|(k, v)| (k, v.into_bytes()));
                let binary = map.binary_data.clone().unwrap_or_default().into_iter().map(|(k, v)| (k, v.0));
                Content { data: text.chain(binary).collect() }
            })
        }
    })
}

/// A source that changed, with its namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Changed {
    pub namespace: String,
    pub source: Source,
}

/// Whether some sources have changed since they were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Changed,
    /// All of them are watched, and none changed.
    Unchanged,
    /// Not all of them are watched.
    Unknown,
}

/// The watched Secrets and ConfigMaps, and when they changed.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    seen: Arc<Mutex<HashMap<Changed, Seen>>>,
    changes: Changes<Changed>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Instant,
    /// It exists and has the label, so that its next change will be noticed too.
    watched: bool,
}

impl Watched {
    /// Watches the labelled Secrets and ConfigMaps of the watched namespaces until the future is dropped.
    pub async fn follow(&self, client: Client, namespaces: &Namespaces) {
        let all = match namespaces {
            Namespaces::All => vec![None],
            Namespaces::Only(names) => names.iter().map(|name| Some(name.as_str())).collect(),
        };
        let watches = all.into_iter().map(|namespace| {
            let secrets = self.follow_one(metadata::<Secret>(&client, namespace), Source::Secret);
            let maps = self.follow_one(metadata::<ConfigMap>(&client, namespace), Source::ConfigMap);
            futures::future::join(secrets, maps)
        });
        futures::future::join_all(watches).await;
    }

    async fn follow_one<O>(&self, api: Api<O>, source: fn(String) -> Source)
    where
        O: kube::Resource + Clone + fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
    {
        let config = watcher::Config::default().labels(&format!("{WATCH_LABEL}=true"));
        let mut events = std::pin::pin!(watcher(api, config).default_backoff());
        let mut known = BTreeSet::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.handle(&mut known, event, source),
                Err(error) => tracing::warn!(error = %Chain(&error), "the watch was interrupted; it is restarted"),
            }
        }
    }

    /// `known` are the objects that the watch has listed.
    fn handle<O: kube::Resource>(
        &self,
        known: &mut BTreeSet<Changed>,
        event: watcher::Event<O>,
        source: fn(String) -> Source,
    ) {
        let changed = |object: &O| {
            let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
            Changed { namespace, source: source(name) }
        };
        match event {
            watcher::Event::Apply(object) | watcher::Event::InitApply(object) => {
                known.insert(changed(&object));
                self.note(changed(&object), true);
            }
            // Or the label was removed.
            watcher::Event::Delete(object) => {
                known.remove(&changed(&object));
                self.note(changed(&object), false);
            }
            // All are listed again, without those that were deleted while there was no watch.
            watcher::Event::Init => std::mem::take(known).into_iter().for_each(|gone| self.note(gone, false)),
            watcher::Event::InitDone => {}
        }
    }

    fn note(&self, changed: Changed, watched: bool) {
        let now = Clock.monotonic();
        let mut seen = self.lock();
        seen.retain(|_, seen| seen.watched || now.saturating_duration_since(seen.at) < REMEMBERED);
        seen.insert(changed.clone(), Seen { at: now, watched });
        drop(seen);
        self.changes.tell(&changed);
    }

    /// What has changed in each `pause`.
    pub fn changes(&self, pause: Duration) -> impl Stream<Item = HashSet<Changed>> + Send + use<> {
        self.changes.listen(pause)
    }

    /// Whether `sources` have changed since they were read at `since`.
    pub fn change_since(&self, namespace: &str, sources: &BTreeSet<Source>, since: Instant) -> Change {
        let seen = self.lock();
        let of = |source: &Source| seen.get(&Changed { namespace: namespace.into(), source: source.clone() }).copied();
        let seen: Vec<_> = sources.iter().map(of).collect();
        if seen.iter().flatten().any(|seen| seen.at >= since) {
            Change::Changed
        } else if seen.iter().all(|seen| seen.is_some_and(|seen| seen.watched)) {
            Change::Unchanged
        } else {
            Change::Unknown
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Changed, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The API for the metadata of a kind in one namespace, or in all.
fn metadata<K>(client: &Client, namespace: Option<&str>) -> Api<PartialObjectMeta<K>>
where
    PartialObjectMeta<K>: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    match namespace {
        Some(name) => Api::namespaced(client.clone(), name),
        None => Api::all(client.clone()),
    }
}

/// The objects of kind `K` in `store` that refer to a changed source. It looks at each object once, however many sources
/// have changed.
pub fn referring<K: Object>(
    store: &Store<Cached>,
    changed: &HashSet<Changed>,
    resource: &Arc<ApiResource>,
) -> Vec<ObjectRef<Cached>> {
    let mut by_namespace: HashMap<&str, HashSet<(&str, &str)>> = HashMap::new();
    for Changed { namespace, source } in changed {
        by_namespace.entry(namespace).or_default().insert(match source {
            Source::Secret(name) => ("secretKeyRef", name),
            Source::ConfigMap(name) => ("configMapKeyRef", name),
        });
    }
    let refers = |object: &Cached| {
        let changed = object.meta().namespace.as_deref().and_then(|namespace| by_namespace.get(namespace));
        changed.is_some_and(|changed| refers_to(&object.spec(), changed))
    };
    store.state_filter(|o| refers(o)).iter().map(|o| ObjectRef::from_obj_with(&**o, resource.clone())).collect()
}

/// Searches the JSON for fields with one of these names, so that the reference is found anywhere in the spec.
fn refers_to(spec: &Value, fields: &HashSet<(&str, &str)>) -> bool {
    let names = |key: &str, value: &Value| value["name"].as_str().is_some_and(|name| fields.contains(&(key, name)));
    match spec {
        Value::Object(entries) => entries.iter().any(|(key, value)| names(key, value) || refers_to(value, fields)),
        Value::Array(items) => items.iter().any(|item| refers_to(item, fields)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use kube::core::PartialObjectMetaExt;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_reference_is_found_anywhere_in_the_spec() {
        let spec = json!({
            "parameters": {"values": [{"name": "a", "valueFrom": {"secretKeyRef": {"name": "db", "key": "k"}}}]},
            "roles": [{"parameters": [{"name": "b", "valueFrom": {"configMapKeyRef": {"name": "app", "key": "k"}}}]}],
        });
        let (secret, config_map) = ("secretKeyRef", "configMapKeyRef");
        for (field, refers) in [
            ((secret, "db"), true),
            ((config_map, "app"), true),
            ((config_map, "db"), false),
            ((secret, "app"), false),
            ((secret, "k"), false),
        ] {
            assert_eq!(refers_to(&spec, &HashSet::from([field])), refers, "{field:?}");
        }
        assert!(refers_to(&spec, &HashSet::from([(secret, "k"), (secret, "db")])));
    }

    #[tokio::test]
    async fn a_change_is_sent_to_listeners_and_recorded_for_later_readers() {
        let (watched, start) = (Watched::default(), Clock.monotonic());
        let mut changes = std::pin::pin!(watched.changes(Duration::ZERO));
        let changed = Changed { namespace: "ns".into(), source: Source::Secret("db".into()) };
        watched.note(changed.clone(), true);
        assert_eq!(changes.next().await, Some(HashSet::from([changed.clone()])));
        let later = Clock.monotonic() + Duration::from_secs(1);
        let change = |namespace: &str, names: &[&str], since| {
            let sources = names.iter().map(|name| Source::Secret((*name).into())).collect();
            watched.change_since(namespace, &sources, since)
        };
        assert_eq!(change("ns", &["db"], start), Change::Changed);
        assert_eq!(change("ns", &["db"], later), Change::Unchanged);
        assert_eq!(change("ns", &["db", "other"], later), Change::Unknown);
        assert_eq!(change("other", &["db"], start), Change::Unknown);
        assert_eq!(change("ns", &[], start), Change::Unchanged, "values in the spec change with the spec");
        watched.note(changed, false);
        assert_eq!(change("ns", &["db"], start), Change::Changed);
        assert_eq!(change("ns", &["db"], later), Change::Unknown, "it has lost its label");
    }

    #[test]
    fn an_object_deleted_during_a_gap_of_the_watch_is_no_longer_watched() {
        let (watched, mut known) = (Watched::default(), BTreeSet::new());
        let secret = |name: &str| {
            let name = Some(name.to_owned());
            let meta = kube::core::ObjectMeta { name, namespace: Some("ns".into()), ..Default::default() };
            meta.into_request_partial::<Secret>()
        };
        let mut handle = |event| watched.handle(&mut known, event, Source::Secret);
        handle(watcher::Event::Init);
        handle(watcher::Event::InitApply(secret("stays")));
        handle(watcher::Event::InitDone);
        handle(watcher::Event::Apply(secret("goes")));
        let is_watched = |name: &str| {
            let of = Changed { namespace: "ns".into(), source: Source::Secret(name.into()) };
            watched.lock().get(&of).is_some_and(|seen| seen.watched)
        };
        assert!(is_watched("stays") && is_watched("goes"));
        handle(watcher::Event::Init);
        handle(watcher::Event::InitApply(secret("stays")));
        handle(watcher::Event::InitDone);
        assert!(is_watched("stays") && !is_watched("goes"));
        handle(watcher::Event::Delete(secret("stays")));
        assert!(!is_watched("stays"));
    }
}
