//! The limits of facts.

/// Larger files and outputs are rejected.
pub(super) const LARGEST: u64 = 1024 * 1024;
/// Longer values are rejected as a version.
pub(super) const LONGEST_VALUE: usize = 1024;
pub(super) const MOST_FILES: usize = 1000;
/// Of a pattern, with folders and everything else that is not a file.
pub(super) const MOST_MATCHES: usize = 4 * MOST_FILES;
pub(super) const MOST_ENTRIES: usize = 1000;
