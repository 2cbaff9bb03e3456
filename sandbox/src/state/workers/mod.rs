//! The virtual workers that run: each is the folder and the processes of one running instance.

mod user_data;
mod worker;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::DropGuard;

pub(crate) use worker::{Worker, WorkerCommand};
pub use worker::{WorkerError, WorkerOutput};

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

    pub(crate) fn ids(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// `metadata` ends its metadata service when dropped.
    pub(crate) fn insert(&self, id: String, worker: Worker, metadata: DropGuard) {
        self.lock().insert(id, Running { worker, _metadata: metadata });
        self.changed.send_modify(|n| *n += 1);
    }

    pub(crate) fn list(&self) -> Vec<WorkerInfo> {
        self.lock().iter().map(|(id, running)| info(id, &running.worker)).collect()
    }

    pub(crate) fn find(&self, id: &str) -> Option<WorkerInfo> {
        self.lock().get(id).map(|running| info(id, &running.worker))
    }

    /// A shell command that is ready to run in the worker. `None`: there is no such worker.
    pub(crate) fn command(&self, id: &str, command: &str) -> Option<WorkerCommand> {
        self.lock().get(id).map(|running| running.worker.command(command))
    }

    /// Fires whenever a worker starts or ends.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// What a worker has printed so far. `None`: there is no such worker.
    pub(crate) fn console(&self, id: &str) -> Option<Vec<u8>> {
        self.lock().get(id).and_then(|running| running.worker.console().ok())
    }

    pub(crate) fn remove(&self, id: &str) {
        let gone = self.lock().remove(id);
        drop(gone);
        self.changed.send_modify(|n| *n += 1);
    }
}

fn info(id: &str, worker: &Worker) -> WorkerInfo {
    WorkerInfo {
        instance_id: id.to_owned(),
        folder: worker.folder().to_owned(),
        metadata_endpoint: format!("http://{}", worker.metadata),
    }
}
