//! An HTTP server for small GET requests. Its clients limit neither each other nor the controller: connections are bounded
//! in number, in time and in memory.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use axum::{Extension, Router, serve::Listener};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use crate::{error_chain::Chain, http::tls::Identity};

/// The request line and the headers. Those of Prometheus and of the kubelet have less than 1 KiB.
const MAX_HEAD: usize = 16 * 1024;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of all clients together. One more closes the oldest one of the address that has the most.
    pub connections: usize,
    /// From the connection until all headers are received.
    pub head: Duration,
    /// From the connection until the response is sent.
    pub request: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 128, head: Duration::from_secs(5), request: Duration::from_secs(30) }
    }
}

/// The address that a request comes from.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// Serves until the future is dropped, with TLS if there is an `identity`. A connection serves one request, so that no
/// connection is idle.
pub async fn serve(mut listener: TcpListener, app: Router, limits: Limits, identity: Option<Identity>) {
    let mut open: Vec<(IpAddr, AbortOnDropHandle<()>)> = Vec::new();
    loop {
        let (stream, peer) = Listener::accept(&mut listener).await;
        open.retain(|(_, connection)| !connection.is_finished());
        // Neither refusing nor queueing would do: the probes of the kubelet use this port too.
        if open.len() >= limits.connections
            && let Some(surplus) = surplus(open.iter().map(|(address, _)| *address))
        {
            drop(open.remove(surplus));
        }
        let address = peer.ip().to_canonical();
        let app = app.clone().layer(Extension(Peer(address)));
        let connection = tokio::spawn(accept(stream, app, limits, identity.clone()));
        open.push((address, AbortOnDropHandle::new(connection)));
    }
}

async fn accept(stream: TcpStream, app: Router, limits: Limits, identity: Option<Identity>) {
    let Some(identity) = identity else { return connection(stream, app, limits).await };
    let handshake = TlsAcceptor::from(identity.server()).accept(stream);
    match tokio::time::timeout(limits.head, handshake).await {
        Ok(Ok(stream)) => connection(stream, app, limits).await,
        Ok(Err(error)) => tracing::debug!(error = %Chain(&error), "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin + 'static>(stream: S, app: Router, limits: Limits) {
    let service = TowerToHyperService::new(app);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head).keep_alive(false).max_buf_size(MAX_HEAD);
    match tokio::time::timeout(limits.request, http.serve_connection(TokioIo::new(stream), service)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(error = %Chain(&error), "an HTTP connection failed"),
        Err(_) => tracing::debug!("an HTTP request took too long"),
    }
}

/// The oldest connection of the address that has the most. `open` begins with the oldest one.
fn surplus(open: impl Iterator<Item = IpAddr> + Clone) -> Option<usize> {
    let mut counts = HashMap::<_, usize>::new();
    open.clone().for_each(|address| *counts.entry(address).or_default() += 1);
    let most = counts.values().max().copied()?;
    open.into_iter().position(|address| counts[&address] == most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_with_the_most_connections_loses_its_oldest() {
        for (open, expected) in [
            (&[][..], None),
            (&[1], Some(0)),
            (&[1, 2, 2], Some(1)),
            (&[1, 2, 1, 2, 2], Some(1)),
            (&[3, 2, 1], Some(0)),
        ] {
            let addresses = open.iter().map(|last| IpAddr::from([10, 0, 0, *last]));
            assert_eq!(surplus(addresses), expected, "{open:?}");
        }
    }
}
