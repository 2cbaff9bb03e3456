//! What keeps something from being known.

/// Why a source, or what is expected, could not be read the last time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) message: String,
    /// It stays until a user changes something.
    pub(super) lasting: bool,
}
