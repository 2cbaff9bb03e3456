//! What reconcilers share.

use std::{future::Future, sync::Arc};

use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject},
    core::Status,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

use crate::{
    aws::{Aws, sweep::Sweeps},
    aws_account::Accounts,
    clock::Clock,
    config::Config,
    fleet_report::Collectors,
    lease::Leadership,
    live::{Live, Written},
    memories::Memories,
    metrics::Metrics,
    reconcile::{Backoff, Failure, Kind},
    references::References,
    reporting::Reporters,
    worker_job,
    workers::{self, parameters, resolve::Resolver},
};

#[derive(Clone)]
pub struct Context {
    pub kube: Client,
    pub aws: Aws,
    /// The AwsAccounts as last seen, and who may use them.
    pub accounts: Accounts,
    pub references: References,
    /// What was collected from S3, shared by all FleetReports.
    pub reports: Collectors,
    /// The shared looks at machines.
    pub sweeps: Arc<Sweeps>,
    /// What templates came to, shared by all that say the same.
    pub resolver: Arc<Resolver>,
    /// What is known of the parameters of objects, and the Secrets and ConfigMaps that are watched for them.
    pub parameters: Memories<parameters::Memory>,
    pub watched: parameters::Watched,
    /// Whose reports are fresh.
    pub reporting: Reporters,
    pub workers: Memories<workers::memory::Memory>,
    pub worker_jobs: Memories<worker_job::Memory>,
    pub backoff: Arc<Backoff>,
    pub written: Written,
    pub clock: Clock,
    pub leadership: Leadership,
    /// Who Kubernetes events are from.
    pub reporter: Reporter,
    pub metrics: Arc<Metrics>,
    pub config: Arc<Config>,
    /// Names this start of this process: the pod's name and a random part.
    pub holder: Arc<str>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("holder", &self.holder).finish_non_exhaustive()
    }
}

impl Context {
    /// Awaits a call to Kubernetes, with the deadline that kube itself does not set. `operation` completes the sentence
    /// "cannot ...".
    ///
    /// # Errors
    /// [`Failure::Stale`] for 409; otherwise [`Failure::Kube`] with the operation named.
    pub async fn kube_call<T>(
        &self,
        operation: &str,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Failure> {
        match tokio::time::timeout(self.config.timings.call_deadline, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) if is_conflict(&status) => Err(Failure::Stale),
            Ok(Err(source)) => Err(Failure::Kube { operation: operation.into(), source: Box::new(source) }),
            Err(_) => Err(Failure::KubeDeadline { operation: operation.into() }),
        }
    }

    /// The API that `object` is served by.
    pub fn api_of(&self, object: &DynamicObject, resource: &ApiResource) -> Api<DynamicObject> {
        match &object.metadata.namespace {
            Some(namespace) => Api::namespaced_with(self.kube.clone(), namespace, resource),
            None => Api::all_with(self.kube.clone(), resource),
        }
    }

    /// Records a Kubernetes event. Events expire and may be lost, so whatever somebody must act on is in a condition too.
    pub async fn event<K: Kind>(&self, live: &Live<K>, type_: EventType, reason: &str, action: &str, note: String) {
        let note = Some(clip(note));
        let event = Event { type_, reason: reason.into(), note, action: action.into(), secondary: None };
        let object = live.object().object_ref(&());
        // A new recorder each time: it counts a repeated event as the first one again, whose note is no longer true. Events
        // are for changes only, so there is no flood to hold back.
        let recorder = Recorder::new(self.kube.clone(), self.reporter.clone());
        let published = recorder.publish(&event, &object);
        if let Err(error) = self.kube_call("record an event", published).await {
            tracing::warn!(error = %crate::reconcile::Chain(&error), "an event was not recorded");
        }
    }
}

/// Kubernetes refuses an event whose note is longer (events.k8s.io/v1, `note`: at most 1kB).
const NOTE_LIMIT: usize = 1024;

fn clip(mut note: String) -> String {
    const MORE: &str = "...";
    if note.len() > NOTE_LIMIT {
        note.truncate(note.floor_char_boundary(NOTE_LIMIT - MORE.len()));
        note.push_str(MORE);
    }
    note
}

fn is_conflict(status: &Status) -> bool {
    status.code == 409 && status.reason == "Conflict"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_cut_between_characters_to_what_kubernetes_takes() {
        assert_eq!(clip("short".into()), "short");
        let long = clip("ä".repeat(600));
        assert!(long.len() <= NOTE_LIMIT && long.ends_with("ä..."), "{} bytes", long.len());
    }
}
