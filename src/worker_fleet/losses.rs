//! Workers that a fleet lost without its doing, told in events.

use kube::runtime::events::EventType;

use crate::{
    context::Context,
    ids::{InstanceId, list},
    live::Live,
    worker_fleet::crd::WorkerFleet,
    workers::losses::Losses,
};

/// So many ids are named in a message.
const NAMED: usize = 20;

/// Machines that have lost the tags of their fleet, in words.
pub(super) fn estranged<'a>(ids: impl ExactSizeIterator<Item = &'a InstanceId>) -> String {
    format!(
        "{} no longer carry the tags of this fleet: they are not counted and not touched, others were launched in their \
         place, and they run on; end them, take them over with spec.adopt, or give them their tags back",
        list(ids, NAMED)
    )
}

/// Tells what is new.
pub(super) async fn tell(ctx: &Context, live: &Live<WorkerFleet>, losses: &mut Losses) {
    let lost = losses.news();
    if !lost.is_empty() {
        let note = format!("ended, and not by this fleet: {lost}");
        ctx.event(live, EventType::Warning, "WorkersLost", "Replace", note).await;
    }
    let new = losses.newly_estranged();
    if !new.is_empty() {
        ctx.event(live, EventType::Warning, "TagsLost", "Replace", estranged(new.iter())).await;
    }
}
