//! S3: the operations muster and its agent use, over the buckets in [`crate::state::s3`].
//!
//! [`crate::front`] authenticates, keeps the journal and applies faults; the rest of a request is served here. The wire
//! format is that of the crate s3s; what is behind it is ours. Signatures are not verified, checksums are.

mod checksum;
mod chunked;
mod dto;
mod read;
mod request;
mod service;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH};
use http::{HeaderValue, Request, Response, request::Parts};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use s3s::service::{S3Service, S3ServiceBuilder};

use crate::caller::Caller;
use crate::error::ApiError;
use crate::protocol::query;
use crate::protocol::response::{Body, ErrorCode};
use crate::protocol::xml::Xml;
use crate::state::s3::{S3Caller, S3State};

pub(crate) use request::has;

/// What is put is held in memory.
const LARGEST_PUT: usize = 64 << 20;

/// The S3 API over the buckets of one sandbox.
pub(crate) struct Endpoint {
    service: S3Service,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").finish_non_exhaustive()
    }
}

impl Endpoint {
    pub(crate) fn new(state: Arc<S3State>) -> Self {
        Self { service: S3ServiceBuilder::new(service::Service { state }).build() }
    }

    /// Carries a request out. Failed answers carry an [`ErrorCode`] extension for the journal.
    pub(crate) async fn handle(&self, caller: Caller, request: Request<Incoming>) -> Response<Body> {
        let request_id = uuid::Uuid::new_v4().to_string();
        let (mut parts, body) = request.into_parts();
        let mut body = match Limited::new(body, LARGEST_PUT).collect().await {
            Ok(body) => body.to_bytes(),
            Err(failed) if failed.is::<LengthLimitError>() => {
                let message = "Your proposed upload exceeds the maximum allowed object size.";
                return error(&ApiError::new("EntityTooLarge", message), &request_id);
            }
            Err(_) => {
                let message = "You did not provide the number of bytes specified by the Content-Length HTTP header.";
                return error(&ApiError::new("IncompleteBody", message), &request_id);
            }
        };
        request::to_path_style(&mut parts);
        if chunked::is_chunked(&parts.headers) {
            match chunked::decode(&mut parts.headers, &body) {
                Ok(content) => body = content,
                Err(broken) => return error(&ApiError::new("IncompleteBody", broken.to_string()), &request_id),
            }
        }
        unsign(&mut parts);
        let lists = operation(&parts) == "ListObjectsV2";
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        let account = caller.id.account.to_string();
        parts.extensions.insert(S3Caller { account, region: caller.region, expected_owner: None });
        match self.service.call(Request::from_parts(parts, s3s::Body::from(body))).await {
            Ok(response) if lists && response.status().is_success() => listed(response, &request_id).await,
            Ok(response) => answered(response, &request_id).await,
            Err(_) => error(&ApiError::new("InternalError", "We encountered an internal error."), &request_id),
        }
    }
}

/// The operation of a request, named as in S3's API reference, for journal and faults.
pub(crate) fn operation(parts: &Parts) -> &'static str {
    call(parts).operation
}

/// What journal and faults know of a request: `Bucket` and `Key`, and what the query says, such as `prefix`.
pub(crate) fn parameters(parts: &Parts) -> BTreeMap<String, String> {
    let request::S3Call { operation: _, bucket, key } = call(parts);
    let query = parts.uri.query().unwrap_or_default();
    let named = [("Bucket", bucket), ("Key", key)];
    form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .filter(|(name, _)| !name.starts_with("X-Amz-") && name != "x-id")
        .map(|(name, value)| (if name == "prefix" { "Prefix".to_owned() } else { name }, value))
        .chain(named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))))
        .collect()
}

fn call(parts: &Parts) -> request::S3Call {
    let mut parts = parts.clone();
    request::to_path_style(&mut parts);
    let copies = parts.headers.contains_key("x-amz-copy-source");
    request::classify(&parts.method, parts.uri.path(), parts.uri.query().unwrap_or_default(), copies)
}

/// Drops the signature, which s3s would want to verify with a secret that is not looked at here.
fn unsign(parts: &mut Parts) {
    parts.headers.remove(AUTHORIZATION);
    let Some(query) = parts.uri.query().filter(|query| query.contains("X-Amz-Signature=")) else { return };
    let kept: Vec<&str> = query.split('&').filter(|pair| !pair.starts_with("X-Amz-")).collect();
    if let Ok(uri) = format!("{}?{}", parts.uri.path(), kept.join("&")).parse() {
        parts.uri = uri;
    }
}

async fn answered(response: Response<s3s::Body>, request_id: &str) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    if let Ok(id) = HeaderValue::from_str(request_id) {
        parts.headers.insert("x-amz-request-id", id);
    }
    if !parts.status.is_client_error() && !parts.status.is_server_error() {
        return Response::from_parts(parts, body.map_err(Into::into).boxed_unsync());
    }
    // Errors are small documents in memory.
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    if let Some(code) = error_code(&body) {
        parts.extensions.insert(ErrorCode(code));
    }
    Response::from_parts(parts, http_body_util::Full::new(body).map_err(|never| match never {}).boxed_unsync())
}

/// A listing. S3 writes the control characters of keys as references, which most parsers of XML refuse.
async fn listed(response: Response<s3s::Body>, request_id: &str) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let mut text = Vec::with_capacity(body.len());
    for byte in body {
        match byte {
            b'\t' | b'\n' | 0x20.. => text.push(byte),
            control => text.extend(format!("&#x{control:x};").bytes()),
        }
    }
    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
    answered(Response::from_parts(parts, s3s::Body::from(Bytes::from(text))), request_id).await
}

fn error_code(body: &Bytes) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once("<Code>")?;
    Some(rest.split_once("</Code>")?.0.to_owned())
}

/// An error in S3's shape.
pub(crate) fn error(error: &ApiError, request_id: &str) -> Response<Body> {
    let mut xml = Xml::document();
    xml.element("Error", |xml| {
        xml.text("Code", &error.code);
        xml.text("Message", &error.message);
        xml.text("RequestId", request_id);
    });
    let mut response = query::respond(error.status, request_id, xml.into_string());
    response.extensions_mut().insert(ErrorCode(error.code.clone()));
    response
}
