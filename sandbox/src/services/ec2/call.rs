//! One call of an EC2 operation.

use jiff::Timestamp;

use crate::caller::Caller;
use crate::error::ApiError;
use crate::protocol::params::{Params, Scope};
use crate::protocol::xml::Xml;
use crate::state::State;
use crate::state::ec2::world::World;
use crate::state::throttle::{BucketSize, Charge};

/// A call that is about to be carried out.
pub(crate) struct Ec2Call<'a> {
    pub(crate) state: &'a State,
    pub(crate) caller: &'a Caller,
    pub(crate) params: Params,
    pub(crate) now: Timestamp,
}

impl Ec2Call<'_> {
    pub(crate) fn root(&self) -> Scope<'_> {
        self.params.root()
    }

    /// To be called when all parameters were read, before anything is done.
    pub(crate) fn finish(&self) -> Result<DryRun, ApiError> {
        DryRun::finish(&self.params)
    }

    /// Works on the caller's own account and region.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut World) -> T) -> T {
        self.state.ec2.with(self.now, work)
    }

    /// Takes tokens for the resources that the call makes or ends.
    pub(crate) fn charge(&self, operation: &'static str, charge: Charge) -> Result<(), ApiError> {
        let Caller { id, region } = self.caller;
        self.state.throttle.take(&id.account, region, operation, &[charge], self.state.clock.monotonic())
    }
}

/// Whether the caller only asks if it might.
#[must_use]
#[derive(Debug)]
pub(crate) struct DryRun(pub(crate) bool);

impl DryRun {
    pub(crate) fn finish(params: &Params) -> Result<Self, ApiError> {
        let dry_run = params.root().boolean("DryRun")?.unwrap_or(false);
        params.finish()?;
        Ok(Self(dry_run))
    }

    /// To be called when the request was found good.
    pub(crate) fn end(self) -> Result<(), ApiError> {
        if self.0 {
            return Err(ApiError::new("DryRunOperation", "Request would have succeeded, but DryRun flag is set."));
        }
        Ok(())
    }
}

/// An operation and the bucket that its requests are taken from.
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    pub(crate) requests: BucketSize,
    pub(crate) run: fn(&Ec2Call<'_>) -> Result<Xml, ApiError>,
}
