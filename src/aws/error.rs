//! Errors of AWS calls, classified by their code.

use std::{collections::BTreeSet, fmt};

use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::{error_chain::Chain, text::visible};

/// How much of a code and of a message is shown, in bytes.
const CODE_LIMIT: usize = 100;
const MESSAGE_LIMIT: usize = 1000;

/// The class of an error, which decides what happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The named resource does not exist.
    NotFound,
    /// Too many calls.
    Throttled,
    /// AWS has no capacity for the request now.
    NoCapacity,
    /// The identity is not allowed to make the call.
    Denied,
    /// The request is invalid; the same request is refused again.
    InvalidInput,
    /// The request conflicts with another one: a changed request with a used token, or a concurrent write.
    Conflict,
    /// No response, or a response without a result: the call may have taken effect or not.
    Transient,
}

/// A call to AWS that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operation} failed: {}: {}", visible(code, CODE_LIMIT), visible(message, MESSAGE_LIMIT))]
pub struct Error {
    pub operation: &'static str,
    pub class: Class,
    /// The code of AWS, or the reason why there is none.
    pub code: String,
    /// The message of AWS as it came. It may quote what a worker or a user wrote.
    pub message: String,
}

impl Error {
    /// Takes the code and message of AWS from an SDK error.
    pub fn from_sdk<E>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        match error {
            SdkError::ServiceError(context) => {
                let status = context.raw().status().as_u16();
                let code = context.err().code().map_or_else(|| format!("HTTP{status}"), str::to_owned);
                let message = plain(context.err().message().unwrap_or("no message")).to_owned();
                Self { operation, class: classify(&code, status), code, message }
            }
            SdkError::TimeoutError(_) => Self::timed_out(operation),
            SdkError::DispatchFailure(failure) => {
                let cause = failure.as_connector_error().map(|e| Chain(e).to_string());
                Self::transient(operation, "ConnectionFailed", cause.as_deref().unwrap_or("AWS cannot be reached"))
            }
            SdkError::ResponseError(_) => Self::garbled(operation, "the response is truncated or invalid"),
            other => {
                let message = Chain(other).to_string();
                Self { operation, class: Class::InvalidInput, code: "NotSent".into(), message }
            }
        }
    }

    /// The action that a denial names, and the resource if it names one.
    pub fn denied_action(&self) -> Option<(&str, Option<&str>)> {
        let (_, rest) = self.message.split_once("not authorized to perform: ")?;
        let word = |text: &'_ str| text.split_whitespace().next().map(str::len);
        let action = &rest[..word(rest)?];
        let resource = rest.split_once(" on resource: ").and_then(|(_, rest)| Some(&rest[..word(rest)?]));
        Some((action, resource))
    }

    /// The parameter that an error message names: "Value (x) for parameter name is invalid", "Invalid value 'x' for
    /// Name."
    pub fn parameter(&self) -> Option<&str> {
        let rest = match self.message.split_once("for parameter ") {
            Some((_, rest)) => rest,
            None => self.message.split_once("' for ").map(|(_, rest)| rest)?,
        };
        rest.split_whitespace().next().map(|name| name.trim_end_matches(['.', ',', ';', ':']))
    }

    /// Whether a launch failed because of its image.
    pub fn is_about_image(&self) -> bool {
        self.code.starts_with("InvalidAMIID.")
    }

    /// The words of the message, which may be ids.
    pub fn words(&self) -> BTreeSet<&str> {
        self.message.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').collect()
    }

    /// A call that was not sent because of the rate limit. Without the time to wait, which would change the message
    /// each time.
    pub(crate) fn not_sent(operation: &'static str) -> Self {
        Self {
            operation,
            class: Class::Throttled,
            code: "NotSent".into(),
            message: "the request rate allowed for this account and region is used up".into(),
        }
    }

    /// The error of a call that names no resource, so that nothing can be missing. EC2 sometimes returns NotFound for
    /// an instance although the call lists all (aws/aws-sdk-java#911).
    pub fn of_nothing_named(self) -> Self {
        if self.class == Class::NotFound { Self { class: Class::Transient, ..self } } else { self }
    }

    /// A response without the expected content.
    pub(crate) fn garbled(operation: &'static str, message: impl fmt::Display) -> Self {
        Self::transient(operation, "BadResponse", message)
    }

    pub(crate) fn timed_out(operation: &'static str) -> Self {
        Self::transient(operation, "Timeout", "AWS did not answer in time")
    }

    pub(super) fn transient(operation: &'static str, code: &str, message: impl fmt::Display) -> Self {
        Self { operation, class: Class::Transient, code: code.into(), message: message.to_string() }
    }

    pub(super) fn not_found(operation: &'static str, code: &str, message: impl fmt::Display) -> Self {
        Self { operation, class: Class::NotFound, code: code.into(), message: message.to_string() }
    }
}

/// Removes the encoded details at the end of a denial, which only `sts:DecodeAuthorizationMessage` can read. They
/// differ for each call, so a status with them would be written again at each attempt.
fn plain(message: &str) -> &str {
    message.split(" Encoded authorization failure message:").next().unwrap_or(message)
}

/// The codes of each class. Sources: the error code pages of EC2, S3, STS, Systems Manager and CloudWatch, and the lists of
/// capacity errors in Karpenter and CAPA.
const CODES: [(Class, &str); 6] = [
    // VolumeTypeNotAvailableInZone is about the zone of the pool; another zone may have it.
    (
        Class::NoCapacity,
        "InsufficientInstanceCapacity InsufficientHostCapacity InsufficientReservedInstanceCapacity \
         InsufficientFreeAddressesInSubnet InsufficientCapacity InsufficientCapacityOnHost InstanceLimitExceeded \
         VcpuLimitExceeded MaxSpotInstanceCountExceeded SpotMaxPriceTooLow UnfulfillableCapacity \
         ReservationCapacityExceeded VolumeTypeNotAvailableInZone Unsupported UnsupportedOperation \
         PendingVerification",
    ),
    (
        Class::Throttled,
        "RequestLimitExceeded Throttling ThrottlingException ThrottledException SlowDown RequestThrottled \
         TooManyRequestsException TooManyUpdates ResourceCountLimitExceeded",
    ),
    (
        Class::Denied,
        "UnauthorizedOperation AuthorizationError KMSAccessDenied AccessDenied AccessDeniedException AllAccessDisabled AuthFailure InvalidClientTokenId \
         ExpiredToken ExpiredTokenException InvalidAccessKeyId UnrecognizedClientException InvalidSignatureException \
         SignatureDoesNotMatch OptInRequired Blocked",
    ),
    // IdempotentInstanceTerminated: the token was used, and its instances are terminated.
    (
        Class::Conflict,
        "IdempotentParameterMismatch IdempotentInstanceTerminated IncorrectInstanceState OperationAborted \
         PreconditionFailed ConditionalRequestConflict ParameterAlreadyExists ConcurrentTagAccess \
         InstanceRefreshInProgress IrreversibleInstanceRefresh ScalingActivityInProgress",
    ),
    // InvalidResourceId: a tag call for a parameter that does not exist.
    (
        Class::NotFound,
        "NoSuchBucket NoSuchKey NotFound ActiveInstanceRefreshNotFound KMSNotFound ParameterNotFound ParameterVersionNotFound InvalidResourceId",
    ),
    (
        Class::Transient,
        "InternalError InternalFailure ServiceUnavailable Unavailable RequestTimeout RequestExpired \
         BadRequest.RequestExpired DependencyFailure ResourceContention",
    ),
];

/// The class of a code of any AWS service that muster calls. For other codes, the HTTP status decides.
fn classify(code: &str, status: u16) -> Class {
    let listed = CODES.iter().find(|(_, codes)| codes.split(' ').any(|listed| listed == code));
    match (listed, status) {
        (Some((class, _)), _) => *class,
        (None, _) if code.ends_with("NotFound") || code.ends_with("NotFoundException") => Class::NotFound,
        (None, 404) => Class::NotFound,
        (None, 403 | 401) => Class::Denied,
        (None, 429) => Class::Throttled,
        (None, 500..) => Class::Transient,
        (None, _) => Class::InvalidInput,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denied_call_has_the_same_message_each_time() {
        let denial = |details: &str| {
            format!(
                "You are not authorized to perform this operation. Encoded authorization failure message: {details}"
            )
        };
        assert_eq!(plain(&denial("4GIOHlTkIaWHQD0Q0m6X")), "You are not authorized to perform this operation.");
        assert_eq!(plain(&denial("a")), plain(&denial("b")));
    }

    #[test]
    fn error_codes_are_classified() {
        for (code, status, class) in [
            ("InsufficientInstanceCapacity", 500, Class::NoCapacity),
            ("InvalidInstanceID.NotFound", 400, Class::NotFound),
            ("InvalidAMIID.NotFound", 400, Class::NotFound),
            ("InvalidLaunchTemplateName.NotFoundException", 400, Class::NotFound),
            ("InvalidLaunchTemplateId.VersionNotFound", 400, Class::NotFound),
            ("RequestLimitExceeded", 503, Class::Throttled),
            ("UnauthorizedOperation", 403, Class::Denied),
            ("IdempotentParameterMismatch", 400, Class::Conflict),
            ("IdempotentInstanceTerminated", 400, Class::Conflict),
            ("VolumeTypeNotAvailableInZone", 400, Class::NoCapacity),
            ("ReservationCapacityExceeded", 400, Class::NoCapacity),
            ("InvalidParameterValue", 400, Class::InvalidInput),
            ("InternalError", 500, Class::Transient),
            ("ParameterNotFound", 400, Class::NotFound),
            ("ParameterAlreadyExists", 400, Class::Conflict),
            ("TooManyUpdates", 400, Class::Throttled),
            ("UnrecognizedClientException", 400, Class::Denied),
            ("SomethingNew", 503, Class::Transient),
            ("SomethingNew", 400, Class::InvalidInput),
        ] {
            assert_eq!(classify(code, status), class, "{code}");
        }
    }
}
