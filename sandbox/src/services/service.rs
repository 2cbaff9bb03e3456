//! Which services there are, how requests name them, and how each words what it refuses.

use std::collections::BTreeMap;

use http::{Response, request};

use super::{autoscaling, cloudwatch, ec2, s3, sns, ssm, sts};
use crate::caller::Caller;
use crate::error::ApiError;
use crate::protocol::json;
use crate::protocol::response::{Body, ErrorCode};
use crate::state::accounts::Refusal;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Service {
    Ec2,
    AutoScaling,
    Sns,
    Sts,
    S3,
    Ssm,
    CloudWatch(cloudwatch::Protocol),
}

impl Service {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            "ec2" => Some(Self::Ec2),
            "autoscaling" => Some(Self::AutoScaling),
            "sns" => Some(Self::Sns),
            "sts" => Some(Self::Sts),
            "s3" => Some(Self::S3),
            "ssm" => Some(Self::Ssm),
            "cloudwatch" => Some(Self::CloudWatch(cloudwatch::Protocol::Cbor)),
            _unknown => None,
        }
    }

    /// By the name that requests are signed for.
    pub(crate) fn from_scope(name: &str, parts: &request::Parts) -> Option<Self> {
        match name {
            "monitoring" => Some(Self::CloudWatch(cloudwatch::Protocol::of(parts))),
            other => Self::from_name(other),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ec2 => "ec2",
            Self::AutoScaling => "autoscaling",
            Self::Sns => "sns",
            Self::Sts => "sts",
            Self::S3 => "s3",
            Self::Ssm => "ssm",
            Self::CloudWatch(_) => "cloudwatch",
        }
    }

    pub(crate) fn has(self, operation: &str) -> bool {
        match self {
            Self::Ec2 => ec2::has(operation),
            Self::AutoScaling => autoscaling::has(operation),
            Self::Sns => sns::has(operation),
            Self::Sts => sts::has(operation),
            Self::S3 => s3::has(operation),
            Self::Ssm => ssm::has(operation),
            Self::CloudWatch(_) => cloudwatch::has(operation),
        }
    }

    pub(crate) fn error(self, error: &ApiError, request_id: &str) -> Response<Body> {
        let mut response = match self {
            Self::Ec2 => ec2::error(error, request_id),
            Self::AutoScaling => autoscaling::error(error, request_id),
            Self::Sns => sns::error(error, request_id),
            Self::Sts => sts::error(error, request_id),
            Self::S3 => s3::error(error, request_id),
            Self::Ssm => json::error(error, request_id),
            Self::CloudWatch(protocol) => protocol.error(error, request_id),
        };
        response.extensions_mut().insert(ErrorCode(error.code.clone()));
        response
    }

    /// The IAM action of an operation. Most have the same name.
    pub(crate) fn action(self, operation: &str) -> String {
        let name = match (self, operation) {
            (Self::S3, "ListObjectsV2" | "HeadBucket") => "ListBucket",
            (Self::S3, "HeadObject") => "GetObject",
            (_, operation) => operation,
        };
        format!("{}:{name}", self.name())
    }

    /// The ARN of what a request is about, for the services whose denials name it.
    pub(crate) fn resource(self, caller: &Caller, parameters: &BTreeMap<String, String>) -> Option<String> {
        match self {
            Self::AutoScaling => autoscaling::resource(caller.id.account.as_str(), &caller.region, parameters),
            Self::Sns => sns::resource(caller.id.account.as_str(), &caller.region, parameters),
            Self::Ec2 | Self::Sts | Self::S3 | Self::Ssm | Self::CloudWatch(_) => None,
        }
    }

    /// What a service answers when a policy denies an action.
    pub(crate) fn denial(self, caller: &str, action: &str, resource: Option<&str>) -> ApiError {
        let on = resource.map(|arn| format!(" on resource: {arn}")).unwrap_or_default();
        let denied = format!(
            "User: {caller} is not authorized to perform: {action}{on} with an explicit deny in an identity-based policy"
        );
        match self {
            Self::Ec2 => ApiError::new(
                "UnauthorizedOperation",
                format!("You are not authorized to perform this operation. {denied}"),
            )
            .with_status(http::StatusCode::FORBIDDEN),
            Self::Ssm => ApiError::new("AccessDeniedException", denied),
            // It writes its actions large.
            Self::Sns => ApiError::new("AuthorizationError", denied.replacen(" sns:", " SNS:", 1)),
            Self::AutoScaling | Self::Sts | Self::CloudWatch(_) | Self::S3 => {
                ApiError::new("AccessDenied", denied).with_status(http::StatusCode::FORBIDDEN)
            }
        }
    }

    pub(crate) fn refusal(self, refusal: Refusal) -> ApiError {
        match (self, refusal) {
            (Self::Ec2, Refusal::UnknownKey | Refusal::WrongToken) => {
                ApiError::new("AuthFailure", "AWS was not able to validate the provided access credentials")
            }
            (Self::Ec2, Refusal::Expired) => ApiError::new("RequestExpired", "Request has expired."),
            (Self::Ssm, Refusal::UnknownKey | Refusal::WrongToken) => {
                ApiError::new("UnrecognizedClientException", "The security token included in the request is invalid.")
            }
            (Self::Ssm, Refusal::Expired) => {
                ApiError::new("ExpiredTokenException", "The security token included in the request is expired")
            }
            (
                Self::AutoScaling | Self::Sns | Self::Sts | Self::CloudWatch(_),
                Refusal::UnknownKey | Refusal::WrongToken,
            ) => ApiError::new("InvalidClientTokenId", "The security token included in the request is invalid."),
            (Self::AutoScaling | Self::Sns | Self::Sts | Self::CloudWatch(_), Refusal::Expired) => {
                ApiError::new("ExpiredToken", "The security token included in the request is expired")
            }
            (Self::S3, Refusal::UnknownKey) => {
                ApiError::new("InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")
            }
            (Self::S3, Refusal::WrongToken) => {
                ApiError::new("InvalidToken", "The provided token is malformed or otherwise invalid.")
            }
            (Self::S3, Refusal::Expired) => ApiError::new("ExpiredToken", "The provided token has expired.")
                .with_status(http::StatusCode::BAD_REQUEST),
        }
    }
}
