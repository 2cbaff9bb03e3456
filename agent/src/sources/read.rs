//! Reading one file.

use std::io::{ErrorKind, Read as _};
use std::path::Path;

use super::error::SourceError;
use super::limits::LARGEST;
use super::open::open;

/// Reads a regular file of bounded size. Invalid UTF-8 is replaced and not rejected, because it may be in another value. A byte
/// order mark, which editors on Windows write, is not part of the text.
pub(super) fn read(path: &Path) -> Result<String, SourceError> {
    let fail = |source| SourceError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    open(path)?.take(LARGEST + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > LARGEST {
        return Err(SourceError::TooLarge { path: path.to_owned() });
    }
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned())
}

/// Reads a file that existed a moment ago. `None`: it was deleted meanwhile, as if it had not been found.
pub(super) fn read_found(path: &Path) -> Result<Option<String>, SourceError> {
    match read(path) {
        Err(SourceError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}
