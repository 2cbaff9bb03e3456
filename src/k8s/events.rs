//! Kubernetes events.

use kube::runtime::events::{Event, EventType, Recorder};

use crate::{
    error_chain::Chain,
    k8s::{cluster::Cluster, live::Live, object::Object},
    text::visible,
};

/// The maximum length of a note in bytes (events.k8s.io/v1, `note`: at most 1kB).
const NOTE_LIMIT: usize = 1024;

/// Publishes an event about `live`. Events can be lost, so everything that needs an action of a user is in a condition
/// too.
pub async fn publish<K: Object>(
    cluster: &Cluster,
    live: &Live<K>,
    type_: EventType,
    reason: &str,
    action: &str,
    note: String,
) {
    let note = Some(visible(&note, NOTE_LIMIT));
    let event = Event { type_, reason: reason.into(), note, action: action.into(), secondary: None };
    let object = live.object().object_ref(&());
    // A new recorder each time: a recorder merges a repeated event into the first one, whose note may be outdated.
    // Events are published for changes only, so they need no rate limit.
    let recorder = Recorder::new(cluster.client.clone(), cluster.reporter.clone());
    let published = recorder.publish(&event, &object);
    if let Err(error) = cluster.call("publish an event", published).await {
        tracing::warn!(error = %Chain(&error), "an event was not published");
    }
}
