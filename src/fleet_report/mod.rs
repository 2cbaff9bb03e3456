//! FleetReport: collect what every worker reports about itself, and tell which versions run where.
//!
//! ```text
//! S3 ──► collector (LIST, GET what changed) ──► index ──► view (what each report says) ──► aggregate ──► status
//!        one for each account, bucket, prefix             one for each FleetReport          pure          pure
//! ```
//!
//! Nothing outside of Kubernetes is ever changed, so there is no plan and nothing to apply.

mod aggregate;
mod collector;
mod crd;
mod desired;
mod flight;
mod index;
mod news;
mod observe;
mod path;
mod report;
mod status;
#[cfg(test)]
mod tests;
mod time;
mod verdicts;
mod view;

use std::sync::{Arc, PoisonError};

pub use self::{
    collector::Collectors,
    crd::{
        Expect, ExpectedVersion, Field, FieldCount, FleetReport, FleetReportSpec, FleetReportStatus, GroupBy,
        GroupCount, Limits, Outlier, Place, RejectedObject, RejectionReason, ReportCounts, Source, SourceStatus, Trust,
        VersionCount,
    },
};
use self::{desired::Desired, status::Since};
use crate::{
    condition::{ConditionType, Reason, Truth, Verdict},
    context::Context,
    ids::Uid,
    live::Live,
    reconcile::{Failure, Finalized, Kind, Outcome},
    reporting,
};

impl Kind for FleetReport {
    type Status = FleetReportStatus;
    const NAME: &'static str = reporting::KIND;
    const FINALIZER: &'static str = "muster.dev/fleetreport";
    const AWS_REFS: &'static [&'static str] = &["/sources[]/aws"];

    fn status(&self) -> Option<&FleetReportStatus> {
        self.status.as_ref()
    }

    fn suspended(&self) -> bool {
        self.spec.suspend
    }

    fn check(live: &Live<Self>) -> Result<(), Failure> {
        Desired::try_from(&live.object().spec)?;
        Ok(())
    }

    async fn reconcile(ctx: &Context, live: &mut Live<Self>) -> Result<Outcome<FleetReportStatus>, Failure> {
        let outcome = collect(ctx, live).await;
        if outcome.is_err() {
            ctx.reporting.tell(live.namespace(), live.name(), None);
        }
        outcome
    }

    async fn finalize(ctx: &Context, live: &mut Live<Self>) -> Result<Finalized<FleetReportStatus>, Failure> {
        ctx.reporting.tell(live.namespace(), live.name(), None);
        Ok(Finalized::Done)
    }

    fn forget(ctx: &Context, uid: &Uid) {
        ctx.reports.forget(uid);
    }
}

async fn collect(ctx: &Context, live: &mut Live<FleetReport>) -> Result<Outcome<FleetReportStatus>, Failure> {
    let desired = Arc::new(Desired::try_from(&live.object().spec)?);
    if live.object().suspended() {
        ctx.reporting.tell(live.namespace(), live.name(), None);
        return Ok(resting(live, &desired));
    }
    let observed = observe::observe(ctx, live, &desired).await?;
    let (requeue, requested) = (observed.due, observed.requested);
    let (found, memory) = observe::summarise(ctx, live, &desired, observed, ctx.clock.now()).await?;
    let before = live.status();
    let (status, cut) = {
        let memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
        let nothing = Since::default();
        status::status(&desired, &found, memory.as_ref().map_or(&nothing, |m| &m.since), &before)
    };
    let verdicts = verdicts::verdicts(&desired, &found, &cut);
    let collected = verdicts.iter().any(|v| v.condition == ConditionType::Collected && v.truth == Truth::True);
    let fresh = found.summary.as_ref().filter(|_| collected).map(|s| s.reporting.iter().cloned().collect());
    ctx.reporting.tell(live.namespace(), live.name(), fresh);
    let status = if requested { status } else { status::at_rest(status, &before, desired.interval) };
    let news = news::news(&before, &status, cut.is_empty());
    if !news.is_empty() {
        // Written first: what is told before a write that fails would be told again by the next look.
        live.record(ctx, status.clone()).await?;
    }
    for news::News { type_, reason, note } in news {
        ctx.event(live, type_, reason, "Collect", note).await;
    }
    Ok(Outcome { status, verdicts, requeue })
}

/// What a suspended FleetReport says: what it said last.
fn resting(live: &Live<FleetReport>, desired: &Desired) -> Outcome<FleetReportStatus> {
    let status = live.status();
    let silent = !status.common.conditions.iter().any(|c| c.type_ == ConditionType::Ready.as_str());
    let message = "nothing was collected before spec.suspend was set";
    let ready = Verdict::new(ConditionType::Ready, Truth::Unknown, Reason::Suspended, message);
    Outcome { status, verdicts: silent.then_some(ready).into_iter().collect(), requeue: desired.interval }
}
