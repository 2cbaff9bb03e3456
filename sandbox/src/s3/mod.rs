//! S3. The front door authenticates, journals and applies faults; what is left of a request is served here.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{Request, Response, request};
use hyper::body::Incoming;

use crate::caller::Caller;
use crate::error::ApiError;
use crate::front::{Body, ErrorCode};
use crate::query;
use crate::query::xml::Xml;
use crate::state::State;

/// What S3 keeps.
#[derive(Debug, Default)]
pub(crate) struct S3State {}

/// The operation of a request, named as in S3's API reference, for journal and faults.
pub(crate) fn operation(_request: &request::Parts) -> &'static str {
    "Unknown"
}

/// What journal and faults know of a request: at least `Bucket`, `Key` and `Prefix` where there are any.
pub(crate) fn parameters(request: &request::Parts) -> BTreeMap<String, String> {
    let path = request.uri.path().trim_start_matches('/');
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    [("Bucket", bucket), ("Key", key)]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Carries a request out. Failed answers carry an [`ErrorCode`] extension for the journal.
pub(crate) async fn handle(_state: &Arc<State>, _caller: Caller, request: Request<Incoming>) -> Response<Body> {
    let request_id = uuid::Uuid::new_v4().to_string();
    error(&ApiError::new("NotImplemented", format!("{} is not implemented", request.method())), &request_id)
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
