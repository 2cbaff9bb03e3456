//! Virtual workers: each running instance is a folder, a metadata service and processes, among them the real agent.
//!
//! Off unless the sandbox is started with a [`WorkersConfig`]. A worker ends with its instance, with the sandbox, and
//! with the sandbox's process, however that ends (see [`crate::process_group`]). It has no root file system of its own:
//! its disk is a folder, `$ROOT`, which is where user data and commands start.
//!
//! ```text
//! GET    /_sandbox/workers                        [{instanceId, folder, metadataEndpoint}]
//! POST   /_sandbox/workers/{instance id}/run      {command, millis}
//! ```

mod imds;
mod metadata;
mod reports;
#[cfg(test)]
mod tests;
mod tokens;
mod user_data;
mod worker;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Path, State as Shared};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use reports::ReportsSpec;
pub use worker::{WorkerError, WorkerOutput};

use crate::config::millis;
use crate::control::Control;
use crate::ec2::instance::{Instance, InstanceState};
use crate::error::ApiError;
use worker::Worker;

/// What runs on workers.
#[derive(Debug, Clone, Default)]
pub struct WorkersConfig {
    /// The program `muster-agent`. `None`: no agent runs.
    pub agent: Option<PathBuf>,
    /// Written to `$ROOT/etc/muster-agent/agent.toml` before user data runs, which may write another one. `$ROOT` in it
    /// stands for the worker's folder.
    pub agent_config: Option<String>,
    /// Run user data as cloud-init would: a script, or the scripts and boothooks of a MIME archive. `shutdown` and the
    /// like, on a worker, stop or terminate its instance.
    pub user_data: bool,
    /// PATH on workers. `None`: the folders that every system has.
    pub path: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerInfo {
    pub instance_id: String,
    pub folder: PathBuf,
    pub metadata_endpoint: String,
}

/// The workers that run.
#[derive(Debug)]
pub(crate) struct Workers {
    running: Mutex<BTreeMap<String, Running>>,
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct Running {
    worker: Worker,
    _metadata: DropGuard,
}

impl Default for Workers {
    fn default() -> Self {
        Self { running: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl Workers {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ids(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    fn insert(&self, id: String, running: Running) {
        self.lock().insert(id, running);
        self.changed.send_modify(|n| *n += 1);
    }

    /// What a worker has printed so far. `None`: there is no such worker.
    pub(crate) fn console(&self, id: &str) -> Option<Vec<u8>> {
        self.lock().get(id).and_then(|running| running.worker.console().ok())
    }

    fn remove(&self, id: &str) {
        let gone = self.lock().remove(id);
        drop(gone);
        self.changed.send_modify(|n| *n += 1);
    }
}

/// Keeps a worker for each running instance until told to stop.
pub(crate) async fn keep(control: Control, config: WorkersConfig, endpoint: String, stop: CancellationToken) {
    let config = Arc::new(config);
    let mut events = control.instance_events();
    loop {
        follow(&control, &config, &endpoint).await;
        let heard = tokio::select! {
            heard = events.recv() => heard,
            () = stop.cancelled() => break,
        };
        // What was missed is seen by looking at all instances again.
        if matches!(heard, Err(RecvError::Closed)) {
            break;
        }
    }
    for id in control.state.workers.ids() {
        end(&control, id).await;
    }
}

/// Starts and ends workers until there is one for each running instance.
async fn follow(control: &Control, config: &Arc<WorkersConfig>, endpoint: &str) {
    let wanted: BTreeMap<String, Instance> = control
        .instances()
        .into_iter()
        .filter(|instance| instance.state == InstanceState::Running)
        .map(|instance| (instance.id.clone(), instance))
        .collect();
    let running = control.state.workers.ids();
    for id in running.iter().filter(|id| !wanted.contains_key(*id)) {
        end(control, id.clone()).await;
    }
    for (id, instance) in wanted {
        if running.contains(&id) {
            continue;
        }
        if let Err(error) = start(control, config, endpoint, instance).await {
            tracing::error!(instance = id, error = &error as &dyn std::error::Error, "cannot start the worker");
        }
    }
}

async fn start(
    control: &Control,
    config: &Arc<WorkersConfig>,
    endpoint: &str,
    instance: Instance,
) -> std::io::Result<()> {
    let stop = CancellationToken::new();
    let metadata = imds::serve(control.clone(), instance.id.clone(), stop.clone()).await?;
    let guard = stop.clone().drop_guard();
    let (config, endpoint, id) = (config.clone(), endpoint.to_owned(), instance.id.clone());
    let start = move || Worker::start(&config, &instance, &endpoint, metadata);
    let worker = tokio::task::spawn_blocking(start).await.map_err(std::io::Error::other)??;
    tokio::spawn(stop.run_until_cancelled_owned(heed_shutdown(
        control.clone(),
        id.clone(),
        worker.folder().to_owned(),
    )));
    control.state.workers.insert(id, Running { worker, _metadata: guard });
    Ok(())
}

/// Ends the instance when its worker shuts itself down.
async fn heed_shutdown(control: Control, id: String, folder: PathBuf) {
    let ended = match Worker::until_shut_down(folder).await {
        Ok(()) => control.shut_down_from_inside(&id).map_err(std::io::Error::other),
        Err(error) => Err(error),
    };
    if let Err(error) = ended {
        tracing::error!(instance = id, error = &error as &dyn std::error::Error, "cannot heed the worker's shutdown");
    }
}

async fn end(control: &Control, id: String) {
    let control = control.clone();
    // Killing and removing waits for processes.
    let ended = tokio::task::spawn_blocking(move || {
        if let Some(text) = control.state.workers.console(&id) {
            control.keep_console_output(&id, text);
        }
        control.state.workers.remove(&id);
    });
    let _ended = ended.await;
}

impl Control {
    /// The virtual workers that run.
    pub fn workers(&self) -> Vec<WorkerInfo> {
        let running = self.state.workers.lock();
        running.iter().map(|(id, running)| info(id, &running.worker)).collect()
    }

    pub fn worker(&self, instance_id: &str) -> Option<WorkerInfo> {
        self.state.workers.lock().get(instance_id).map(|running| info(instance_id, &running.worker))
    }

    /// Returns once the workers satisfy `enough`.
    pub async fn wait_for_workers(&self, enough: impl Fn(&[WorkerInfo]) -> bool) -> Vec<WorkerInfo> {
        let mut changed = self.state.workers.changed.subscribe();
        loop {
            let workers = self.workers();
            if enough(&workers) || changed.changed().await.is_err() {
                return workers;
            }
        }
    }

    /// Runs a shell command in a worker's folder, with the worker's environment.
    pub async fn run_in_worker(
        &self,
        instance_id: &str,
        command: &str,
        timeout: Duration,
    ) -> Result<WorkerOutput, WorkerError> {
        let command = {
            let running = self.state.workers.lock();
            let running = running.get(instance_id).ok_or_else(|| WorkerError::NotRunning(instance_id.to_owned()))?;
            running.worker.command(command)
        };
        command.run(timeout).await
    }
}

fn info(id: &str, worker: &Worker) -> WorkerInfo {
    WorkerInfo {
        instance_id: id.to_owned(),
        folder: worker.folder().to_owned(),
        metadata_endpoint: format!("http://{}", worker.metadata),
    }
}

pub(crate) fn routes() -> Router<Control> {
    Router::new().route("/_sandbox/workers", get(list)).route("/_sandbox/workers/{id}/run", post(run))
}

async fn list(Shared(control): Shared<Control>) -> Json<Vec<WorkerInfo>> {
    Json(control.workers())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    command: String,
    #[serde(rename = "millis", with = "millis", default = "a_minute")]
    timeout: Duration,
}

fn a_minute() -> Duration {
    Duration::from_secs(60)
}

async fn run(
    Shared(control): Shared<Control>,
    Path(id): Path<String>,
    Json(run): Json<Run>,
) -> Result<Json<WorkerOutput>, ApiError> {
    let code = |error: &WorkerError| match error {
        WorkerError::NotRunning(_) => "WorkerNotRunning",
        WorkerError::Run(_) => "CommandFailed",
        WorkerError::TimedOut(_) => "CommandTimedOut",
    };
    let output = control.run_in_worker(&id, &run.command, run.timeout).await;
    output.map(Json).map_err(|error| ApiError::new(code(&error), error.to_string()))
}
