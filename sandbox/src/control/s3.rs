//! S3 as tests and demos control it: the buckets themselves.

use std::sync::Arc;

use super::Control;
use crate::error::ApiError;
use crate::state::s3::{S3State, StoreError};

impl Control {
    /// The buckets of all accounts.
    pub fn s3(&self) -> Arc<S3State> {
        Arc::clone(&self.state.s3)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::InvalidBucketName(_) => "InvalidBucketName",
            StoreError::NoSuchBucket(_) => "NoSuchBucket",
            StoreError::NoSuchKey(_) => "NoSuchKey",
            StoreError::AccessDenied { .. } => "AccessDenied",
            StoreError::BucketAlreadyExists(_) => "BucketAlreadyExists",
            StoreError::BucketAlreadyOwnedByYou(_) => "BucketAlreadyOwnedByYou",
            StoreError::BucketNotEmpty(_) => "BucketNotEmpty",
            StoreError::WrongRegion { .. } => "PermanentRedirect",
            StoreError::PreconditionFailed(_) => "PreconditionFailed",
        };
        Self::new(code, error.to_string())
    }
}
