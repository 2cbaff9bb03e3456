//! Errors as AWS names them. Each service renders them in its own shape.

use http::StatusCode;

/// A refusal with AWS's own code, message and HTTP status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    pub status: StatusCode,
    pub code: String,
    pub message: String,
}

impl ApiError {
    /// An error with the status that AWS gives its code.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        let code = code.into();
        Self { status: status_of(&code), code, message: message.into() }
    }

    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }
}

fn status_of(code: &str) -> StatusCode {
    match code {
        "RequestLimitExceeded" | "Unavailable" | "ServiceUnavailable" | "SlowDown" => StatusCode::SERVICE_UNAVAILABLE,
        // EC2 reports exhausted capacity as its own failure, not as the caller's.
        "InternalError" | "InternalFailure" | "ResourceContention" | "InsufficientInstanceCapacity" => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
        "AuthFailure" => StatusCode::UNAUTHORIZED,
        "UnauthorizedOperation"
        | "AccessDenied"
        | "InvalidClientTokenId"
        | "ExpiredToken"
        | "InvalidAccessKeyId"
        | "MissingAuthenticationToken"
        | "AuthorizationError"
        | "InvalidSecurity"
        | "KMSOptInRequired"
        | "OptInRequired" => StatusCode::FORBIDDEN,
        "DryRunOperation" | "PreconditionFailed" => StatusCode::PRECONDITION_FAILED,
        "Throttled" => StatusCode::TOO_MANY_REQUESTS,
        "NoSuchKey" | "NoSuchBucket" | "NotFound" => StatusCode::NOT_FOUND,
        _other_client_error => StatusCode::BAD_REQUEST,
    }
}
