//! How much of what an instance says on its console is kept.

/// EC2 keeps the end of what the console said.
pub(crate) const KEPT: usize = 64 * 1024;

pub(crate) fn tail(text: &[u8]) -> &[u8] {
    &text[text.len().saturating_sub(KEPT)..]
}
