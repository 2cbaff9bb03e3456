//! One call of an STS operation.

use crate::caller::Caller;
use crate::error::ApiError;
use crate::protocol::params::Params;
use crate::protocol::xml::Xml;
use crate::state::State;

/// A call that is about to be carried out.
pub(super) struct StsCall<'a> {
    pub(super) state: &'a State,
    pub(super) caller: &'a Caller,
    pub(super) params: Params,
}

pub(super) struct Operation {
    pub(super) name: &'static str,
    pub(super) run: fn(&StsCall<'_>) -> Result<Xml, ApiError>,
}
