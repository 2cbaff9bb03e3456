//! The errors of sources.

use std::path::PathBuf;

use super::limits::{LARGEST, LONGEST_VALUE, MOST_ENTRIES, MOST_FILES};

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("cannot start `{program}`")]
    Start { program: String, source: std::io::Error },
    #[error("`{program}` took longer than {seconds} s and was killed: raise `timeout`, or use a faster command")]
    TimedOut { program: String, seconds: u64 },
    #[error("`{program}` ended with {status}: {stderr}")]
    Failed { program: String, status: std::process::ExitStatus, stderr: String },
    #[error("`{program}` wrote more than {LARGEST} bytes")]
    TooMuchOutput { program: String },
    #[error("cannot read the output of `{program}`")]
    Output { program: String, source: std::io::Error },
    #[error("the output of `{program}` does not match `regex`: it starts with {start:?}")]
    NoMatch { program: String, start: String },
    #[error("`{program}` wrote no text to its standard output")]
    NoOutput { program: String },
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} is not a regular file", path.display())]
    NoFile { path: PathBuf },
    #[error(
        "{} is reached by the symbolic link {link:?}, which belongs to the user {owner}, and the file does not: use a path \
         without this link, or give the link to root", path.display()
    )]
    ForeignLink { path: PathBuf, link: std::ffi::OsString, owner: u32 },
    #[error(
        "the files that match {pattern} have more than {LARGEST} bytes of entries: report fewer files or fewer keys"
    )]
    TooMuch { pattern: String },
    #[error("{} is larger than {LARGEST} bytes", path.display())]
    TooLarge { path: PathBuf },
    #[error("reading {name} takes longer than {seconds} s: check its file system")]
    Hangs { name: String, seconds: u64 },
    #[error("reading {name} was interrupted")]
    BrokenOff { name: String, source: tokio::task::JoinError },
    #[error("{name} has {length} bytes, and a version can have at most {LONGEST_VALUE}")]
    TooLong { name: String, length: usize },
    #[error(
        "{name} has {size} bytes of entries, and the report has room for {room}: report fewer entries or fewer keys"
    )]
    NoRoom { name: String, size: usize, room: usize },
    #[error("{name} has more than {MOST_ENTRIES} entries")]
    TooManyEntries { name: String },
    #[error("no file that matches {pattern} has the key {key}")]
    NoKey { pattern: String, key: String },
    #[error("more than {MOST_FILES} files match {pattern}")]
    TooManyFiles { pattern: String },
    #[error("{} is not JSON", path.display())]
    NotJson { path: PathBuf, source: serde_json::Error },
    #[error("{} has no value at {pointer:?}", path.display())]
    NothingThere { path: PathBuf, pointer: String },
    #[error("{} has {found} at {pointer:?}, but {wanted} is required", path.display())]
    WrongType { path: PathBuf, pointer: String, found: &'static str, wanted: &'static str },
}
