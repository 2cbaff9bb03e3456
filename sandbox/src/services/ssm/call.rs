//! One call of a Parameter Store operation.

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::validation::validation;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::state::State;
use crate::state::ssm::Store;
use crate::state::throttle::{BucketSize, PARAMETER_OTHERS, PARAMETER_READS, PUT_PARAMETER};

/// A call that is about to be carried out.
pub(super) struct SsmCall<'a> {
    pub(super) state: &'a State,
    pub(super) caller: &'a Caller,
    pub(super) now: Timestamp,
    pub(super) input: &'a Value,
}

impl SsmCall<'_> {
    /// The request. A member that the sandbox does not know is refused, so that none is silently without effect.
    pub(super) fn input<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        T::deserialize(self.input).map_err(|error| validation(format!("1 validation error detected: {error}")))
    }

    /// Works on the caller's own account and region.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Store<'_>) -> T) -> T {
        let Caller { id, region } = self.caller;
        self.state.ssm.with(&id.account, region, work)
    }
}

pub(super) struct Operation {
    pub(super) name: &'static str,
    /// Operations that name the same bucket share it.
    pub(super) bucket: (&'static str, BucketSize),
    pub(super) run: fn(&SsmCall<'_>) -> Result<Value, ApiError>,
}

pub(super) const READS: (&str, BucketSize) = ("Parameter Store reads", PARAMETER_READS);
pub(super) const PUTS: (&str, BucketSize) = ("PutParameter", PUT_PARAMETER);
pub(super) const OTHERS: (&str, BucketSize) = ("Parameter Store others", PARAMETER_OTHERS);
