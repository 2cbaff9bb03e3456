//! Puts reports to S3.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{Builder, Region};
use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::primitives::ByteStream;
use aws_types::SdkConfig;

/// The first and the longest delay between attempts.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LAST_WAIT: Duration = Duration::from_secs(300);

#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    #[error("S3 rejected s3://{bucket}/{key} with {code}: {message}")]
    Refused { bucket: String, key: String, code: String, message: String },
    #[error("s3://{bucket}/{key} could not be written: {cause}")]
    Unreachable { bucket: String, key: String, cause: String },
}

/// Writes the object of one instance.
#[derive(Debug, Clone)]
pub struct Uploader {
    client: Client,
    bucket: String,
    key: String,
}

impl Uploader {
    pub fn new(sdk: &SdkConfig, region: String, bucket: String, key: String) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(5))
            .operation_attempt_timeout(Duration::from_secs(20))
            .operation_timeout(Duration::from_secs(60))
            .build();
        let config = Builder::from(sdk)
            .region(Region::new(region))
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(3))
            .build();
        Self { client: Client::from_conf(config), bucket, key }
    }

    pub fn address(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.key)
    }

    pub async fn put(&self, body: Vec<u8>) -> Result<(), UploadError> {
        let put = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(&self.key)
            .content_type("application/json")
            .body(ByteStream::from(body));
        let Err(error) = put.send().await else { return Ok(()) };
        let (bucket, key) = (self.bucket.clone(), self.key.clone());
        Err(match error.code() {
            Some(code) => UploadError::Refused {
                bucket,
                key,
                code: code.to_owned(),
                message: error.message().unwrap_or_default().to_owned(),
            },
            None => UploadError::Unreachable { bucket, key, cause: reasons(&error) },
        })
    }
}

/// The error and its causes on one line, without the debug output of the SDK.
fn reasons(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    let texts = chain.map(|error| error.to_string().split_whitespace().collect::<Vec<_>>().join(" "));
    texts.collect::<Vec<_>>().join(": ")
}

/// The delay after this number of consecutive failures: random, with a maximum that doubles each time, so that the
/// instances of a fleet do not retry at the same time after an outage of S3. `random` is in `0.0..1.0`.
pub fn backoff(failures: u32, random: f64) -> Duration {
    let longest = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(failures)).min(LAST_WAIT);
    FIRST_WAIT.max(longest.mul_f64(random.clamp(0.0, 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_delays_grow_up_to_a_limit_and_are_never_zero() {
        let longest: Vec<u64> = (0..12).map(|failures| backoff(failures, 1.0).as_secs()).collect();
        assert_eq!(longest, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert!((0..40).all(|failures| backoff(failures, 0.0) == FIRST_WAIT));
        assert!(backoff(8, 0.5) < backoff(8, 0.9));
    }
}
