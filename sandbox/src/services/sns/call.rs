//! One call of an SNS operation.

use jiff::Timestamp;

use crate::caller::Caller;
use crate::error::ApiError;
use crate::protocol::params::{Params, Scope};
use crate::protocol::xml::Xml;
use crate::state::State;
use crate::state::sns::{Topic, TopicArn};
use crate::state::throttle::BucketSize;

/// A call that is about to be carried out.
pub(super) struct SnsCall<'a> {
    pub(super) state: &'a State,
    pub(super) caller: &'a Caller,
    pub(super) params: Params,
    pub(super) now: Timestamp,
}

impl SnsCall<'_> {
    pub(super) fn root(&self) -> Scope<'_> {
        self.params.root()
    }

    /// Works on a topic by its ARN, which must be of the caller's account and region.
    pub(super) fn on_topic<T>(
        &self,
        parameter: &str,
        arn: &str,
        action: &str,
        work: impl FnOnce(&mut Topic) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let elements = arn.split(':').count();
        if elements < 6 {
            let reason = format!("Reason: An ARN must have at least 6 elements, not {elements}");
            return Err(invalid(format!("{parameter} {reason}")));
        }
        let parsed = TopicArn::parse(arn).filter(|parsed| parsed.region == self.caller.region);
        let TopicArn { account, name, region } = parsed.ok_or_else(|| invalid(parameter))?;
        if account != self.caller.id.account {
            let message = format!(
                "User: {} is not authorized to perform: SNS:{action} on resource: {arn} because no resource-based policy \
                 allows the SNS:{action} action",
                self.caller.id.principal_arn
            );
            return Err(ApiError::new("AuthorizationError", message));
        }
        self.state.sns.with(&account, region, |topics| {
            work(topics.get_mut(name).ok_or_else(|| ApiError::new("NotFound", "Topic does not exist"))?)
        })
    }
}

pub(super) fn invalid(what: impl AsRef<str>) -> ApiError {
    ApiError::new("InvalidParameter", format!("Invalid parameter: {}", what.as_ref()))
}

pub(super) struct Operation {
    pub(super) name: &'static str,
    pub(super) requests: BucketSize,
    pub(super) run: fn(&SnsCall<'_>) -> Result<Xml, ApiError>,
}
