//! What a replica that does not lead is asked, the leader answers: it has the data.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::{
    clock::Clock,
    error_chain::Chain,
    http::tls::{Identity, any_name},
    lease::{ADDRESS, Leadership, LeaseName},
};

/// Marks what another replica has sent on, so that two of them never send it back and forth.
const FORWARDED: &str = "x-muster-forwarded";
/// For each step until the leader has accepted the connection.
const CONNECT: Duration = Duration::from_secs(3);
/// For how long an address is used.
const KNOWN: Duration = Duration::from_secs(5);

/// Where the leader is.
#[derive(Clone)]
pub struct Leader {
    leadership: Leadership,
    /// `None`: there is no other replica.
    lease: Option<LeaseName>,
    client: Client,
    /// `None`: without TLS.
    identity: Option<Identity>,
    known: Arc<Mutex<Option<(Instant, String)>>>,
}

impl std::fmt::Debug for Leader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leader").field("lease", &self.lease).finish_non_exhaustive()
    }
}

impl Leader {
    pub fn new(leadership: Leadership, lease: Option<LeaseName>, client: Client, identity: Option<Identity>) -> Self {
        Self { leadership, lease, client, identity, known: Arc::default() }
    }

    /// The routes of `app`, answered here or by the leader.
    pub fn serve(self, app: Router) -> Router {
        app.layer(middleware::from_fn_with_state(self, here_or_there))
    }

    async fn address(&self) -> Option<String> {
        let now = Clock.monotonic();
        {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((at, address)) = &*known
                && now.saturating_duration_since(*at) < KNOWN
            {
                return Some(address.clone());
            }
        }
        let LeaseName { namespace, name } = self.lease.as_ref()?;
        let api = Api::<Lease>::namespaced(self.client.clone(), namespace);
        let lease = tokio::time::timeout(CONNECT, api.get_opt(name)).await.ok()?.ok()??;
        let is_held = lease.spec.and_then(|spec| spec.holder_identity).is_some_and(|holder| !holder.is_empty());
        let address = lease.metadata.annotations?.remove(ADDRESS).filter(|_| is_held)?;
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, address.clone()));
        Some(address)
    }

    async fn send(&self, address: &str, mut request: Request) -> io::Result<Response> {
        request.headers_mut().insert(FORWARDED, HeaderValue::from_static("1"));
        let connect = tokio::time::timeout(CONNECT, TcpStream::connect(address));
        let stream = connect.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        match &self.identity {
            None => exchange(stream, request).await,
            Some(identity) => {
                let handshake = TlsConnector::from(identity.client()).connect(any_name()?, stream);
                let handshake = tokio::time::timeout(CONNECT, handshake);
                let stream = handshake.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
                exchange(stream, request).await
            }
        }
    }
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    request: Request,
) -> io::Result<Response> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    Ok(response.map(Body::new))
}

async fn here_or_there(State(leader): State<Leader>, request: Request, next: Next) -> Response {
    if leader.leadership.is_held(Clock.monotonic()) {
        return next.run(request).await;
    }
    if request.headers().contains_key(FORWARDED) {
        return unavailable();
    }
    let Some(address) = leader.address().await else { return unavailable() };
    match leader.send(&address, request).await {
        Ok(response) => response,
        Err(error) => {
            tracing::warn!(error = %Chain(&error), address, "the leader did not answer");
            *leader.known.lock().unwrap_or_else(PoisonError::into_inner) = None;
            unavailable()
        }
    }
}

fn unavailable() -> Response {
    let problem = json!({"error": "no replica leads now, so there is no data; try again in some seconds"});
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")], Json(problem)).into_response()
}
