//! Times, ETags, conditions and errors as s3s has them.

use s3s::dto::{ETag, ETagCondition, Timestamp};
use s3s::{S3Error, s3_error};

use crate::state::s3::{Match, StoreError};

pub(super) fn timestamp(time: jiff::Timestamp) -> Timestamp {
    Timestamp::from(std::time::SystemTime::from(time))
}

pub(super) fn strong(etag: &str) -> ETag {
    ETag::Strong(etag.to_owned())
}

pub(super) fn as_match(condition: ETagCondition) -> Match {
    match condition {
        ETagCondition::Any => Match::Any,
        ETagCondition::ETag(etag) => Match::ETag(etag.into_value()),
    }
}

impl From<StoreError> for S3Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::InvalidBucketName(_) => s3_error!(InvalidBucketName, "The specified bucket is not valid."),
            StoreError::NoSuchBucket(_) => s3_error!(NoSuchBucket, "The specified bucket does not exist"),
            StoreError::NoSuchKey(_) => s3_error!(NoSuchKey, "The specified key does not exist."),
            StoreError::AccessDenied { .. } => s3_error!(AccessDenied, "Access Denied"),
            StoreError::BucketAlreadyExists(_) => s3_error!(
                BucketAlreadyExists,
                "The requested bucket name is not available. The bucket namespace is shared by all users of the \
                 system. Please select a different name and try again."
            ),
            StoreError::BucketAlreadyOwnedByYou(_) => s3_error!(
                BucketAlreadyOwnedByYou,
                "Your previous request to create the named bucket succeeded and you already own it."
            ),
            StoreError::BucketNotEmpty(_) => {
                s3_error!(BucketNotEmpty, "The bucket you tried to delete is not empty")
            }
            StoreError::WrongRegion { region } => wrong_region(&region),
            StoreError::PreconditionFailed(_) => {
                s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold")
            }
        }
    }
}

fn wrong_region(region: &str) -> S3Error {
    let mut error = s3_error!(
        PermanentRedirect,
        "The bucket you are attempting to access must be addressed using the specified endpoint. Please send all \
         future requests to this endpoint."
    );
    if let Ok(value) = http::HeaderValue::from_str(region) {
        error.set_headers([(http::HeaderName::from_static("x-amz-bucket-region"), value)].into_iter().collect());
    }
    error
}
