//! Virtual workers as tests and demos control them.

use std::time::Duration;

use super::Control;
use crate::state::workers::{WorkerError, WorkerInfo, WorkerOutput};

impl Control {
    /// The virtual workers that run.
    pub fn workers(&self) -> Vec<WorkerInfo> {
        self.state.workers.list()
    }

    pub fn worker(&self, instance_id: &str) -> Option<WorkerInfo> {
        self.state.workers.find(instance_id)
    }

    /// Returns once the workers satisfy `enough`.
    pub async fn wait_for_workers(&self, enough: impl Fn(&[WorkerInfo]) -> bool) -> Vec<WorkerInfo> {
        let mut changed = self.state.workers.changes();
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
        let command = self.state.workers.command(instance_id, command);
        command.ok_or_else(|| WorkerError::NotRunning(instance_id.to_owned()))?.run(timeout).await
    }
}
