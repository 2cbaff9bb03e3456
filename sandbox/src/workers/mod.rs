//! Virtual workers: each running instance is a folder, a metadata service and processes, among them the real agent.
//!
//! Off unless the sandbox is started with a [`WorkersConfig`]. A worker ends with its instance, with the sandbox, and
//! with the sandbox's process, however that ends (see [`crate::process_group`]). It has no root file system of its own:
//! its disk is a folder, `$ROOT`, which is where user data and commands start.

mod imds;
mod metadata;
#[cfg(test)]
mod tests;
mod tokens;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::config::WorkersConfig;
use crate::control::Control;
use crate::state::ec2::instance::{Instance, InstanceState};
use crate::state::workers::Worker;

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
    let files = control.image_files(&instance.region, &instance.image_id);
    let start = move || Worker::start(&config, &instance, &files, &endpoint, metadata);
    let worker = tokio::task::spawn_blocking(start).await.map_err(std::io::Error::other)??;
    tokio::spawn(stop.run_until_cancelled_owned(heed_shutdown(
        control.clone(),
        id.clone(),
        worker.folder().to_owned(),
    )));
    control.state.workers.insert(id, worker, guard);
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
