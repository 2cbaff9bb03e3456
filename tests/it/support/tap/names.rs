//! The names of calls.

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use http::{Method, Request};
use kube::client::Body;

use super::{DESCRIBE, GROUPS, LISTING};

/// A name such as `PUT workerfleets/status`. `None` for requests that occur at any time: watches with their initial lists,
/// leases, events and the key of the release.
pub(super) fn kube_operation(request: &Request<Body>) -> Option<String> {
    const WATCHED: [&str; 3] = ["namespaces", "secrets", "configmaps"];
    let path = request.uri().path();
    let is_watched = |resource: &str| WATCHED.contains(&resource) || path.starts_with("/apis/muster.dev/");
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
        // The key of the release, which every process reads at its start and the first one creates.
        ["secrets", "muster-key"] => None,
        ["secrets"] if request.method() == Method::POST => None,
        [resource] if request.method() == Method::GET && is_watched(resource) => None,
        [resource] | [resource, _] => Some(format!("{} {resource}", request.method())),
        [resource, _, subresource, ..] => Some(format!("{} {resource}/{subresource}", request.method())),
        [] => Some(format!("{} {path}", request.method())),
    }
}

/// The resource that a request watches.
pub(super) fn watched(request: &Request<Body>) -> Option<&str> {
    let uri = request.uri();
    uri.query().filter(|query| query.contains("watch=true"))?;
    uri.path().rsplit('/').next()
}

/// The `Action` of the query protocol of EC2 and STS, with the instances if it does not concern all of them; the operation in
/// the header of Parameter Store; and the method for S3, with whether it lists a bucket, because keys differ between runs.
pub(super) fn aws_operation(request: &HttpRequest) -> String {
    if let Some((_, operation)) = request.headers().get("x-amz-target").and_then(|target| target.rsplit_once('.')) {
        return operation.to_owned();
    }
    let body = request.body().bytes().unwrap_or_default();
    let body = std::str::from_utf8(body).unwrap_or_default();
    let action = body.split('&').find_map(|pair| pair.strip_prefix("Action="));
    match action {
        Some(DESCRIBE) if body.contains("InstanceId.1=") => format!("{DESCRIBE} by id"),
        Some(DESCRIBE) if body.contains("client-token") => format!("{DESCRIBE} by token"),
        Some(GROUPS) if body.contains("AutoScalingGroupNames.member.1=") => format!("{GROUPS} by name"),
        Some(action) => action.to_owned(),
        None if request.uri().contains("list-type=2") => LISTING.to_owned(),
        None => format!("{} object", request.method()),
    }
}
