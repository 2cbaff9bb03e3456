//! Starts and stops a sandbox.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::SandboxConfig;
use crate::control::Control;
use crate::state::State;
use crate::{server, workers};

/// A running sandbox. Dereferences to its [`Control`]. It stops when dropped.
#[derive(Debug)]
pub struct Sandbox {
    address: SocketAddr,
    control: Control,
    stop: CancellationToken,
    server: Option<JoinHandle<()>>,
    workers: Option<JoinHandle<()>>,
}

impl Sandbox {
    /// Listens, and returns once connections are accepted.
    pub async fn start(config: SandboxConfig) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("the sandbox cannot listen on {}", config.listen))?;
        let address = listener.local_addr().context("the sandbox's listener has no address")?;
        let state = Arc::new(State::new(&config));
        let stop = CancellationToken::new();
        let server = tokio::spawn(server::serve(listener, Arc::clone(&state), stop.clone()));
        let control = Control::new(state);
        let workers = config.workers.map(|workers| {
            tokio::spawn(workers::keep(control.clone(), workers, format!("http://{address}"), stop.clone()))
        });
        Ok(Self { address, control, stop, server: Some(server), workers })
    }

    /// The value for `AWS_ENDPOINT_URL`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A handle that may outlive the borrow of the sandbox.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Waits for calls in flight, then stops.
    pub async fn stop(mut self) {
        self.stop.cancel();
        for task in [self.workers.take(), self.server.take()].into_iter().flatten() {
            // A panic was already reported by the runtime.
            let _ended = task.await;
        }
    }
}

impl Deref for Sandbox {
    type Target = Control;

    fn deref(&self) -> &Control {
        &self.control
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
