//! Secrets and ConfigMaps: read by name, and watched where they ask for it.
//!
//! What is watched is that something changed, never what it says: the watches carry metadata only.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api, Client, ResourceExt,
    api::DynamicObject,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt,
        reflector::{ObjectRef, Store},
        watcher,
    },
};
use serde_json::Value;
use tokio::sync::broadcast;

use crate::{
    clock::Clock,
    config::Namespaces,
    context::Context,
    live::Live,
    reconcile::{Failure, Kind},
};

/// That something is not watched any more is remembered for so long. No look that it could be news to is older.
const REMEMBERED: Duration = Duration::from_hours(2);

/// With the value `true` on a Secret or ConfigMap, a change of it is acted on at once.
pub const WATCH_LABEL: &str = "muster.dev/watch";

/// An object that values are taken from, by name in the namespace of who takes them.
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

/// What a source holds.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Content {
    pub uid: String,
    pub data: BTreeMap<String, Vec<u8>>,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content").field("keys", &self.data.keys()).finish_non_exhaustive()
    }
}

/// Reads a source. `None` when it does not exist.
pub(super) async fn read<K>(ctx: &Context, live: &Live<K>, source: &Source) -> Result<Option<Content>, Failure>
where
    K: Kind + kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
{
    let operation = format!("read {source}");
    Ok(match source {
        Source::Secret(name) => {
            let secret = ctx.kube_call(&operation, live.api::<Secret>(ctx).get_opt(name)).await?;
            secret.map(|secret| Content {
                uid: secret.uid().unwrap_or_default(),
                data: secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect(),
            })
        }
        Source::ConfigMap(name) => {
            let map = ctx.kube_call(&operation, live.api::<ConfigMap>(ctx).get_opt(name)).await?;
            map.map(|map| {
                let text = map.data.clone().unwrap_or_default().into_iter().map(|(k, v)| (k, v.into_bytes()));
                let binary = map.binary_data.clone().unwrap_or_default().into_iter().map(|(k, v)| (k, v.0));
                Content { uid: map.uid().unwrap_or_default(), data: text.chain(binary).collect() }
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

/// What the watches tell of some sources since a look at them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    Changed,
    /// All of them are watched, and none changed.
    Unchanged,
    /// Not all of them are watched.
    Unknown,
}

/// The watched Secrets and ConfigMaps: which changed when.
#[derive(Clone, Debug)]
pub struct Watched {
    seen: Arc<Mutex<HashMap<Changed, Seen>>>,
    news: broadcast::Sender<Changed>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Instant,
    /// It is there and has the label, so that its next change will be seen too.
    watched: bool,
}

impl Default for Watched {
    fn default() -> Self {
        let (news, _) = broadcast::channel(256);
        Self { seen: Arc::default(), news }
    }
}

impl Watched {
    /// Follows the labelled Secrets and ConfigMaps of the namespaces that are looked after, until the future is dropped.
    pub async fn follow(&self, client: Client, namespaces: &Namespaces) {
        let all = match namespaces {
            Namespaces::All => vec![None],
            Namespaces::Only(names) => names.iter().map(|name| Some(name.as_str())).collect(),
        };
        let client = || client.clone();
        let watches = all.into_iter().map(|namespace| {
            let secrets = match namespace {
                Some(name) => Api::<PartialObjectMeta<Secret>>::namespaced(client(), name),
                None => Api::all(client()),
            };
            let maps = match namespace {
                Some(name) => Api::<PartialObjectMeta<ConfigMap>>::namespaced(client(), name),
                None => Api::all(client()),
            };
            futures::future::join(self.follow_one(secrets, Source::Secret), self.follow_one(maps, Source::ConfigMap))
        });
        futures::future::join_all(watches).await;
    }

    async fn follow_one<K>(&self, api: Api<PartialObjectMeta<K>>, source: fn(String) -> Source)
    where
        PartialObjectMeta<K>:
            kube::Resource<DynamicType = ()> + Clone + fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
    {
        let config = watcher::Config::default().labels(&format!("{WATCH_LABEL}=true"));
        let mut events = std::pin::pin!(watcher(api, config).default_backoff());
        let mut there = BTreeSet::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.hear(&mut there, event, source),
                Err(error) => {
                    tracing::warn!(error = %crate::reconcile::Chain(&error), "watch interrupted; it is begun again");
                }
            }
        }
    }

    /// `there` are those that the watch knows to be there.
    fn hear<K>(
        &self,
        there: &mut BTreeSet<Changed>,
        event: watcher::Event<PartialObjectMeta<K>>,
        source: fn(String) -> Source,
    ) where
        PartialObjectMeta<K>: kube::Resource<DynamicType = ()>,
    {
        let changed = |object: &PartialObjectMeta<K>| Changed {
            namespace: object.namespace().unwrap_or_default(),
            source: source(object.name_any()),
        };
        match event {
            watcher::Event::Apply(object) => {
                there.insert(changed(&object));
                self.note(changed(&object), true);
            }
            // Or it has lost the label.
            watcher::Event::Delete(object) => {
                there.remove(&changed(&object));
                self.note(changed(&object), false);
            }
            // All are listed anew. Nobody tells of those that went while nobody watched: they are not among them.
            watcher::Event::Init => std::mem::take(there).into_iter().for_each(|gone| self.note(gone, false)),
            watcher::Event::InitApply(object) => {
                there.insert(changed(&object));
                self.note(changed(&object), true);
            }
            watcher::Event::InitDone => {}
        }
    }

    fn note(&self, changed: Changed, watched: bool) {
        let now = Clock.monotonic();
        let mut seen = self.lock();
        seen.retain(|_, seen| seen.watched || now.saturating_duration_since(seen.at) < REMEMBERED);
        seen.insert(changed.clone(), Seen { at: now, watched });
        drop(seen);
        // Nobody listening is fine.
        let _ = self.news.send(changed);
    }

    /// What changes, as it does.
    pub fn changes(&self) -> impl Stream<Item = Changed> + Send + use<> {
        let watched = self.clone();
        stream::unfold(self.news.subscribe(), move |mut news| {
            let watched = watched.clone();
            async move {
                match news.recv().await {
                    Ok(changed) => Some((vec![changed], news)),
                    // Some were missed, so all may have changed.
                    Err(broadcast::error::RecvError::Lagged(_)) => {
                        Some((watched.lock().keys().cloned().collect(), news))
                    }
                    Err(broadcast::error::RecvError::Closed) => None,
                }
            }
        })
        .flat_map(stream::iter)
    }

    /// What a look at `sources` at `since` is still worth.
    pub(super) fn news_since(&self, namespace: &str, sources: &BTreeSet<Source>, since: Instant) -> News {
        let seen = self.lock();
        let of = |source: &Source| seen.get(&Changed { namespace: namespace.into(), source: source.clone() }).copied();
        let seen: Vec<_> = sources.iter().map(of).collect();
        if seen.iter().flatten().any(|seen| seen.at >= since) {
            News::Changed
        } else if seen.iter().all(|seen| seen.is_some_and(|seen| seen.watched)) {
            News::Unchanged
        } else {
            News::Unknown
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Changed, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The objects of kind `K` in `store` that take a value from what changed.
pub fn referring<K: Kind>(
    store: &Store<DynamicObject>,
    changed: &Changed,
    resource: &kube::api::ApiResource,
) -> Vec<ObjectRef<DynamicObject>> {
    let refers = |object: &DynamicObject| {
        object.metadata.namespace.as_deref() == Some(&changed.namespace)
            && refers_to(&object.data["spec"], &changed.source)
    };
    store.state_filter(|o| refers(o)).iter().map(|o| ObjectRef::from_obj_with(&**o, resource.clone())).collect()
}

/// Read from the JSON itself, wherever in the spec the reference stands.
fn refers_to(spec: &Value, source: &Source) -> bool {
    let (field, name) = match source {
        Source::Secret(name) => ("secretKeyRef", name),
        Source::ConfigMap(name) => ("configMapKeyRef", name),
    };
    match spec {
        Value::Object(fields) => fields
            .iter()
            .any(|(key, value)| (key == field && value["name"].as_str() == Some(name)) || refers_to(value, source)),
        Value::Array(items) => items.iter().any(|item| refers_to(item, source)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use kube::core::PartialObjectMetaExt;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_reference_is_found_wherever_it_stands() {
        let spec = json!({
            "parameters": {"values": [{"name": "a", "valueFrom": {"secretKeyRef": {"name": "db", "key": "k"}}}]},
            "roles": [{"parameters": [{"name": "b", "valueFrom": {"configMapKeyRef": {"name": "app", "key": "k"}}}]}],
        });
        for (source, refers) in [
            (Source::Secret("db".into()), true),
            (Source::ConfigMap("app".into()), true),
            (Source::ConfigMap("db".into()), false),
            (Source::Secret("app".into()), false),
            (Source::Secret("k".into()), false),
        ] {
            assert_eq!(refers_to(&spec, &source), refers, "{source}");
        }
    }

    #[tokio::test]
    async fn a_change_is_told_to_who_listens_and_remembered_for_who_looks() {
        let (watched, start) = (Watched::default(), Clock.monotonic());
        let mut changes = std::pin::pin!(watched.changes());
        let changed = Changed { namespace: "ns".into(), source: Source::Secret("db".into()) };
        watched.note(changed.clone(), true);
        assert_eq!(changes.next().await, Some(changed.clone()));
        let later = Clock.monotonic() + Duration::from_secs(1);
        let news = |namespace: &str, names: &[&str], since| {
            let sources = names.iter().map(|name| Source::Secret((*name).into())).collect();
            watched.news_since(namespace, &sources, since)
        };
        assert_eq!(news("ns", &["db"], start), News::Changed);
        assert_eq!(news("ns", &["db"], later), News::Unchanged);
        assert_eq!(news("ns", &["db", "other"], later), News::Unknown);
        assert_eq!(news("other", &["db"], start), News::Unknown);
        assert_eq!(news("ns", &[], start), News::Unchanged, "values in the spec change with the spec");
        watched.note(changed, false);
        assert_eq!(news("ns", &["db"], start), News::Changed);
        assert_eq!(news("ns", &["db"], later), News::Unknown, "it has lost its label");
    }

    #[test]
    fn what_went_while_nobody_watched_is_not_watched_any_more() {
        let (watched, mut there) = (Watched::default(), BTreeSet::new());
        let secret = |name: &str| {
            let name = Some(name.to_owned());
            let meta = kube::core::ObjectMeta { name, namespace: Some("ns".into()), ..Default::default() };
            meta.into_request_partial::<Secret>()
        };
        let mut hear = |event| watched.hear(&mut there, event, Source::Secret);
        hear(watcher::Event::Init);
        hear(watcher::Event::InitApply(secret("stays")));
        hear(watcher::Event::InitDone);
        hear(watcher::Event::Apply(secret("goes")));
        let is_watched = |name: &str| {
            let of = Changed { namespace: "ns".into(), source: Source::Secret(name.into()) };
            watched.lock().get(&of).is_some_and(|seen| seen.watched)
        };
        assert!(is_watched("stays") && is_watched("goes"));
        hear(watcher::Event::Init);
        hear(watcher::Event::InitApply(secret("stays")));
        hear(watcher::Event::InitDone);
        assert!(is_watched("stays") && !is_watched("goes"));
        hear(watcher::Event::Delete(secret("stays")));
        assert!(!is_watched("stays"));
    }
}
