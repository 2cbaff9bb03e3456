//! What a reconcile has found.

use crate::kinds::launch_template_pin::{
    desired::Desired,
    observed::Observed,
    plan::{Assessment, Call},
};

/// What a status is made from.
pub(super) struct Found<'a> {
    pub(super) desired: &'a Desired,
    pub(super) observed: &'a Observed,
    pub(super) assessment: &'a Assessment,
    /// The calls that would be made now.
    pub(super) planned: &'a [Call],
    /// Whether AWS may be changed.
    pub(super) acts: bool,
}
