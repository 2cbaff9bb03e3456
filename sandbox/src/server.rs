//! The listener and its connections.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::front;
use crate::services::dispatch::Services;
use crate::state::State;

/// How long calls under way may take to end when the sandbox stops. Held calls are released before.
const GRACE: Duration = Duration::from_secs(2);

pub(crate) async fn serve(listener: TcpListener, state: Arc<State>, stop: CancellationToken) {
    let connections = TaskTracker::new();
    let abort = CancellationToken::new();
    let services = Arc::new(Services::new(Arc::clone(&state)));
    let lifecycles = tokio::spawn(Arc::clone(&state).keep_time());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, _peer)) => {
                let connection = serve_connection(stream, Arc::clone(&services), stop.clone());
                connections.spawn(abort.clone().run_until_cancelled_owned(connection));
            }
            // Out of file descriptors, most likely: give connections a moment to close.
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    state.faults.clear();
    connections.close();
    state.calls.close();
    let ended = async {
        connections.wait().await;
        state.calls.wait().await;
    };
    if tokio::time::timeout(GRACE, ended).await.is_err() {
        abort.cancel();
        connections.wait().await;
    }
    lifecycles.abort();
}

async fn serve_connection(stream: TcpStream, services: Arc<Services>, stop: CancellationToken) {
    // Small answers on loopback: waiting for more to send only adds latency.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let service = service_fn(|request| front::answer(Arc::clone(&services), request));
    let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = &error as &dyn std::error::Error, "connection ended");
    }
}
