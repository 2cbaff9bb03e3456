//! FleetReport: collects the reports that workers write to S3, and shows which versions run where.
//!
//! ```text
//! S3 ──► collector (LIST, GET what changed) ──► index ──► view (the values of each report) ──► aggregate ──► status
//!        one for each identity, bucket, prefix            one for each FleetReport              pure          pure
//! ```
//!
//! Nothing outside of Kubernetes is changed, so there is no plan and nothing to apply.

mod aggregate;
pub mod api;
mod collector;
mod desired;
mod events;
mod expected;
mod index;
mod memory_budget;
#[cfg(test)]
mod memory_tests;
mod observe;
mod path;
mod patterns;
mod problem;
mod publish;
mod read_budget;
mod readers;
mod report;
mod status;
mod steps;
#[cfg(test)]
mod tests;
mod time;
mod verdicts;
mod view;

use std::sync::Arc;

use crate::{
    condition::{ConditionType, Reason, Truth, Verdict},
    crd::fleet_report::{FleetReport, FleetReportStatus},
    inventory::reporters,
    k8s::{
        live::Live,
        object::{COMMON_LISTS, Object, StatusList},
    },
    kinds::fleet_report::{
        desired::Desired,
        observe::Own,
        readers::{Collectors, Reader, SharedMemory},
        status::Since,
    },
    reconcile::{Failure, Finalized, Kind, Outcome, context::Context},
};

impl Object for FleetReport {
    type Status = FleetReportStatus;

    const NAME: &'static str = reporters::KIND;
    const FINALIZER: &'static str = "muster.dev/fleetreport";
    const AWS_REFS: &'static [&'static str] = &["/sources[]/aws", "/expect/instances[]/aws"];
    const STATUS_LISTS: &'static [&'static [StatusList]] = &[
        COMMON_LISTS,
        &[
            StatusList::keyed("fields", "name"),
            StatusList::keyed("sources", "name"),
            StatusList::keyed("expected", "name"),
            StatusList::replaced("versions"),
            StatusList::replaced("groups"),
            StatusList::replaced("outliers"),
            StatusList::replaced("rejected"),
        ],
    ];

    fn status(&self) -> Option<&FleetReportStatus> {
        self.status.as_ref()
    }

    fn suspended(&self) -> bool {
        self.spec.suspend
    }
}

impl Kind for FleetReport {
    type Memory = ReportMemory;
    type Shared = Collectors;

    fn shared(ctx: &Context) -> Collectors {
        Collectors::new(ctx.config.report_limits)
    }

    fn check(live: &Live<Self>) -> Result<(), Failure> {
        Desired::try_from(&live.object().spec)?;
        Ok(())
    }

    async fn reconcile(
        ctx: &Context,
        collectors: &Collectors,
        live: &mut Live<Self>,
        memory: &mut ReportMemory,
    ) -> Result<Outcome<FleetReportStatus>, Failure> {
        if live.object().suspended() {
            // The status stays. The memory is for those that collect.
            *memory = ReportMemory::default();
            tell_nothing(ctx, live);
            return Ok(suspended(live, &Desired::try_from(&live.object().spec)?));
        }
        let reader = memory.reader.get_or_insert_with(|| Reader::new(collectors, live.namespace(), live.uid()));
        let outcome = Box::pin(collect(ctx, reader, &mut memory.own, &memory.view, live)).await;
        if outcome.is_err() {
            tell_nothing(ctx, live);
        }
        outcome
    }

    async fn finalize(
        ctx: &Context,
        _: &Collectors,
        live: &mut Live<Self>,
        _: &mut ReportMemory,
    ) -> Result<Finalized<FleetReportStatus>, Failure> {
        tell_nothing(ctx, live);
        Ok(Finalized::Done)
    }
}

/// The memory of a FleetReport.
#[derive(Debug, Default)]
pub struct ReportMemory {
    reader: Option<Reader>,
    own: Own,
    view: SharedMemory,
}

/// Nobody may rely on what was found before.
fn tell_nothing(ctx: &Context, live: &Live<FleetReport>) {
    ctx.reporters.tell(live.namespace(), live.name(), None);
    ctx.published.tell(live.namespace(), live.name(), None);
}

async fn collect(
    ctx: &Context,
    reader: &Reader,
    own: &mut Own,
    view: &SharedMemory,
    live: &mut Live<FleetReport>,
) -> Result<Outcome<FleetReportStatus>, Failure> {
    let desired = Arc::new(Desired::try_from(&live.object().spec)?);
    let observed = observe::observe(ctx, reader, own, live, &desired).await?;
    let (requeue, requested) = (observed.due, observed.requested);
    let publishes = ctx.config.api.is_some();
    let mut found = observe::summarise(reader, view, live, (&desired, publishes), observed, ctx.clock.now()).await?;
    if publishes {
        ctx.published.tell(live.namespace(), live.name(), found.published.take());
    }
    let before = live.status();
    let (status, cut) = {
        let memory = view.lock().await;
        let nothing = Since::default();
        status::status(&desired, &found, memory.as_ref().map_or(&nothing, |m| &m.since), &before)
    };
    let verdicts = verdicts::verdicts(&desired, &found, &cut);
    let collected = verdicts.iter().any(|v| v.condition == ConditionType::Collected && v.truth == Truth::True);
    let fresh = found.summary.as_ref().filter(|_| collected).map(|s| s.reporting.clone().into_iter().collect());
    ctx.reporters.tell(live.namespace(), live.name(), fresh);
    let status = if requested { status } else { status::at_rest(status, &before, desired.interval) };
    let events = events::events(&before, &status, cut.is_empty());
    if !events.is_empty() {
        // Written first: if the write failed after the events, the next reconcile would publish them again.
        live.record(&ctx.cluster, status.clone()).await?;
    }
    for events::Event { type_, reason, note } in events {
        ctx.event(live, type_, reason, "Collect", note).await;
    }
    Ok(Outcome { status, verdicts, requeue })
}

/// A suspended FleetReport keeps its status.
fn suspended(live: &Live<FleetReport>, desired: &Desired) -> Outcome<FleetReportStatus> {
    let status = live.status();
    let silent = !status.common.conditions.iter().any(|c| c.type_ == ConditionType::Ready.as_str());
    let message = "no collection has finished before spec.suspend was set";
    let ready = Verdict::new(ConditionType::Ready, Truth::Unknown, Reason::Suspended, message);
    Outcome { status, verdicts: silent.then_some(ready).into_iter().collect(), requeue: desired.interval }
}
