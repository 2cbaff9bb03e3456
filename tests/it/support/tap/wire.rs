//! Changes to requests and responses in transit: watches end, an older CRD prunes fields, a clock is ahead.

use std::sync::{Arc, LazyLock, Mutex};

use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::ConnectorError};
use aws_smithy_types::body::SdkBody;
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, stream};
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use jiff::{SignedDuration, civil::DateTime};
use kube::client::Body;
use regex::{Captures, Regex};
use serde_json::{Value, json};
use tokio::sync::watch;

pub(super) type Answer = Response<axum::body::Body>;
type Read = Result<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// How a watch ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Its connection breaks.
    Dropped,
    /// The API server no longer has the events after the resource version: 410 Gone.
    Expired,
}

#[derive(Clone, Default)]
pub(super) struct Wire {
    ends: watch::Sender<Option<End>>,
    bends: Arc<Mutex<Bends>>,
}

#[derive(Clone, Default)]
struct Bends {
    /// A path in a status, including elements of lists.
    pruned: Option<&'static str>,
    ahead: SignedDuration,
    /// A resource, and the oldest version from which its watches can continue.
    expired: Option<(&'static str, u64)>,
}

impl Wire {
    fn bends(&self) -> Bends {
        self.bends.lock().unwrap().clone()
    }

    pub(super) fn prune(&self, path: Option<&'static str>) {
        self.bends.lock().unwrap().pruned = path;
    }

    pub(super) fn set_ahead(&self, by: SignedDuration) {
        self.bends.lock().unwrap().ahead = by;
    }

    pub(super) fn end_watches(&self, end: End) {
        self.ends.send_replace(Some(end));
    }

    pub(super) fn forget_before(&self, resource: &'static str, version: u64) {
        self.bends.lock().unwrap().expired = Some((resource, version));
    }

    /// Whether a watch continues from a version that is no longer available.
    fn is_expired(&self, request: &Request<Body>, resource: &str) -> bool {
        let Some((_, expired)) = self.bends().expired.filter(|(name, _)| *name == resource) else { return false };
        let pairs = request.uri().query().unwrap_or_default().split('&');
        let from = pairs.filter_map(|pair| pair.strip_prefix("resourceVersion=")).next();
        from.and_then(|version| version.parse::<u64>().ok()).is_some_and(|version| version < expired)
    }

    /// The response to such a watch. The API server sends it in the event stream, too.
    pub(super) fn refuse(&self, request: &Request<Body>, resource: &str) -> Option<Answer> {
        self.is_expired(request, resource).then(|| Response::new(gone().into()))
    }

    /// The request that the server receives.
    pub(super) async fn sent(&self, request: Request<Body>) -> Request<Body> {
        let Bends { pruned, ahead, .. } = self.bends();
        let prunes = pruned.filter(|_| request.method() == Method::PUT && request.uri().path().ends_with("/status"));
        if prunes.is_none() && ahead.is_zero() {
            return request;
        }
        let (parts, body) = request.into_parts();
        let mut bytes = shift(&body.collect_bytes().await.unwrap(), ahead);
        if let Some(path) = prunes {
            let mut object: Value = serde_json::from_slice(&bytes).unwrap();
            prune(&mut object["status"], path);
            bytes = serde_json::to_vec(&object).unwrap().into();
        }
        Request::from_parts(parts, Body::from(bytes))
    }

    /// The response of the API server that the controller receives.
    pub(super) fn received(&self, answer: Response<Body>, watches: bool) -> Answer {
        let ahead = self.bends().ahead;
        answer.map(|body| {
            let read = body.into_data_stream().map(|bytes| bytes.map_err(Into::into)).boxed();
            let read = if ahead.is_zero() { read } else { lines(read, ahead).boxed() };
            let read = if watches { self.ending(read).boxed() } else { read };
            axum::body::Body::from_stream(read)
        })
    }

    /// The response of AWS that the controller receives.
    pub(super) async fn received_from_aws(&self, answer: HttpResponse) -> Result<HttpResponse, ConnectorError> {
        let ahead = self.bends().ahead;
        if ahead.is_zero() {
            return Ok(answer);
        }
        let mut answer = answer;
        let body = std::mem::replace(answer.body_mut(), SdkBody::taken());
        let bytes = body.collect().await.map_err(ConnectorError::io)?.to_bytes();
        *answer.body_mut() = SdkBody::from(shift(&bytes, -ahead));
        Ok(answer)
    }

    fn ending<T: Stream<Item = Read> + Send + Unpin + 'static>(
        &self,
        read: T,
    ) -> impl Stream<Item = Read> + Send + use<T> {
        let mut ends = self.ends.subscribe();
        ends.mark_unchanged();
        stream::unfold(Some((read, ends)), |open| async move {
            let (mut read, mut ends) = open?;
            tokio::select! {
                bytes = read.next() => Some((bytes?, Some((read, ends)))),
                Ok(()) = ends.changed() => {
                    let end = *ends.borrow_and_update();
                    match end? {
                        End::Dropped => Some((Err("the connection was reset".into()), None)),
                        End::Expired => Some((Ok(gone()), None)),
                    }
                }
            }
        })
    }
}

fn gone() -> Bytes {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "code": 410, "reason": "Expired",
        "message": "too old resource version",
    });
    format!("{}\n", json!({"type": "ERROR", "object": status})).into()
}

fn prune(value: &mut Value, path: &str) {
    match (value, path.split_once('/')) {
        (Value::Array(items), _) => items.iter_mut().for_each(|item| prune(item, path)),
        (Value::Object(fields), None) => {
            fields.shift_remove(path);
        }
        (Value::Object(fields), Some((field, rest))) => {
            if let Some(inner) = fields.get_mut(field) {
                prune(inner, rest);
            }
        }
        // A string or number has no fields.
        (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_), _) => {}
    }
}

/// Shifts times for a clock that is `ahead`, line by line so that no time is split between two chunks.
fn lines(
    read: impl Stream<Item = Read> + Send + Unpin + 'static,
    ahead: SignedDuration,
) -> impl Stream<Item = Read> + Send {
    stream::unfold(Some((read, BytesMut::new())), move |open| async move {
        let (mut read, mut rest) = open?;
        loop {
            if let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') {
                let whole = rest.split_to(end + 1);
                return Some((Ok(shift(&whole, -ahead)), Some((read, rest))));
            }
            match read.next().await {
                Some(Ok(bytes)) => rest.extend(bytes),
                Some(Err(error)) => return Some((Err(error), None)),
                None => return Some((Ok(shift(&rest, -ahead)), None)),
            }
        }
    })
}

/// Shifts all times in `text` by `by`.
fn shift(text: &[u8], by: SignedDuration) -> Bytes {
    static TIME: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d").unwrap());
    let Ok(text) = std::str::from_utf8(text) else { return Bytes::copy_from_slice(text) };
    let moved = TIME.replace_all(text, |time: &Captures<'_>| {
        let moved = time[0].parse::<DateTime>().unwrap().checked_add(by).unwrap();
        moved.strftime("%Y-%m-%dT%H:%M:%S").to_string()
    });
    moved.into_owned().into()
}
