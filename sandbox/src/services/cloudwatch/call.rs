//! One call of a CloudWatch operation.

use jiff::Timestamp;

use crate::caller::Caller;
use crate::protocol::cbor::Value;
use crate::state::State;

/// A call that is about to be carried out.
pub(super) struct CloudWatchCall<'a> {
    pub(super) state: &'a State,
    pub(super) caller: &'a Caller,
    pub(super) now: Timestamp,
    pub(super) input: &'a Value,
}
