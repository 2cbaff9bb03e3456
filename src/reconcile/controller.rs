//! The controller of a kind: runs the reconciles, each in a log span, and reports their failures.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    Api, Resource,
    api::{ApiResource, DynamicObject, PostParams},
    runtime::{
        Controller,
        controller::{Action, Config as ControllerConfig, Error as ControllerError},
        events::EventType,
        reflector::Store,
        watcher,
    },
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    condition::{self, ConditionType, Reason, Verdict},
    config::Namespaces,
    error_chain::Chain,
    ids::Uid,
    k8s::{cached::Cached, cluster::Error, finalizer, live::Live, references, sources},
    reconcile::{
        context::Context,
        error_policy::{FailureStatus, escape},
        failure::Failure,
        kind::{Finalized, Kind, Outcome},
        memories::Memories,
    },
};

/// A reconcile is stopped after this many call deadlines; the next one continues from the stored status.
const DEADLINE_IN_CALLS: u32 = 10;

/// Runs kind `K` until `shutdown`, and then until the running reconciles have ended.
pub async fn run<K: Kind>(ctx: Context, shutdown: CancellationToken) {
    let resource = Arc::new(ApiResource::erase::<K>(&()));
    let client = || ctx.cluster.client.clone();
    let apis: Vec<Api<Cached>> = match (&ctx.config.namespaces, K::NAMESPACED) {
        (Namespaces::Only(names), true) => names.iter().map(|n| Api::namespaced_with(client(), n, &resource)).collect(),
        (Namespaces::All, _) | (_, false) => vec![Api::all_with(client(), &resource)],
    };
    let reconciler = Arc::new(Reconciler::<K> { shared: K::shared(&ctx), memories: Memories::default(), ctx });
    let controllers = apis.into_iter().map(|api| run_one(reconciler.clone(), api, shutdown.clone()));
    futures::future::join_all(controllers).await;
}

/// The shared state of the reconciles of one kind.
struct Reconciler<K: Kind> {
    ctx: Context,
    shared: K::Shared,
    memories: Memories<K::Memory>,
}

async fn run_one<K: Kind>(reconciler: Arc<Reconciler<K>>, api: Api<Cached>, shutdown: CancellationToken) {
    let ctx = &reconciler.ctx;
    let resource = Arc::new(ApiResource::erase::<K>(&()));
    let mut config = watcher::Config::default();
    if let Some(selector) = K::selector(&ctx.config) {
        config = config.labels(selector);
    }
    let controller = Controller::new_with(api, config, resource.clone());
    let store = controller.store();
    ctx.references.register::<K>(store.clone());
    let (stored, served) = (store.clone(), resource.clone());
    let accounts = ctx
        .accounts
        .changes()
        .flat_map(move |changed| futures::stream::iter(references::referring::<K>(&store, &changed, &resource)));
    let sources = ctx
        .watched
        .changes(ctx.config.timings.progress)
        .flat_map(move |changed| futures::stream::iter(sources::referring::<K>(&stored, &changed, &served)));
    let changed = futures::stream::select(accounts, sources);
    let concurrency = ctx.config.concurrency.get();
    let ended_unlisted = ended_unlisted(controller.store(), shutdown.clone());
    let reconciles = controller
        .with_config(ControllerConfig::default().concurrency(concurrency))
        .reconcile_on(changed)
        .graceful_shutdown_on(shutdown.cancelled_owned())
        .run(reconcile::<K>, |_, error: &std::convert::Infallible, _| match *error {}, reconciler.clone())
        .for_each(|outcome| async {
            match outcome {
                Ok(_) => {}
                // The object is gone, and another client removed our finalizer.
                Err(ControllerError::ObjectNotFound(object)) => {
                    if let Some(Ok(uid)) = object.extra.uid.map(Uid::try_from) {
                        reconciler.forget(&uid);
                    }
                }
                Err(error) => {
                    tracing::warn!(kind = K::NAME, error = %Chain(&error), "the watch was interrupted; it is restarted");
                }
            }
        });
    tokio::select! {
        () = reconciles => {}
        () = ended_unlisted => {}
    }
}

/// Ends at `shutdown` if the objects were never listed, for example because the CRD is missing. A [`Controller`] would
/// wait for the list, which comes no more; no reconcile has started.
async fn ended_unlisted(store: Store<Cached>, shutdown: CancellationToken) {
    shutdown.cancelled().await;
    if store.wait_until_ready().now_or_never().is_some() {
        std::future::pending().await
    }
}

async fn reconcile<K: Kind>(
    cached: Arc<Cached>,
    reconciler: Arc<Reconciler<K>>,
) -> Result<Action, std::convert::Infallible> {
    let meta = cached.meta();
    let span = tracing::info_span!(
        "reconcile",
        kind = K::NAME,
        namespace = meta.namespace.as_deref().unwrap_or_default(),
        name = meta.name.as_deref().unwrap_or_default(),
        generation = meta.generation.unwrap_or_default(),
    );
    Ok(reconciler.reconcile(cached.object::<K>().into()).instrument(span).await)
}

impl<K: Kind> Reconciler<K> {
    /// Reconciles an object, and reports a failure in its status.
    async fn reconcile(&self, raw: Arc<DynamicObject>) -> Action {
        let ctx = &self.ctx;
        if ctx.cluster.written.is_newer_than(&raw, ctx.config.timings.call_deadline) {
            return Action::requeue(ctx.config.timings.progress / 50);
        }
        let started = ctx.clock.monotonic();
        let mut live = match Live::<K>::parse(raw.clone()) {
            Ok(live) => live,
            Err(source) => return self.unreadable(&raw, Error::Shape { source }.into()).await,
        };
        let deadline = ctx.config.timings.call_deadline * DEADLINE_IN_CALLS;
        let result = match tokio::time::timeout(deadline, self.steps(&mut live)).await {
            Ok(result) => result,
            Err(_) => Err(Failure::Deadline),
        };
        let seconds = ctx.clock.monotonic().saturating_duration_since(started).as_secs_f64();
        match result {
            Ok(requeue) => {
                ctx.backoff.forget(live.uid());
                ctx.metrics.reconciled(K::NAME, seconds, None);
                requeue.map_or_else(Action::await_change, Action::requeue)
            }
            Err(failure) => {
                let now = ctx.clock.monotonic();
                let (failure_status, requeue) = ctx.backoff.failed(live.uid(), &failure, now, &ctx.config.timings);
                ctx.metrics.reconciled(K::NAME, seconds, Some(failure_status.reason()));
                report(ctx, &mut live, &failure, &failure_status).await;
                Action::requeue(requeue)
            }
        }
    }

    /// Finalizes or reconciles. `None` waits for a change.
    async fn steps(&self, live: &mut Live<K>) -> Result<Option<Duration>, Failure> {
        if live.is_being_deleted() {
            return self.finalize(live).await;
        }
        if !finalizer::is_set::<K>(live.raw()) {
            *live = finalizer::add(&self.ctx.cluster, live).await?;
        }
        let deferred = self.defer_request(live);
        let memory = self.memories.of(live.uid());
        let outcome = K::reconcile(&self.ctx, &self.shared, live, &mut *memory.lock().await).await?;
        let requeue = deferred.map_or(outcome.requeue, |wait| wait.min(outcome.requeue));
        store(&self.ctx, live, outcome, true).await?;
        Ok(Some(requeue))
    }

    /// A requested reconcile for which the namespace has to wait becomes a usual one. Returns the time to wait.
    fn defer_request(&self, live: &mut Live<K>) -> Option<Duration> {
        if !live.is_reconcile_requested() {
            return None;
        }
        let wait = self.ctx.requests.wait(live.namespace())?;
        live.defer_request();
        Some(wait)
    }

    fn forget(&self, uid: &Uid) {
        self.memories.forget(uid);
        self.ctx.backoff.forget(uid);
        self.ctx.cluster.written.forget(uid);
    }

    async fn finalize(&self, live: &mut Live<K>) -> Result<Option<Duration>, Failure> {
        if !finalizer::is_set::<K>(live.raw()) {
            self.forget(live.uid());
            return Ok(None);
        }
        if finalizer::is_orphaned(live.raw()) {
            let note = format!(
                "the finalizer was removed without touching AWS, because of the annotation {}",
                finalizer::ORPHAN
            );
            self.ctx.event(live, EventType::Warning, "Orphaned", "Delete", note).await;
            return self.release(live.raw()).await.map(|()| None);
        }
        let deferred = self.defer_request(live);
        let finalized = {
            let memory = self.memories.of(live.uid());
            let mut memory = memory.lock().await;
            K::finalize(&self.ctx, &self.shared, live, &mut memory).await?
        };
        match finalized {
            Finalized::Done => self.release(live.raw()).await.map(|()| None),
            Finalized::Waiting(outcome) => {
                let requeue = deferred.map_or(outcome.requeue, |wait| wait.min(outcome.requeue));
                store(&self.ctx, live, outcome, true).await?;
                Ok(Some(requeue))
            }
        }
    }

    /// Removes the finalizer, so that the object is deleted, and forgets the object.
    async fn release(&self, object: &DynamicObject) -> Result<(), Failure> {
        finalizer::remove::<K>(&self.ctx.cluster, object).await?;
        if let Ok(uid) = Uid::try_from(object.metadata.uid.clone().unwrap_or_default()) {
            self.forget(&uid);
        }
        Ok(())
    }

    /// An object that cannot be parsed cannot be cleaned up, but the annotation [`finalizer::ORPHAN`] still works.
    async fn unreadable(&self, raw: &DynamicObject, failure: Failure) -> Action {
        if !(finalizer::is_orphaned(raw) && finalizer::is_set::<K>(raw)) {
            return refuse_shape::<K>(&self.ctx, raw, failure).await;
        }
        match self.release(raw).await {
            Ok(()) => {
                tracing::warn!("the object cannot be read; its finalizer was removed because of its annotation");
                Action::await_change()
            }
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "the object cannot be read, and its finalizer was not removed");
                Action::requeue(self.ctx.config.timings.progress)
            }
        }
    }
}

/// Adds the common fields to a status, and writes it if it differs. `handled` is true if a requested reconcile has
/// succeeded.
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
    let change = change_of_ready(&stored, &common.conditions);
    live.record(&ctx.cluster, status).await?;
    if let Some((type_, condition)) = change {
        ctx.event(live, type_, &condition.reason, "Reconcile", condition.message).await;
    }
    Ok(())
}

/// The Ready condition, if its status or reason changed, or if the object is stalled only now. Events are for changes
/// only.
fn change_of_ready(before: &[Condition], after: &[Condition]) -> Option<(EventType, Condition)> {
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

/// Reports a failure in the log and in the status.
async fn report<K: Kind>(ctx: &Context, live: &mut Live<K>, failure: &Failure, failure_status: &FailureStatus) {
    if matches!(failure_status, FailureStatus::Nothing) {
        tracing::debug!(error = %Chain(failure), "reconciling again");
        return;
    }
    tracing::warn!(error = %Chain(failure), reason = failure_status.reason(), "reconcile failed");
    let mut verdicts = failure_status.verdicts(K::UNKNOWN_WHILE_STALLED);
    if live.is_being_deleted() {
        for verdict in &mut verdicts {
            verdict.message.push_str(&escape());
        }
    }
    let outcome = Outcome { status: live.status(), verdicts, requeue: Duration::ZERO };
    if let Err(error) = store(ctx, live, outcome, false).await {
        tracing::debug!(error = %Chain(&error), "the failure was not written to the status");
    }
}

/// An object that cannot be parsed has no typed status; its conditions are written into its JSON.
async fn refuse_shape<K: Kind>(ctx: &Context, raw: &DynamicObject, failure: Failure) -> Action {
    tracing::warn!(error = %Chain(&failure), "the object cannot be read");
    let timings = &ctx.config.timings;
    let generation = raw.metadata.generation.unwrap_or_default();
    let mut message = format!("{}; apply the CRDs of this version of muster and check the spec", Chain(&failure));
    if raw.metadata.deletion_timestamp.is_some() {
        message.push_str(&escape());
    }
    let verdicts = FailureStatus::Stalled { reason: Reason::InvalidSpec, message }.verdicts(&[]);
    let stored: Vec<Condition> = serde_json::from_value(raw.data["status"]["conditions"].clone()).unwrap_or_default();
    let conditions = condition::merge(&stored, &verdicts, generation, ctx.clock.now());
    if conditions != stored {
        let mut wanted = raw.clone();
        wanted.data["status"]["conditions"] = serde_json::json!(conditions);
        wanted.data["status"]["observedGeneration"] = serde_json::json!(generation);
        let api = ctx.cluster.api_of(raw, &ApiResource::erase::<K>(&()));
        let name = raw.metadata.name.as_deref().unwrap_or_default();
        let params = PostParams::default();
        if let Err(error) = ctx.cluster.call("write a status", api.replace_status(name, &params, &wanted)).await {
            tracing::debug!(error = %Chain(&error), "the failure was not written to the status");
        }
    }
    Action::requeue(timings.sweep)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(failure_status: &FailureStatus) -> Vec<Condition> {
        condition::merge(&[], &failure_status.verdicts(&[]), 1, jiff::Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_problem_that_persists_has_a_second_event_of_type_warning() {
        let (reason, message) = (Reason::AwsAccountNotFound, "AwsAccount x does not exist".to_owned());
        let early = conditions(&FailureStatus::Reconciling { reason, message: message.clone() });
        let late = conditions(&FailureStatus::Stalled { reason, message });
        assert!(matches!(change_of_ready(&[], &early), Some((EventType::Normal, _))));
        assert!(matches!(change_of_ready(&early, &late), Some((EventType::Warning, _))));
        assert!(change_of_ready(&late, &late).is_none());
        assert!(change_of_ready(&early, &early).is_none());
    }
}
