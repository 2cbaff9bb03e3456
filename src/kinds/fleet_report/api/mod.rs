//! The reports over HTTP, for those who have no kubectl, or want each report as it is.

mod document;
mod query;
mod render;

use std::{
    convert::Infallible,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, State as Extracted, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use futures::stream;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    clock::Clock,
    inventory::{
        published::{Findings, Published},
        reporters,
    },
    k8s::{
        callers::{Callers, Question},
        cluster::Error,
        references::References,
    },
    kinds::fleet_report::api::query::{Parameters, Shape},
};

/// The header with an API key.
const KEY: &str = "x-api-key";
/// When the sources were collected.
const COLLECTED: &str = "x-muster-collected-at";
/// The sources that could not be read the last time.
const FAILED: &str = "x-muster-failed-sources";

/// What requests are answered from.
#[derive(Clone, Debug)]
pub struct Api {
    pub published: Published,
    pub callers: Arc<Callers>,
    pub references: References,
}

/// The routes. All but the document need a token or a key.
pub fn routes(api: Api) -> Router {
    Router::new()
        .route("/v1/namespaces/{namespace}/fleetreports/{name}/instances", get(instances))
        .route("/v1/namespaces/{namespace}/fleetreports/{name}/versions", get(versions))
        .route("/instances", get(instances_of_key))
        .route("/versions", get(versions_of_key))
        .route("/openapi.json", get(|| async { Json(document::document()) }))
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "there is nothing here: see /openapi.json") })
        .with_state(api)
}

/// Why a request is not answered.
#[derive(Debug)]
struct Problem {
    status: StatusCode,
    message: String,
}

impl Problem {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// The same for whoever may not read it and for what does not exist.
    fn forbidden(name: &str) -> Self {
        let message =
            format!("you may not read {name}: the verb get on fleetreports/instances of muster.dev is needed there");
        Self::new(StatusCode::FORBIDDEN, message)
    }

    fn unauthorized() -> Self {
        let message =
            "show a token of Kubernetes for the audience muster (Authorization: Bearer ...), or a key (x-api-key: ...)";
        Self::new(StatusCode::UNAUTHORIZED, message)
    }

    fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        tracing::warn!(error = %crate::error_chain::Chain(&error), "a caller of the API could not be checked");
        Self::unavailable("the Kubernetes API server does not answer, so you could not be checked")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(json!({"error": self.message}))).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"muster\""));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

async fn instances(
    Extracted(api): Extracted<Api>,
    Path((namespace, name)): Path<(String, String)>,
    parameters: Result<Query<Parameters>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let findings = api.read(&namespace, &name, &headers).await?;
    respond(&findings, parameters, &headers)
}

async fn instances_of_key(
    Extracted(api): Extracted<Api>,
    parameters: Result<Query<Parameters>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let findings = api.read_by_key(&headers).await?;
    respond(&findings, parameters, &headers)
}

async fn versions(
    Extracted(api): Extracted<Api>,
    Path((namespace, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Ok(counted(&*api.read(&namespace, &name, &headers).await?))
}

async fn versions_of_key(Extracted(api): Extracted<Api>, headers: HeaderMap) -> Result<Response, Problem> {
    Ok(counted(&*api.read_by_key(&headers).await?))
}

impl Api {
    /// What the FleetReport found, for a caller who may read it.
    async fn read(&self, namespace: &str, name: &str, headers: &HeaderMap) -> Result<Arc<Findings>, Problem> {
        let named = format!("FleetReport {namespace}/{name}");
        let findings = self.published.of(namespace, name);
        if let Some(key) = text(headers, KEY) {
            let secrets = findings.as_ref().map(|findings| findings.keys.as_slice()).unwrap_or_default();
            if !self.callers.opens(key, namespace, secrets).await? {
                return Err(Problem::new(StatusCode::FORBIDDEN, format!("this key does not open {named}")));
            }
        } else {
            let caller = self.callers.caller(bearer(headers).ok_or_else(Problem::unauthorized)?).await?;
            let caller = caller.ok_or_else(Problem::unauthorized)?;
            let (namespace, name) = (namespace.to_owned(), name.to_owned());
            let question = Question { namespace, resource: "fleetreports", subresource: "instances", name };
            if !self.callers.may(&caller, &question).await? {
                return Err(Problem::forbidden(&named));
            }
        }
        findings.ok_or_else(|| match self.references.exists(reporters::KIND, namespace, name) {
            Ok(false) => Problem::new(StatusCode::NOT_FOUND, format!("{named} does not exist")),
            Ok(true) | Err(_) => Problem::unavailable(format!(
                "{named} has no data: it was not collected yet, is suspended, or may not be collected; see its conditions"
            )),
        })
    }

    /// The only FleetReport that a key opens.
    async fn read_by_key(&self, headers: &HeaderMap) -> Result<Arc<Findings>, Problem> {
        let Some(key) = text(headers, KEY) else {
            let message = "this path needs a key (x-api-key: ...); with a token use /v1/namespaces/<ns>/fleetreports/<name>/instances";
            return Err(Problem::new(StatusCode::UNAUTHORIZED, message));
        };
        let mut opened = Vec::new();
        for ((namespace, name), secrets) in self.published.keys() {
            if self.callers.opens(key, &namespace, &secrets).await? {
                opened.push((namespace, name));
            }
        }
        match opened.as_slice() {
            [] => Err(Problem::new(StatusCode::FORBIDDEN, "this key opens nothing")),
            [(namespace, name)] => {
                let findings = self.published.of(namespace, name);
                findings.ok_or_else(|| Problem::unavailable("there is no data now"))
            }
            _ => {
                let paths =
                    opened.iter().map(|(ns, name)| format!("/v1/namespaces/{ns}/fleetreports/{name}/instances"));
                let paths = paths.collect::<Vec<_>>().join(", ");
                Err(Problem::new(
                    StatusCode::CONFLICT,
                    format!("this key opens several FleetReports: use one of {paths}"),
                ))
            }
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = text(headers, header::AUTHORIZATION.as_str())?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

fn respond(
    findings: &Findings,
    parameters: Result<Query<Parameters>, QueryRejection>,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let bad = |message: String| Problem::new(StatusCode::BAD_REQUEST, message);
    let Query(parameters) = parameters.map_err(|error| bad(error.body_text()))?;
    let query = parameters.query(findings).map_err(bad)?;
    let now = Clock.now();
    let rows = query.select(findings, now);
    let mut hash = DefaultHasher::new();
    (query.shape as u8, &findings.degraded, &findings.columns).hash(&mut hash);
    for (place, state) in &rows {
        let row = &findings.rows[*place];
        (&row.instance, row.tag, row.at, state, &row.values).hash(&mut hash);
    }
    // The time of the collection is in the envelope.
    if query.shape == Shape::Envelope {
        findings.collected_at.hash(&mut hash);
    }
    // A weak one: it is the same whether the body is compressed or not.
    let tag = format!("W/\"{:016x}\"", hash.finish());
    let known = text(headers, header::IF_NONE_MATCH.as_str()).unwrap_or_default();
    let is_known = known.split(',').map(str::trim).any(|one| one == "*" || one == tag || format!("W/{one}") == tag);
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let pieces = render::body(findings, &rows, query.shape, now);
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        let body = Body::from_stream(stream::iter(pieces.into_iter().map(Ok::<_, Infallible>)));
        let type_ = match query.shape {
            Shape::Array | Shape::Envelope => "application/json",
            Shape::Lines => "application/x-ndjson",
            Shape::Table => "text/csv; charset=utf-8; header=present",
        };
        ([(header::CONTENT_TYPE, type_.to_owned()), (header::CONTENT_LENGTH, length.to_string())], body).into_response()
    };
    describe(findings, now, response.headers_mut());
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

fn counted(findings: &Findings) -> Response {
    let now = Clock.now();
    let counts: Value = render::versions(findings, now);
    let mut response = Json(counts).into_response();
    describe(findings, now, response.headers_mut());
    response
}

/// How old the data is, and what may keep it.
fn describe(findings: &Findings, now: Timestamp, headers: &mut HeaderMap) {
    let age = now.duration_since(findings.collected_at).as_secs().max(0);
    let mut set = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    };
    set("age", age.to_string());
    set(COLLECTED, findings.collected_at.to_string());
    if !findings.degraded.is_empty() {
        set(FAILED, findings.degraded.join(", "));
    }
    set("cache-control", "private, no-cache".into());
    set("vary", "authorization, x-api-key, accept-encoding".into());
    // A browser must not take what a worker wrote for a page.
    set("x-content-type-options", "nosniff".into());
}
