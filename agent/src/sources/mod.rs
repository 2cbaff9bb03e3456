//! The application's version and processes, from where the configuration says.

mod command;
mod files;
mod json;

use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::config::Source;

/// One element of `processes`.
pub type Entry = Map<String, Value>;

/// Larger files and outputs are refused: whatever they are, they are no facts.
const LARGEST: u64 = 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("cannot start `{program}`")]
    Start { program: String, source: std::io::Error },
    #[error("`{program}` took longer than {seconds} s and was ended: raise `timeout`, or report something quicker")]
    TimedOut { program: String, seconds: u64 },
    #[error("`{program}` ended with {status}: {stderr}")]
    Failed { program: String, status: std::process::ExitStatus, stderr: String },
    #[error("`{program}` wrote more than {LARGEST} bytes")]
    TooMuchOutput { program: String },
    #[error("cannot read the output of `{program}`")]
    Output { program: String, source: std::io::Error },
    #[error("the output of `{program}` does not match `regex`: it starts with {start:?}")]
    NoMatch { program: String, start: String },
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} is larger than {LARGEST} bytes", path.display())]
    TooLarge { path: PathBuf },
    #[error("no file that matches {pattern} has the key {key}")]
    NoKey { pattern: String, key: String },
    #[error("more than {most} files match {pattern}")]
    TooManyFiles { pattern: String, most: usize },
    #[error("{} is no JSON", path.display())]
    NotJson { path: PathBuf, source: serde_json::Error },
    #[error("{} has nothing at {pointer:?}", path.display())]
    NothingThere { path: PathBuf, pointer: String },
    #[error("{} has {found} at {pointer:?}, and {wanted} is needed", path.display())]
    WrongType { path: PathBuf, pointer: String, found: &'static str, wanted: &'static str },
}

/// One text, such as a version.
pub async fn value(source: &Source) -> Result<String, SourceError> {
    match source {
        Source::Command(command) => command::value(command).await,
        Source::Files(files) => files::value(files),
        Source::Json(json) => json::value(json),
    }
}

/// A list of objects.
pub async fn entries(source: &Source) -> Result<Vec<Entry>, SourceError> {
    match source {
        Source::Command(command) => command::entries(command).await,
        Source::Files(files) => files::entries(files),
        Source::Json(json) => json::entries(json),
    }
}

/// Reads a file of bounded size. What is not UTF-8 is replaced rather than refused: it may be in another value.
fn read(path: &std::path::Path) -> Result<String, SourceError> {
    use std::io::Read as _;
    let fail = |source| SourceError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(fail)?.take(LARGEST + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > LARGEST {
        return Err(SourceError::TooLarge { path: path.to_owned() });
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
