//! How a kind is run: one controller, one span a reconcile, one place where failures are told.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, PostParams},
    runtime::{
        Controller,
        controller::{Action, Config as ControllerConfig, Error as ControllerError},
        events::EventType,
        watcher,
    },
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{Chain, Failure, Finalized, Kind, Outcome, finalizer, policy::Telling};
use crate::{
    condition::{self, ConditionType, Reason, Verdict},
    config::Namespaces,
    context::Context,
    ids::Uid,
    live::Live,
    references,
    workers::parameters,
};

/// A reconcile that takes longer than this many calls may is stopped; it goes on from what is stored.
const DEADLINE_IN_CALLS: u32 = 10;

/// Runs kind `K` until `shutdown`, and then until the reconciles under way have ended.
pub async fn run<K: Kind>(ctx: Context, selector: Option<String>, shutdown: CancellationToken) {
    let resource = ApiResource::erase::<K>(&());
    let apis: Vec<Api<DynamicObject>> = match (&ctx.config.namespaces, K::NAMESPACED) {
        (Namespaces::Only(names), true) => {
            names.iter().map(|n| Api::namespaced_with(ctx.kube.clone(), n, &resource)).collect()
        }
        (Namespaces::All, _) | (_, false) => vec![Api::all_with(ctx.kube.clone(), &resource)],
    };
    let controllers = apis.into_iter().map(|api| run_one::<K>(ctx.clone(), api, selector.clone(), shutdown.clone()));
    futures::future::join_all(controllers).await;
}

async fn run_one<K: Kind>(
    ctx: Context,
    api: Api<DynamicObject>,
    selector: Option<String>,
    shutdown: CancellationToken,
) {
    let resource = ApiResource::erase::<K>(&());
    let mut config = watcher::Config::default();
    if let Some(selector) = &selector {
        config = config.labels(selector);
    }
    let controller = Controller::new_with(api, config, resource.clone());
    let store = controller.store();
    ctx.references.register::<K>(store.clone());
    let (stored, served) = (store.clone(), resource.clone());
    let accounts = ctx
        .accounts
        .changes()
        .flat_map(move |account| futures::stream::iter(references::referring::<K>(&store, &account, &resource)));
    let sources = ctx
        .watched
        .changes()
        .flat_map(move |changed| futures::stream::iter(parameters::referring::<K>(&stored, &changed, &served)));
    let changed = futures::stream::select(accounts, sources);
    let concurrency = ctx.config.concurrency.get();
    controller
        .with_config(ControllerConfig::default().concurrency(concurrency))
        .reconcile_on(changed)
        .graceful_shutdown_on(shutdown.cancelled_owned())
        .run(reconcile::<K>, |_, error: &std::convert::Infallible, _| match *error {}, Arc::new(ctx.clone()))
        .for_each(|outcome| async {
            match outcome {
                Ok(_) => {}
                // Gone without having been let go: somebody tore our finalizer off.
                Err(ControllerError::ObjectNotFound(object)) => {
                    if let Some(Ok(uid)) = object.extra.uid.map(Uid::try_from) {
                        forget::<K>(&ctx, &uid);
                    }
                }
                Err(error) => {
                    tracing::warn!(kind = K::NAME, error = %Chain(&error), "watch interrupted; it is begun again");
                }
            }
        })
        .await;
}

async fn reconcile<K: Kind>(raw: Arc<DynamicObject>, ctx: Arc<Context>) -> Result<Action, std::convert::Infallible> {
    let meta = &raw.metadata;
    let span = tracing::info_span!(
        "reconcile",
        kind = K::NAME,
        namespace = meta.namespace.as_deref().unwrap_or_default(),
        name = meta.name.as_deref().unwrap_or_default(),
        generation = meta.generation.unwrap_or_default(),
    );
    Ok(look::<K>(raw, &ctx).instrument(span).await)
}

/// One look at one object, with its failure told.
async fn look<K: Kind>(raw: Arc<DynamicObject>, ctx: &Context) -> Action {
    if ctx.written.is_newer_than(&raw, ctx.config.timings.call_deadline) {
        return Action::requeue(ctx.config.timings.progress / 50);
    }
    let started = ctx.clock.monotonic();
    let mut live = match Live::<K>::parse(raw.clone()) {
        Ok(live) => live,
        Err(source) => return unreadable::<K>(ctx, &raw, Failure::Shape { source }).await,
    };
    let deadline = ctx.config.timings.call_deadline * DEADLINE_IN_CALLS;
    let result = match tokio::time::timeout(deadline, steps(ctx, &mut live)).await {
        Ok(result) => result,
        Err(_) => Err(Failure::Deadline),
    };
    let seconds = ctx.clock.monotonic().saturating_duration_since(started).as_secs_f64();
    match result {
        Ok(requeue) => {
            ctx.backoff.succeeded(live.uid());
            ctx.metrics.reconciled(K::NAME, seconds, None);
            requeue.map_or_else(Action::await_change, Action::requeue)
        }
        Err(failure) => {
            let now = ctx.clock.monotonic();
            let (telling, requeue) = ctx.backoff.failed(live.uid(), &failure, now, &ctx.config.timings);
            ctx.metrics.reconciled(K::NAME, seconds, Some(telling.reason()));
            tell(ctx, &mut live, &failure, &telling).await;
            Action::requeue(requeue)
        }
    }
}

/// The table of contents: let go, or hold on and look. `None` waits for a change.
async fn steps<K: Kind>(ctx: &Context, live: &mut Live<K>) -> Result<Option<Duration>, Failure> {
    if live.is_being_deleted() {
        return let_go(ctx, live).await;
    }
    if !finalizer::is_set::<K>(live.raw()) {
        *live = finalizer::put_on(ctx, live).await?;
    }
    let outcome = K::reconcile(ctx, live).await?;
    let requeue = outcome.requeue;
    store(ctx, live, outcome, true).await?;
    Ok(Some(requeue))
}

fn forget<K: Kind>(ctx: &Context, uid: &Uid) {
    K::forget(ctx, uid);
    ctx.backoff.forget(uid);
    ctx.written.forget(uid);
}

async fn let_go<K: Kind>(ctx: &Context, live: &mut Live<K>) -> Result<Option<Duration>, Failure> {
    if !finalizer::is_set::<K>(live.raw()) {
        forget::<K>(ctx, live.uid());
        return Ok(None);
    }
    if finalizer::is_orphaned(live.raw()) {
        let note = format!("let go without touching AWS, because of the annotation {}", finalizer::ORPHAN);
        ctx.event(live, EventType::Warning, "Orphaned", "Delete", note).await;
        finalizer::take_off::<K>(ctx, live.raw()).await?;
        forget::<K>(ctx, live.uid());
        return Ok(None);
    }
    match K::finalize(ctx, live).await? {
        Finalized::Done => {
            finalizer::take_off::<K>(ctx, live.raw()).await?;
            forget::<K>(ctx, live.uid());
            Ok(None)
        }
        Finalized::Waiting(outcome) => {
            let requeue = outcome.requeue;
            store(ctx, live, outcome, true).await?;
            Ok(Some(requeue))
        }
    }
}

/// Completes a status with what is the same for every kind, and writes it where it differs.
/// `handled` tells that the look that somebody asked for came to its end.
async fn store<K: Kind>(
    ctx: &Context,
    live: &mut Live<K>,
    outcome: Outcome<K::Status>,
    handled: bool,
) -> Result<(), Failure> {
    let Outcome { mut status, mut verdicts, requeue: _ } = outcome;
    if live.object().suspended() {
        let message = "spec.suspend is true: nothing in AWS is changed";
        verdicts.push(Verdict::new(ConditionType::Suspended, true, Reason::Suspended, message));
    }
    let stored = std::mem::take(&mut status.as_mut().conditions);
    let common = status.as_mut();
    common.observed_generation = Some(live.generation());
    common.conditions = condition::merge(&stored, &verdicts, live.generation(), ctx.clock.now());
    if handled {
        common.last_handled_requested_at = live.requested_at().or(common.last_handled_requested_at.take());
    }
    let news = news(&stored, &common.conditions);
    live.record(ctx, status).await?;
    if let Some((type_, condition)) = news {
        ctx.event(live, type_, &condition.reason, "Reconcile", condition.message).await;
    }
    Ok(())
}

/// The Ready condition, if its status or reason changed, or if it is only now that it will not pass by itself: events are
/// for changes only.
fn news(before: &[Condition], after: &[Condition]) -> Option<(EventType, Condition)> {
    let ready = |conditions: &[Condition]| conditions.iter().find(|c| c.type_ == "Ready").cloned();
    let is_stalled = |conditions: &[Condition]| conditions.iter().any(|c| c.type_ == "Stalled");
    let now = ready(after)?;
    let then = ready(before);
    let stalled = is_stalled(after);
    let stalls_now = stalled && !is_stalled(before);
    if !stalls_now && then.is_some_and(|then| then.status == now.status && then.reason == now.reason) {
        return None;
    }
    Some((if stalled { EventType::Warning } else { EventType::Normal }, now))
}

/// Says in the log once, and in the status for the user, what went wrong.
async fn tell<K: Kind>(ctx: &Context, live: &mut Live<K>, failure: &Failure, telling: &Telling) {
    if matches!(telling, Telling::Nothing) {
        tracing::debug!(error = %Chain(failure), "looking again");
        return;
    }
    tracing::warn!(error = %Chain(failure), reason = telling.reason(), "reconcile failed");
    let mut verdicts = telling.verdicts(K::UNKNOWN_WHILE_STALLED);
    if live.is_being_deleted() {
        for verdict in &mut verdicts {
            verdict.message.push_str(&escape());
        }
    }
    let outcome = Outcome { status: live.status(), verdicts, requeue: Duration::ZERO };
    if let Err(error) = store(ctx, live, outcome, false).await {
        tracing::debug!(error = %Chain(&error), "the failure could not be written to the status");
    }
}

/// What blocks a deletion also says how to do without.
pub fn escape() -> String {
    format!(
        "; the object is kept until this is mended, or annotate it with {}=true to let go and leave AWS as it is",
        finalizer::ORPHAN
    )
}

/// An object that cannot be read cannot be cleaned up after, but its owner may still let it go.
async fn unreadable<K: Kind>(ctx: &Context, raw: &DynamicObject, failure: Failure) -> Action {
    if !(finalizer::is_orphaned(raw) && finalizer::is_set::<K>(raw)) {
        return refuse_shape::<K>(ctx, raw, failure).await;
    }
    match finalizer::take_off::<K>(ctx, raw).await {
        Ok(()) => {
            tracing::warn!("an object that cannot be read was let go without touching AWS, as its annotation asks");
            if let Ok(uid) = Uid::try_from(raw.metadata.uid.clone().unwrap_or_default()) {
                forget::<K>(ctx, &uid);
            }
            Action::await_change()
        }
        Err(error) => {
            tracing::warn!(error = %Chain(&error), "an object that cannot be read was not let go");
            Action::requeue(ctx.config.timings.progress)
        }
    }
}

/// An object that cannot be parsed has no typed status to write; its conditions are laid over the JSON as it is.
async fn refuse_shape<K: Kind>(ctx: &Context, raw: &DynamicObject, failure: Failure) -> Action {
    tracing::warn!(error = %Chain(&failure), "the object cannot be read");
    let timings = &ctx.config.timings;
    let generation = raw.metadata.generation.unwrap_or_default();
    let mut message = format!("{}; apply the CRDs of this version of muster and check the spec", Chain(&failure));
    if raw.metadata.deletion_timestamp.is_some() {
        message.push_str(&escape());
    }
    let verdicts = Telling::Stalled { reason: Reason::InvalidSpec, message }.verdicts(&[]);
    let stored: Vec<Condition> = serde_json::from_value(raw.data["status"]["conditions"].clone()).unwrap_or_default();
    let conditions = condition::merge(&stored, &verdicts, generation, ctx.clock.now());
    if conditions != stored {
        let mut wanted = raw.clone();
        wanted.data["status"]["conditions"] = serde_json::json!(conditions);
        wanted.data["status"]["observedGeneration"] = serde_json::json!(generation);
        let api = ctx.api_of(raw, &ApiResource::erase::<K>(&()));
        let name = raw.metadata.name.as_deref().unwrap_or_default();
        let params = PostParams::default();
        if let Err(error) = ctx.kube_call("write a status", api.replace_status(name, &params, &wanted)).await {
            tracing::debug!(error = %Chain(&error), "the failure could not be written to the status");
        }
    }
    Action::requeue(timings.sweep)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(telling: &Telling) -> Vec<Condition> {
        condition::merge(&[], &telling.verdicts(&[]), 1, jiff::Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn what_turns_out_not_to_pass_is_told_once_more_as_a_warning() {
        let (reason, message) = (Reason::AwsAccountNotFound, "AwsAccount x does not exist".to_owned());
        let early = conditions(&Telling::Reconciling { reason, message: message.clone() });
        let late = conditions(&Telling::Stalled { reason, message });
        assert!(matches!(news(&[], &early), Some((EventType::Normal, _))));
        assert!(matches!(news(&early, &late), Some((EventType::Warning, _))));
        assert!(news(&late, &late).is_none());
        assert!(news(&early, &early).is_none());
    }
}
