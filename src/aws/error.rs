//! What AWS answers when it does not do what was asked, classified by its code.

use std::collections::BTreeSet;

use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

/// What an error means for what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// What was named does not exist.
    NotFound,
    /// Too many calls.
    Throttled,
    /// AWS has none of what was asked for, here and now.
    NoCapacity,
    /// The identity may not do this.
    Denied,
    /// The request is wrong and will be refused again as it is.
    InvalidInput,
    /// Something else is in the way: a changed request under a used token, a write that was overtaken.
    Conflict,
    /// No answer, or one that promises nothing: it may have happened or not.
    Transient,
}

/// A call to AWS that did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operation} failed: {code}: {message}")]
pub struct Error {
    pub operation: &'static str,
    pub class: Class,
    /// AWS's own code, or what stood in the way of getting one.
    pub code: String,
    pub message: String,
}

impl Error {
    /// Reads AWS's code and message out of an SDK error.
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
            SdkError::TimeoutError(_) => Self::unanswered(operation, "Timeout", "AWS did not answer in time"),
            SdkError::DispatchFailure(failure) => {
                let cause = failure.as_connector_error().map(|e| crate::reconcile::Chain(e).to_string());
                Self::unanswered(operation, "ConnectionFailed", cause.as_deref().unwrap_or("AWS cannot be reached"))
            }
            SdkError::ResponseError(_) => Self::unanswered(operation, "BadResponse", "the answer was cut or garbled"),
            other => {
                let message = crate::reconcile::Chain(other).to_string();
                Self { operation, class: Class::InvalidInput, code: "NotSent".into(), message }
            }
        }
    }

    /// The action that a denial names, and the resource that it was for where it is named too.
    pub fn denied_action(&self) -> Option<(&str, Option<&str>)> {
        let (_, rest) = self.message.split_once("not authorized to perform: ")?;
        let word = |text: &'_ str| text.split_whitespace().next().map(str::len);
        let action = &rest[..word(rest)?];
        let resource = rest.split_once(" on resource: ").and_then(|(_, rest)| Some(&rest[..word(rest)?]));
        Some((action, resource))
    }

    /// The parameter of the call that a refusal names: "Value (x) for parameter name is invalid", "Invalid value 'x' for
    /// Name."
    pub fn parameter(&self) -> Option<&str> {
        let rest = match self.message.split_once("for parameter ") {
            Some((_, rest)) => rest,
            None => self.message.split_once("' for ").map(|(_, rest)| rest)?,
        };
        rest.split_whitespace().next().map(|name| name.trim_end_matches(['.', ',', ';', ':']))
    }

    /// The words of the message that may be ids.
    pub(super) fn words(&self) -> BTreeSet<&str> {
        self.message.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').collect()
    }

    /// A call that was not made, since the rate has no room for it. Without the exact time to wait, which would differ each
    /// time that it is told.
    pub(crate) fn not_sent(operation: &'static str) -> Self {
        Self {
            operation,
            class: Class::Throttled,
            code: "NotSent".into(),
            message: "the request rate allowed for this account and region is used up".into(),
        }
    }

    /// The same error of a call that names nothing, so that nothing can be missing. EC2 says now and then that an instance
    /// does not exist to somebody who lists all (aws/aws-sdk-java#911).
    pub(super) fn of_nothing_named(self) -> Self {
        match self.class {
            Class::NotFound => Self { class: Class::Transient, ..self },
            Class::Throttled
            | Class::NoCapacity
            | Class::Denied
            | Class::InvalidInput
            | Class::Conflict
            | Class::Transient => self,
        }
    }

    fn unanswered(operation: &'static str, code: &str, message: &str) -> Self {
        Self { operation, class: Class::Transient, code: code.into(), message: message.into() }
    }
}

/// EC2 ends a denial with details that only `sts:DecodeAuthorizationMessage` can read. They differ from call to call, so a
/// status that quotes them would be written again at each try.
fn plain(message: &str) -> &str {
    message.split(" Encoded authorization failure message:").next().unwrap_or(message)
}

/// Classifies a code of any AWS service that muster calls; the HTTP status decides for codes that are not listed.
/// Sources: the error code pages of EC2, S3, STS, Systems Manager and CloudWatch, and Karpenter's and CAPA's lists of capacity errors.
fn classify(code: &str, status: u16) -> Class {
    match code {
        "InsufficientInstanceCapacity"
        | "InsufficientHostCapacity"
        | "InsufficientReservedInstanceCapacity"
        | "InsufficientFreeAddressesInSubnet"
        | "InsufficientCapacity"
        | "InsufficientCapacityOnHost"
        | "InstanceLimitExceeded"
        | "VcpuLimitExceeded"
        | "MaxSpotInstanceCountExceeded"
        | "SpotMaxPriceTooLow"
        | "UnfulfillableCapacity"
        | "ReservationCapacityExceeded"
        // Of the pool's zone, and another may have it.
        | "VolumeTypeNotAvailableInZone"
        | "Unsupported"
        | "UnsupportedOperation"
        | "PendingVerification" => Class::NoCapacity,
        "RequestLimitExceeded"
        | "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "SlowDown"
        | "RequestThrottled"
        | "TooManyRequestsException"
        | "TooManyUpdates"
        | "ResourceCountLimitExceeded" => Class::Throttled,
        "UnauthorizedOperation"
        | "AccessDenied"
        | "AccessDeniedException"
        | "AllAccessDisabled"
        | "AuthFailure"
        | "InvalidClientTokenId"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "InvalidAccessKeyId"
        | "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "OptInRequired"
        | "Blocked" => Class::Denied,
        "IdempotentParameterMismatch"
        // The token was used, and what it launched has ended.
        | "IdempotentInstanceTerminated"
        | "IncorrectInstanceState"
        | "OperationAborted"
        | "PreconditionFailed"
        | "ConditionalRequestConflict"
        | "ParameterAlreadyExists"
        | "ConcurrentTagAccess" => Class::Conflict,
        "NoSuchBucket"
        | "NoSuchKey"
        | "NotFound"
        | "ParameterNotFound"
        | "ParameterVersionNotFound"
        // A tag call for a parameter that is not there.
        | "InvalidResourceId" => Class::NotFound,
        "InternalError"
        | "InternalFailure"
        | "ServiceUnavailable"
        | "Unavailable"
        | "RequestTimeout"
        | "RequestExpired"
        | "BadRequest.RequestExpired"
        | "DependencyFailure" => Class::Transient,
        code if code.ends_with("NotFound") || code.ends_with("NotFoundException") => Class::NotFound,
        _ => match status {
            404 => Class::NotFound,
            403 | 401 => Class::Denied,
            429 => Class::Throttled,
            500.. => Class::Transient,
            _ => Class::InvalidInput,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_reads_the_same_each_time() {
        let denial = |details: &str| {
            format!(
                "You are not authorized to perform this operation. Encoded authorization failure message: {details}"
            )
        };
        assert_eq!(plain(&denial("4GIOHlTkIaWHQD0Q0m6X")), "You are not authorized to perform this operation.");
        assert_eq!(plain(&denial("a")), plain(&denial("b")));
    }

    #[test]
    fn codes_say_what_to_do_next() {
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
