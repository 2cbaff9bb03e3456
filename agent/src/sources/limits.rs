//! What is too much to be a fact.

/// Larger files and outputs are refused: whatever they are, they are no facts.
pub(super) const LARGEST: u64 = 1024 * 1024;
/// Longer values are no version.
pub(super) const LONGEST_VALUE: usize = 1024;
pub(super) const MOST_FILES: usize = 1000;
pub(super) const MOST_ENTRIES: usize = 1000;
