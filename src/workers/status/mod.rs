//! The part of the status that all kinds that run workers share.

pub mod ami;
pub mod blocked;
pub mod conditions;

use crate::k8s::object::StatusList;

/// The lists of objects in [`crate::crd::workers_status::WorkersStatus`].
pub const LISTS: &[StatusList] = &[
    StatusList::keyed("revisions", "name"),
    StatusList::keyed("launches", "token"),
    StatusList::keyed("terminations", "reason"),
    StatusList::keyed("hashes", "name"),
];

/// A count as a status stores it.
pub fn whole(count: impl TryInto<i32>) -> i32 {
    count.try_into().unwrap_or(i32::MAX)
}
