//! The limits of facts.

/// Larger files and outputs are rejected.
pub(super) const LARGEST: u64 = 1024 * 1024;
/// Longer values are rejected as a version.
pub(super) const LONGEST_VALUE: usize = 1024;
pub(super) const MOST_FILES: usize = 1000;
pub(super) const MOST_ENTRIES: usize = 1000;
