//! Conditions, ranges and headers of GetObject and HeadObject.

use std::ops::Range;

use s3s::dto::{ETagCondition, GetObjectOutput, HeadObjectOutput, StorageClass, StreamingBlob, Timestamp};
use s3s::{S3Error, S3Result, s3_error};

use super::checksum;
use super::dto::{strong, timestamp};
use crate::state::s3::{Object, ObjectHeaders};

/// The conditions that a read may carry, in the order in which RFC 9110 looks at them.
pub(super) struct ReadConditions {
    pub(super) if_match: Option<ETagCondition>,
    pub(super) if_none_match: Option<ETagCondition>,
    pub(super) if_modified_since: Option<Timestamp>,
    pub(super) if_unmodified_since: Option<Timestamp>,
}

enum Verdict {
    Serve,
    NotModified,
    Failed,
}

impl ReadConditions {
    pub(super) fn check(&self, object: &Object) -> S3Result<()> {
        match self.verdict(object) {
            Verdict::Serve => Ok(()),
            Verdict::NotModified => Err(not_modified(object)),
            Verdict::Failed => Err(failed()),
        }
    }

    /// The same for the source of a copy, where there is no 304.
    pub(super) fn check_copy(&self, object: &Object) -> S3Result<()> {
        match self.verdict(object) {
            Verdict::Serve => Ok(()),
            Verdict::NotModified | Verdict::Failed => Err(failed()),
        }
    }

    fn verdict(&self, object: &Object) -> Verdict {
        let modified = timestamp(object.last_modified);
        match (&self.if_match, &self.if_unmodified_since) {
            (Some(wanted), _) if !names(wanted, object) => return Verdict::Failed,
            (None, Some(since)) if modified > *since => return Verdict::Failed,
            _ => {}
        }
        match (&self.if_none_match, &self.if_modified_since) {
            (Some(known), _) if names(known, object) => Verdict::NotModified,
            (None, Some(since)) if modified <= *since => Verdict::NotModified,
            _ => Verdict::Serve,
        }
    }
}

fn names(condition: &ETagCondition, object: &Object) -> bool {
    match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(etag) => etag.value() == object.etag,
    }
}

fn failed() -> S3Error {
    s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold")
}

fn not_modified(object: &Object) -> S3Error {
    let mut error = s3_error!(NotModified);
    if let Ok(etag) = strong(&object.etag).to_http_header() {
        error.set_headers([(http::header::ETAG, etag)].into_iter().collect());
    }
    error
}

/// An archived object is listed and described, but not read.
pub(super) fn check_class(object: &Object) -> S3Result<()> {
    match object.is_archived() {
        true => Err(s3_error!(InvalidObjectState, "The operation is not valid for the object's storage class")),
        false => Ok(()),
    }
}

/// The bytes to send, and the Content-Range if not all were asked for.
pub(super) struct Part {
    pub(super) range: Range<u64>,
    pub(super) content_range: Option<String>,
}

pub(super) fn part(range: Option<s3s::dto::Range>, size: u64) -> S3Result<Part> {
    let Some(range) = range else { return Ok(Part { range: 0..size, content_range: None }) };
    let range = range.check(size).map_err(|_| s3_error!(InvalidRange, "The requested range is not satisfiable"))?;
    let content_range = format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1));
    Ok(Part { range, content_range: Some(content_range) })
}

pub(super) fn get_output(object: &Object, part: &Part, body: StreamingBlob, with_checksum: bool) -> GetObjectOutput {
    let headers = headers(object);
    let output = GetObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        body: Some(body),
        cache_control: headers.cache_control,
        content_encoding: headers.content_encoding,
        content_length: Some((part.range.end - part.range.start) as i64),
        content_range: part.content_range.clone(),
        content_type: Some(content_type(headers.content_type)),
        e_tag: Some(strong(&object.etag)),
        last_modified: Some(timestamp(object.last_modified)),
        metadata: (!headers.metadata.is_empty()).then(|| headers.metadata.into_iter().collect()),
        ..GetObjectOutput::default()
    };
    if with_checksum && part.content_range.is_none() { checksum::answered(object, output) } else { output }
}

pub(super) fn head_output(object: &Object) -> HeadObjectOutput {
    let headers = headers(object);
    HeadObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        cache_control: headers.cache_control,
        content_encoding: headers.content_encoding,
        content_length: Some(object.content.size() as i64),
        content_type: Some(content_type(headers.content_type)),
        e_tag: Some(strong(&object.etag)),
        last_modified: Some(timestamp(object.last_modified)),
        metadata: (!headers.metadata.is_empty()).then(|| headers.metadata.into_iter().collect()),
        storage_class: object.storage_class().map(|class| StorageClass::from(class.to_owned())),
        ..HeadObjectOutput::default()
    }
}

fn headers(object: &Object) -> ObjectHeaders {
    object.headers.as_deref().cloned().unwrap_or_default()
}

fn content_type(stored: Option<String>) -> s3s::dto::ContentType {
    stored.unwrap_or_else(|| "binary/octet-stream".to_owned())
}
