//! Events about workers that were terminated outside muster or lost their tags.

use kube::runtime::events::EventType;

use crate::{
    crd::worker_fleet::WorkerFleet,
    ids::{InstanceId, list},
    k8s::live::Live,
    reconcile::context::Context,
    workers::observe::losses::Losses,
};

/// The maximum number of ids in a message.
const NAMED: usize = 20;

/// The message about instances that lost the tags of their fleet.
pub(super) fn untagged<'a>(ids: impl ExactSizeIterator<Item = &'a InstanceId>) -> String {
    format!(
        "{} no longer carry the tags of this fleet: they are not counted and not changed, and were replaced. They keep \
         running. Terminate them, adopt them, or restore their tags. To adopt them, use spec.adopt",
        list(ids, NAMED)
    )
}

/// Reports new losses.
pub(super) async fn report(ctx: &Context, live: &Live<WorkerFleet>, losses: &mut Losses) {
    let lost = losses.news();
    if !lost.is_empty() {
        let note = format!("terminated outside muster: {lost}");
        ctx.event(live, EventType::Warning, "WorkersLost", "Replace", note).await;
    }
    let new = losses.newly_untagged();
    if !new.is_empty() {
        ctx.event(live, EventType::Warning, "TagsLost", "Replace", untagged(new.iter())).await;
    }
}
