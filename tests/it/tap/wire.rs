//! What happens to calls on their way: watches end, an older CRD prunes fields, a clock is off.

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
    /// The API server has forgotten what came after the version that it goes on from: 410 Gone.
    Expired,
}

#[derive(Clone, Default)]
pub(super) struct Wire {
    ends: watch::Sender<Option<End>>,
    bends: Arc<Mutex<Bends>>,
}

#[derive(Clone, Default)]
struct Bends {
    /// A path into a status, through lists too.
    pruned: Option<&'static str>,
    ahead: SignedDuration,
    /// What came before this version of a resource is forgotten.
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

    /// Whether a watch goes on from a version that is forgotten.
    fn is_expired(&self, request: &Request<Body>, resource: &str) -> bool {
        let Some((_, expired)) = self.bends().expired.filter(|(name, _)| *name == resource) else { return false };
        let pairs = request.uri().query().unwrap_or_default().split('&');
        let from = pairs.filter_map(|pair| pair.strip_prefix("resourceVersion=")).next();
        from.and_then(|version| version.parse::<u64>().ok()).is_some_and(|version| version < expired)
    }

    /// What a watch is answered in place of the API server, which says so in a stream of events, too.
    pub(super) fn refuse(&self, request: &Request<Body>, resource: &str) -> Option<Answer> {
        self.is_expired(request, resource).then(|| Response::new(gone().into()))
    }

    /// A request as it arrives.
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

    /// An answer of the API server as it arrives.
    pub(super) fn received(&self, answer: Response<Body>, watches: bool) -> Answer {
        let ahead = self.bends().ahead;
        answer.map(|body| {
            let read = body.into_data_stream().map(|bytes| bytes.map_err(Into::into)).boxed();
            let read = if ahead.is_zero() { read } else { lines(read, ahead).boxed() };
            let read = if watches { self.ending(read).boxed() } else { read };
            axum::body::Body::from_stream(read)
        })
    }

    /// An answer of AWS as it arrives.
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
        // A path that ends in a text or a number names nothing there.
        (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_), _) => {}
    }
}

/// Line by line, so that no time is cut in two, as the world looks to somebody whose clock is `ahead`.
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

/// All times in `text` moved by `by`.
fn shift(text: &[u8], by: SignedDuration) -> Bytes {
    static TIME: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d").unwrap());
    let Ok(text) = std::str::from_utf8(text) else { return Bytes::copy_from_slice(text) };
    let moved = TIME.replace_all(text, |time: &Captures<'_>| {
        let moved = time[0].parse::<DateTime>().unwrap().checked_add(by).unwrap();
        moved.strftime("%Y-%m-%dT%H:%M:%S").to_string()
    });
    moved.into_owned().into()
}
