//! What a request asks of S3, read from its method, host, path and query before it is served.

use http::Method;
use http::request::Parts;
use http::uri::PathAndQuery;

use crate::protocol::percent;

/// The operation and what it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct S3Call {
    /// AWS's name of the operation, or `Unknown` for one that the sandbox does not have.
    pub(super) operation: &'static str,
    pub(super) bucket: Option<String>,
    pub(super) key: Option<String>,
}

const OPERATIONS: [&str; 12] = [
    "CopyObject",
    "CreateBucket",
    "DeleteBucket",
    "DeleteObject",
    "DeleteObjects",
    "GetBucketLocation",
    "GetObject",
    "HeadBucket",
    "HeadObject",
    "ListBuckets",
    "ListObjectsV2",
    "PutObject",
];

/// Whether calls of this name can come.
pub(crate) fn has(operation: &str) -> bool {
    OPERATIONS.contains(&operation)
}

/// Moves the bucket from the host name (`bucket.localhost`, `bucket.s3.region.amazonaws.com`) to the path, where SDKs
/// that see an address instead of a name put it themselves.
pub(super) fn to_path_style(parts: &mut Parts) {
    let Some(bucket) = host(parts).and_then(bucket_of_host) else { return };
    let path_and_query = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    if let Ok(path_and_query) = PathAndQuery::try_from(format!("/{bucket}{path_and_query}")) {
        let mut uri = parts.uri.clone().into_parts();
        uri.path_and_query = Some(path_and_query);
        if let Ok(uri) = http::Uri::from_parts(uri) {
            parts.uri = uri;
        }
    }
}

fn host(parts: &Parts) -> Option<&str> {
    parts.headers.get(http::header::HOST)?.to_str().ok()
}

fn bucket_of_host(host: &str) -> Option<String> {
    let name = host.rsplit_once(':').map_or(host, |(name, _port)| name);
    if let Some(bucket) = name.strip_suffix(".localhost") {
        return Some(bucket.to_owned());
    }
    let name = name.strip_suffix(".amazonaws.com")?;
    let at = name.find(".s3.").or_else(|| name.strip_suffix(".s3").map(str::len))?;
    Some(name[..at].to_owned())
}

/// Names the call. The path must be in path style.
pub(super) fn classify(method: &Method, path: &str, query: &str, copies: bool) -> S3Call {
    let path = path.trim_start_matches('/');
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    let (bucket, key) = (decode(bucket), decode(key));
    let has = |name: &str| query.split('&').any(|pair| pair == name || pair.starts_with(&format!("{name}=")));
    let operation = match (method.as_str(), bucket.is_some(), key.is_some()) {
        ("GET", false, _) => "ListBuckets",
        ("GET", true, false) if has("location") => "GetBucketLocation",
        ("GET", true, false) if has("list-type") => "ListObjectsV2",
        ("PUT", true, false) if !has_subresource(query) => "CreateBucket",
        ("HEAD", true, false) => "HeadBucket",
        ("DELETE", true, false) if !has_subresource(query) => "DeleteBucket",
        ("POST", true, false) if has("delete") => "DeleteObjects",
        ("PUT", true, true) if copies => "CopyObject",
        ("PUT", true, true) if !has_subresource(query) => "PutObject",
        ("GET", true, true) if !has_subresource(query) => "GetObject",
        ("HEAD", true, true) => "HeadObject",
        ("DELETE", true, true) if !has_subresource(query) => "DeleteObject",
        _ => "Unknown",
    };
    S3Call { operation, bucket, key }
}

/// `?acl`, `?policy` and the like name another operation on the same path.
fn has_subresource(query: &str) -> bool {
    const OTHERS: [&str; 14] = [
        "acl",
        "attributes",
        "cors",
        "encryption",
        "lifecycle",
        "ownershipControls",
        "partNumber",
        "policy",
        "publicAccessBlock",
        "tagging",
        "uploadId",
        "uploads",
        "versioning",
        "website",
    ];
    query.split('&').any(|pair| OTHERS.contains(&pair.split('=').next().unwrap_or_default()))
}

fn decode(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| percent::decoded(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_named_as_aws_names_them() {
        let cases = [
            (Method::GET, "/", "", "ListBuckets"),
            (Method::PUT, "/b", "", "CreateBucket"),
            (Method::PUT, "/b/", "", "CreateBucket"),
            (Method::HEAD, "/b", "", "HeadBucket"),
            (Method::DELETE, "/b", "", "DeleteBucket"),
            (Method::GET, "/b", "location=", "GetBucketLocation"),
            (Method::GET, "/b/", "list-type=2&prefix=x", "ListObjectsV2"),
            (Method::POST, "/b", "delete", "DeleteObjects"),
            (Method::PUT, "/b/k", "x-id=PutObject", "PutObject"),
            (Method::GET, "/b/k", "x-id=GetObject", "GetObject"),
            (Method::HEAD, "/b/k", "", "HeadObject"),
            (Method::DELETE, "/b/k", "", "DeleteObject"),
            (Method::PUT, "/b", "policy", "Unknown"),
            (Method::PUT, "/b/k", "partNumber=1&uploadId=2", "Unknown"),
        ];
        for (method, path, query, expected) in cases {
            assert_eq!(classify(&method, path, query, false).operation, expected, "{method} {path}?{query}");
            assert_eq!(has(expected), expected != "Unknown", "{expected}");
        }
        assert_eq!(classify(&Method::PUT, "/b/k", "x-id=CopyObject", true).operation, "CopyObject");
    }

    #[test]
    fn keys_are_decoded() {
        let call = classify(&Method::GET, "/b/a%20b/%E3%81%82", "", false);
        assert_eq!((call.bucket.as_deref(), call.key.as_deref()), (Some("b"), Some("a b/あ")));
    }

    #[test]
    fn a_bucket_in_the_host_moves_to_the_path() {
        let cases = [
            ("127.0.0.1:4566", "/b/k", "/b/k"),
            ("localhost:4566", "/b/k", "/b/k"),
            ("b.localhost:4566", "/k?x=1", "/b/k?x=1"),
            ("b.localhost", "/", "/b/"),
            ("a.b.s3.eu-west-1.amazonaws.com", "/k", "/a.b/k"),
            ("b.s3.amazonaws.com", "/k", "/b/k"),
            ("s3.eu-west-1.amazonaws.com", "/b/k", "/b/k"),
        ];
        for (host, path, expected) in cases {
            let request = http::Request::builder().uri(path).header("host", host).body(()).unwrap();
            let (mut parts, ()) = request.into_parts();
            to_path_style(&mut parts);
            assert_eq!(parts.uri.to_string(), expected, "{host}");
        }
    }
}
