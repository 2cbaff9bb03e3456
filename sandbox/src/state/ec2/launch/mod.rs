//! Launching: what a request asks for, looked up in the account, and put where it belongs.

pub(crate) mod instance_types;
pub(crate) mod placement;
pub(crate) mod request;
mod resolve;

use jiff::Timestamp;

use super::tags::Tags;
use super::world::World;
use crate::caller::Caller;
use crate::error::ApiError;
use request::LaunchRequest;

/// A launch that could begin: what it asks for was found.
pub(crate) struct Prepared<'r, 'a> {
    request: &'r LaunchRequest<'a>,
    resolved: resolve::Resolved,
}

impl<'r, 'a> Prepared<'r, 'a> {
    pub(crate) fn new(
        world: &mut World,
        caller: &Caller,
        request: &'r LaunchRequest<'a>,
        template_tags: Tags,
        now: Timestamp,
    ) -> Result<Self, ApiError> {
        let resolved = resolve::resolve(world, caller, request, template_tags, now)?;
        Ok(Self { request, resolved })
    }

    /// Gives the instances' sequence numbers.
    pub(crate) fn launch(&self, world: &mut World, caller: &Caller, now: Timestamp) -> Result<Vec<u64>, ApiError> {
        let Self { request, resolved } = self;
        let (place, count) = placement::choose(world, caller, request, resolved, now)?;
        Ok(placement::place_instances(world, caller, request, resolved, place, count, now))
    }
}
