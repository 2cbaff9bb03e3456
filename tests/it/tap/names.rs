//! What calls are called.

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use http::{Method, Request};
use kube::client::Body;

use super::{LISTING, LOOK};

/// `PUT workerfleets/status` and the like. `None` for what comes when it likes: watches with the lists that they begin
/// with, leases and events.
pub(super) fn kube_operation(request: &Request<Body>) -> Option<String> {
    const WATCHED: [&str; 7] =
        ["workerfleets", "workerjobs", "awsaccounts", "fleetreports", "namespaces", "secrets", "configmaps"];
    let path = request.uri().path();
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
    let mut rest = match parts.as_slice() {
        ["api", _version, rest @ ..] | ["apis", _, _version, rest @ ..] => rest,
        _ => return Some(format!("{} {path}", request.method())),
    };
    if let ["namespaces", _, inner @ ..] = rest
        && !inner.is_empty()
    {
        rest = inner;
    }
    match rest {
        ["leases" | "events", ..] => None,
        [resource] if request.method() == Method::GET && WATCHED.contains(resource) => None,
        [resource] | [resource, _] => Some(format!("{} {resource}", request.method())),
        [resource, _, subresource, ..] => Some(format!("{} {resource}/{subresource}", request.method())),
        [] => Some(format!("{} {path}", request.method())),
    }
}

/// The resource that a request begins or goes on to watch.
pub(super) fn watched(request: &Request<Body>) -> Option<&str> {
    let uri = request.uri();
    uri.query().filter(|query| query.contains("watch=true"))?;
    uri.path().rsplit('/').next()
}

/// The `Action` of EC2's and STS's query protocol, with what machines it asks for where these are not all; what Parameter
/// Store names in a header; and the method for S3, whose keys differ from run to run, with whether it lists a bucket.
pub(super) fn aws_operation(request: &HttpRequest) -> String {
    if let Some((_, operation)) = request.headers().get("x-amz-target").and_then(|target| target.rsplit_once('.')) {
        return operation.to_owned();
    }
    let body = request.body().bytes().unwrap_or_default();
    let body = std::str::from_utf8(body).unwrap_or_default();
    let action = body.split('&').find_map(|pair| pair.strip_prefix("Action="));
    match action {
        Some(LOOK) if body.contains("InstanceId.1=") => format!("{LOOK} by id"),
        Some(LOOK) if body.contains("client-token") => format!("{LOOK} by token"),
        Some(action) => action.to_owned(),
        None if request.uri().contains("list-type=2") => LISTING.to_owned(),
        None => format!("{} object", request.method()),
    }
}
