//! Parameters are written exactly once and removed completely, at whichever call the controller is killed.
//!
//! The controller reconciles only on changes and on request, not periodically, so that no call depends on the clock.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU32, Ordering},
};

use kube::{Api, api::DeleteParams};
use muster::{
    clock::Timings,
    config::Config,
    crd::{
        aws_account::AwsAccount,
        worker_fleet::{WorkerFleet, WorkerFleetStatus},
    },
};
use serde_json::{Value, json};

use super::{
    BUCKET, change_secret, create_secret, documents, in_parameter_store, in_s3, parameters, password, stored, value,
    values_of,
};
use crate::support::{
    crash::{self, Scenario, converges_after_every_kill, start_with, stepped},
    fleet::{settled, spec, status, with},
    scene::{self, Controller, PATIENCE, REGION, Scene, condition},
    tap::{Moment, Point, SELDOM, Tap},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Store {
    S3,
    ParameterStore,
}

impl Store {
    fn spec(self) -> Value {
        match self {
            Self::S3 => in_s3(),
            Self::ParameterStore => in_parameter_store(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Create,
    /// One value is changed, one is added, one is removed.
    ChangeSpec,
    ChangeSecret,
    Delete,
}

struct Part {
    store: Store,
    act: Act,
    calls: &'static [&'static str],
}

impl Part {
    /// The values that must be stored in the end, each with the number of writes.
    fn expected(&self) -> BTreeMap<&'static str, (&'static str, usize)> {
        BTreeMap::from(match self.act {
            Act::Create => [("changes", ("1", 1)), ("dbPassword", ("first", 1)), ("goes", ("1", 1))],
            Act::ChangeSpec => [("changes", ("2", 2)), ("comes", ("2", 1)), ("dbPassword", ("first", 1))],
            Act::ChangeSecret => [("changes", ("1", 1)), ("dbPassword", ("second", 2)), ("goes", ("1", 1))],
            Act::Delete => return BTreeMap::new(),
        })
    }

    fn assert_stored(&self, scene: &Scene, case: &str) {
        let expected = self.expected();
        match self.store {
            Store::ParameterStore => {
                let found = stored(scene).into_iter().map(|(name, stored)| {
                    let (value, _, versions) = value(&stored);
                    (name, (value.to_owned(), versions))
                });
                let expected = expected
                    .into_iter()
                    .map(|(name, (value, times))| (format!("/app/{name}"), (value.to_owned(), times)));
                assert_eq!(found.collect::<BTreeMap<_, _>>(), expected.collect(), "{case}");
            }
            Store::S3 => {
                let document: BTreeMap<_, _> = expected.iter().map(|(name, (value, _))| (name, value)).collect();
                let expected = if document.is_empty() { vec![] } else { vec![json!(document)] };
                let found: Vec<_> = documents(scene).into_values().map(|document| values_of(&document)).collect();
                assert_eq!(found, expected, "{case}");
            }
        }
    }

    /// Waits until the controller has finished the change that started from `before`.
    async fn wait_recorded(&self, scene: &Scene, before: &WorkerFleetStatus, case: &str) {
        let revision = before.update_revision.clone();
        let names: Vec<_> = self.expected().into_keys().map(str::to_owned).collect();
        let told = |fleet: &WorkerFleet| {
            let status = status(fleet);
            let written = status.workers.parameters.parameters.map(|parameters| parameters.written).unwrap_or_default();
            let all = match self.store {
                Store::S3 => written.len() == 1,
                Store::ParameterStore => written == names,
            };
            // The revision contains what its workers read, so it appears last.
            settled(fleet, 0) && all && status.update_revision != revision
        };
        scene.wait::<WorkerFleet>("web", &format!("{case}: as it is to be"), told).await;
    }
}

/// Requests a reconcile, and waits until it is complete.
async fn reconcile_now(scene: &Scene, case: &str) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let request = NEXT.fetch_add(1, Ordering::Relaxed).to_string();
    let annotations = json!({"metadata": {"annotations": {"muster.dev/requested-at": request}}});
    scene.change::<WorkerFleet>("web", annotations).await;
    let handled = |fleet: &WorkerFleet| status(fleet).common.last_handled_requested_at.as_ref() == Some(&request);
    scene.wait::<WorkerFleet>("web", &format!("{case}: reconciled"), handled).await;
}

impl Scenario for Part {
    /// The status of the fleet before.
    type Object = WorkerFleetStatus;

    fn name(&self) -> String {
        format!("parameters in {:?}, {:?}", self.store, self.act)
    }

    fn calls(&self) -> &[&str] {
        self.calls
    }

    fn unpredictable(&self) -> &[&str] {
        SELDOM
    }

    async fn scene(&self) -> Scene {
        let scene = Scene::with(stepped()).await;
        scene.sandbox.s3().ensure_bucket(scene.account.as_str(), REGION, BUCKET).unwrap();
        create_secret(&scene, "first", true).await;
        scene
    }

    fn config(&self, scene: &Scene) -> Config {
        let config = crash::config(scene);
        Config { timings: Timings { sweep: PATIENCE, ..config.timings }, ..config }
    }

    async fn begin(&self, scene: &Scene, tap: &Tap, stop: Option<(Point, Moment)>) -> Controller {
        let controller = start_with(self.config(scene), scene, tap).await;
        // Otherwise the clock would determine whether the Secret is read again when its first watch event arrives.
        tap.watches("secrets").await;
        let ready = |account: &AwsAccount| {
            let status = account.status.clone().unwrap_or_default();
            condition(&status.common.conditions, "Ready").is_some_and(|(truth, _, _)| truth == "True")
        };
        scene::wait(Api::all(scene.kube.clone()), &scene.namespace, "the account is proven", ready).await;
        if self.act != Act::Create {
            let created = Self { act: Act::Create, ..*self };
            created.act(scene).await;
            created.wait_recorded(scene, &WorkerFleetStatus::default(), "at the beginning").await;
            reconcile_now(scene, "at the beginning").await;
        }
        tap.begin(stop);
        controller
    }

    async fn act(&self, scene: &Scene) -> WorkerFleetStatus {
        let before = scene.api::<WorkerFleet>().get_opt("web").await.unwrap();
        match self.act {
            Act::Create => {
                let values = json!([password(), {"name": "goes", "value": "1"}, {"name": "changes", "value": "1"}]);
                let fleet = with(spec(scene, 0, json!({})), parameters(self.store.spec(), values));
                scene.create::<WorkerFleet>("web", fleet).await;
            }
            Act::ChangeSpec => {
                let values = json!([password(), {"name": "changes", "value": "2"}, {"name": "comes", "value": "2"}]);
                scene.change::<WorkerFleet>("web", json!({"spec": {"parameters": {"values": values}}})).await;
            }
            Act::ChangeSecret => change_secret(scene, "second").await,
            Act::Delete => drop(scene.api::<WorkerFleet>().delete("web", &DeleteParams::default()).await.unwrap()),
        }
        before.and_then(|fleet| fleet.status).unwrap_or_default()
    }

    async fn assert_ended(&self, scene: &Scene, _: &Tap, before: &WorkerFleetStatus, case: &str) {
        if self.act == Act::Delete {
            scene.wait_gone::<WorkerFleet>("web").await;
        } else {
            self.wait_recorded(scene, before, case).await;
            reconcile_now(scene, case).await;
        }
        self.assert_stored(scene, case);
    }
}

async fn survives(store: Store, act: Act, calls: &'static [&'static str]) {
    converges_after_every_kill(&Part { store, act, calls }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_call_of_a_creation_each_parameter_is_written_once() {
    survives(
        Store::ParameterStore,
        Act::Create,
        &["GET secrets", "GetParameters", "PutParameter", "PUT workerfleets/status"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_call_of_a_change_each_differing_parameter_is_written_once() {
    survives(
        Store::ParameterStore,
        Act::ChangeSpec,
        &["GetParameters", "PutParameter", "DescribeParameters", "DeleteParameters", "PUT workerfleets/status"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_call_of_a_secrets_change_its_parameter_is_written_once() {
    survives(
        Store::ParameterStore,
        Act::ChangeSecret,
        &["GET secrets", "GetParameters", "PutParameter", "PUT workerfleets/status"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_call_of_a_deletion_no_parameter_remains() {
    survives(Store::ParameterStore, Act::Delete, &["DescribeParameters", "DeleteParameters", "PATCH workerfleets"])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_call_of_a_creation_there_is_one_document() {
    survives(Store::S3, Act::Create, &["GET secrets", "PUT object", "PUT workerfleets/status"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_call_of_a_change_there_is_one_document() {
    survives(Store::S3, Act::ChangeSpec, &["PUT object", "DELETE object", "PUT workerfleets/status"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_call_of_a_secrets_change_there_is_one_document() {
    survives(Store::S3, Act::ChangeSecret, &["GET secrets", "PUT object", "DELETE object", "PUT workerfleets/status"])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_call_of_a_deletion_no_document_remains() {
    survives(Store::S3, Act::Delete, &["DELETE object", "PATCH workerfleets"]).await;
}
