//! The metadata service of one virtual worker: IMDSv2 on a loopback address of its own.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::metadata::{self, Found};
use super::tokens::Tokens;
use crate::clock::wall_now;
use crate::control::Control;
use crate::protocol::percent;
use crate::state::accounts::Credentials;

const TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";
/// Credentials are renewed this long before they end, as EC2 does.
const RENEW_BEFORE: Duration = Duration::from_secs(15 * 60);

/// Serves until cancelled. Answers where.
pub(super) async fn serve(
    control: Control,
    instance_id: String,
    stop: CancellationToken,
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let service = Arc::new(Service { control, instance_id, tokens: Tokens::default(), credentials: Mutex::default() });
    tokio::spawn(stop.clone().run_until_cancelled_owned(accept(listener, service, stop)));
    Ok(address)
}

async fn accept(listener: TcpListener, service: Arc<Service>, stop: CancellationToken) {
    loop {
        let Ok((stream, _peer)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let service = service.clone();
        let answer = service_fn(move |request: Request<Incoming>| {
            let answer = service.answer(&request);
            async { Ok::<_, Infallible>(answer) }
        });
        let connection = async move {
            let connection =
                http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), answer);
            // A client that goes away is no news.
            let _ended = connection.await;
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(connection));
    }
}

struct Service {
    control: Control,
    instance_id: String,
    tokens: Tokens,
    credentials: Mutex<Option<Credentials>>,
}

impl Service {
    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let Some(instance) = self.control.instance(&self.instance_id) else {
            return refuse(StatusCode::SERVICE_UNAVAILABLE);
        };
        let options = &instance.metadata_options;
        if !options.endpoint_enabled {
            return refuse(StatusCode::FORBIDDEN);
        }
        let (method, path) = (request.method(), request.uri().path());
        if path == "/latest/api/token" {
            return self.token(method, request.headers());
        }
        match request.headers().get(TOKEN_HEADER).map(|token| token.to_str().unwrap_or_default()) {
            Some(token) if !self.tokens.is_good(token, Instant::now()) => return refuse(StatusCode::UNAUTHORIZED),
            None if options.tokens_required => return refuse(StatusCode::UNAUTHORIZED),
            Some(_) | None => {}
        }
        if method != Method::GET && method != Method::HEAD {
            return refuse(StatusCode::METHOD_NOT_ALLOWED);
        }
        let path = percent::decoded(path);
        match metadata::look_up(&instance, &path) {
            Found::Text(text) => respond(StatusCode::OK, text.into()),
            Found::Bytes(bytes) => respond(StatusCode::OK, bytes.into()),
            Found::Credentials => self.credentials(),
            Found::Nothing => refuse(StatusCode::NOT_FOUND),
        }
    }

    fn token(&self, method: &Method, headers: &HeaderMap) -> Response<Full<Bytes>> {
        if method != Method::PUT {
            return refuse(StatusCode::METHOD_NOT_ALLOWED);
        }
        // What comes through a proxy may not have a token.
        if headers.contains_key("x-forwarded-for") {
            return refuse(StatusCode::FORBIDDEN);
        }
        let Some(seconds) = headers.get(TTL_HEADER).and_then(|value| value.to_str().ok()) else {
            return refuse(StatusCode::BAD_REQUEST);
        };
        let Some(token) = self.tokens.issue(seconds, Instant::now()) else {
            return refuse(StatusCode::BAD_REQUEST);
        };
        let mut response = respond(StatusCode::OK, token.into());
        if let Ok(seconds) = seconds.trim().parse() {
            response.headers_mut().insert(TTL_HEADER, seconds);
        }
        response
    }

    fn credentials(&self) -> Response<Full<Bytes>> {
        let mut kept = self.credentials.lock().unwrap_or_else(PoisonError::into_inner);
        let good = kept.take().filter(|kept| wall_now() + RENEW_BEFORE < kept.expiration);
        let Some(credentials) = good.or_else(|| self.control.instance_credentials(&self.instance_id)) else {
            return refuse(StatusCode::NOT_FOUND);
        };
        let document = json!({
            "Code": "Success",
            "LastUpdated": wall_now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "Type": "AWS-HMAC",
            "AccessKeyId": credentials.access_key_id,
            "SecretAccessKey": credentials.secret_access_key,
            "Token": credentials.session_token,
            "Expiration": credentials.expiration.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        });
        *kept = Some(credentials);
        respond(StatusCode::OK, format!("{document:#}").into())
    }
}

fn respond(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert("server", http::HeaderValue::from_static("EC2ws"));
    headers.insert("content-type", http::HeaderValue::from_static("text/plain"));
    response
}

/// The small page that the service answers instead of a value.
fn refuse(status: StatusCode) -> Response<Full<Bytes>> {
    let title = format!("{} - {}", status.as_u16(), status.canonical_reason().unwrap_or_default());
    let page = format!(
        "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Transitional//EN\"\n\
         \t\"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd\">\n\
         <html xmlns=\"http://www.w3.org/1999/xhtml\" xml:lang=\"en\" lang=\"en\">\n <head>\n  <title>{title}</title>\n \
         </head>\n <body>\n  <h1>{title}</h1>\n </body>\n</html>\n"
    );
    let mut response = respond(status, page.into());
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("text/html"));
    response
}
