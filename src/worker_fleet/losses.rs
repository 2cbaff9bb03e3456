//! Workers that a fleet lost without its doing, told in events.

use kube::runtime::events::EventType;

use crate::{context::Context, live::Live, worker_fleet::crd::WorkerFleet, workers::losses::Losses};

/// Tells what is new.
pub(super) async fn tell(ctx: &Context, live: &Live<WorkerFleet>, losses: &mut Losses) {
    let lost = losses.news();
    if !lost.is_empty() {
        let note = format!("ended, and not by this fleet: {lost}");
        ctx.event(live, EventType::Warning, "WorkersLost", "Replace", note).await;
    }
}
