//! The application's version and processes, from where the configuration says.

mod command;
mod files;
mod json;

use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use crate::config::Source;

/// One element of `processes`.
pub type Entry = Map<String, Value>;

/// Larger files and outputs are refused: whatever they are, they are no facts.
const LARGEST: u64 = 1024 * 1024;
/// Longer values are no version.
const LONGEST_VALUE: usize = 1024;
const MOST_FILES: usize = 1000;
const MOST_ENTRIES: usize = 1000;
/// A file system that hangs must not hold up the report.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

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
    #[error("`{program}` wrote nothing to its standard output")]
    NoOutput { program: String },
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} is no regular file", path.display())]
    NoFile { path: PathBuf },
    #[error("{} is larger than {LARGEST} bytes", path.display())]
    TooLarge { path: PathBuf },
    #[error("reading {name} takes longer than {seconds} s: does its file system hang?")]
    Hangs { name: String, seconds: u64 },
    #[error("reading {name} was broken off")]
    BrokenOff { name: String, source: tokio::task::JoinError },
    #[error("{name} gives {length} bytes, and a version has at most {LONGEST_VALUE}")]
    TooLong { name: String, length: usize },
    #[error(
        "{name} gives {size} bytes of entries, and the report has room for {room}: report fewer of them, or fewer keys"
    )]
    NoRoom { name: String, size: usize, room: usize },
    #[error("{name} gives more than {MOST_ENTRIES} entries")]
    TooManyEntries { name: String },
    #[error("no file that matches {pattern} has the key {key}")]
    NoKey { pattern: String, key: String },
    #[error("more than {MOST_FILES} files match {pattern}")]
    TooManyFiles { pattern: String },
    #[error("{} is no JSON", path.display())]
    NotJson { path: PathBuf, source: serde_json::Error },
    #[error("{} has nothing at {pointer:?}", path.display())]
    NothingThere { path: PathBuf, pointer: String },
    #[error("{} has {found} at {pointer:?}, and {wanted} is needed", path.display())]
    WrongType { path: PathBuf, pointer: String, found: &'static str, wanted: &'static str },
}

/// One text, such as a version.
pub async fn value(source: &Source) -> Result<String, SourceError> {
    let found = match source {
        Source::Command(command) => command::value(command).await,
        Source::Files(files) => {
            let files = files.clone();
            apart(source, move || files::value(&files)).await
        }
        Source::Json(json) => {
            let json = json.clone();
            apart(source, move || json::value(&json)).await
        }
    }?;
    if found.len() > LONGEST_VALUE {
        return Err(SourceError::TooLong { name: source.name(), length: found.len() });
    }
    Ok(found)
}

/// A list of objects, which takes from the `room` that is left for it in the report.
pub async fn entries(source: &Source, room: &mut usize) -> Result<Vec<Entry>, SourceError> {
    let found = match source {
        Source::Command(command) => command::entries(command).await,
        Source::Files(files) => {
            let files = files.clone();
            apart(source, move || files::entries(&files)).await
        }
        Source::Json(json) => {
            let json = json.clone();
            apart(source, move || json::entries(&json)).await
        }
    }?;
    if found.len() > MOST_ENTRIES {
        return Err(SourceError::TooManyEntries { name: source.name() });
    }
    let size = serde_json::to_vec(&found).unwrap_or_default().len();
    *room = room.checked_sub(size).ok_or_else(|| SourceError::NoRoom { name: source.name(), size, room: *room })?;
    Ok(found)
}

/// Reads files apart from the agent's own thread, and one source at a time: where a file system hangs, one thread does,
/// and the agent still reports the rest and ends when it is told to.
async fn apart<T: Send + 'static>(
    source: &Source,
    read: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    static TURN: Semaphore = Semaphore::const_new(1);
    in_turn(&TURN, READ_TIMEOUT, source, read).await
}

async fn in_turn<T: Send + 'static>(
    turns: &'static Semaphore,
    limit: Duration,
    source: &Source,
    read: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    let reading = async {
        let turn = turns.acquire().await;
        let read = move || {
            let _turn = turn;
            read()
        };
        tokio::task::spawn_blocking(read).await
    };
    match tokio::time::timeout(limit, reading).await {
        Ok(Ok(read)) => read,
        Ok(Err(error)) => Err(SourceError::BrokenOff { name: source.name(), source: error }),
        Err(_elapsed) => Err(SourceError::Hangs { name: source.name(), seconds: limit.as_secs() }),
    }
}

/// Reads a file of bounded size. What is not UTF-8 is replaced rather than refused: it may be in another value. A byte
/// order mark, which editors on Windows write, is no part of the text.
fn read(path: &Path) -> Result<String, SourceError> {
    let fail = |source| SourceError::Read { path: path.to_owned(), source };
    // Opening a pipe would wait for somebody to write to it.
    if !std::fs::metadata(path).map_err(fail)?.is_file() {
        return Err(SourceError::NoFile { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(fail)?.take(LARGEST + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > LARGEST {
        return Err(SourceError::TooLarge { path: path.to_owned() });
    }
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned())
}

/// Reads a file that was there a moment ago. `None`: it is gone, as if it had never been found.
fn read_found(path: &Path) -> Result<Option<String>, SourceError> {
    match read(path) {
        Err(SourceError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CommandSource, FilesSource, JsonSource};

    const ROOM: usize = 1024 * 1024;

    fn shell(script: &str, regex: Option<&str>) -> Source {
        Source::Command(CommandSource {
            program: "sh".into(),
            arguments: vec!["-c".into(), script.into()],
            regex: regex.map(|regex| regex_lite::Regex::new(regex).unwrap()),
            timeout: Duration::from_secs(10),
        })
    }

    #[tokio::test]
    async fn a_pipe_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let error = value(&Source::Json(JsonSource { path, pointer: String::new() })).await.unwrap_err();
        assert!(error.to_string().ends_with("/pipe is no regular file"), "{error}");
    }

    #[tokio::test]
    async fn a_file_system_that_hangs_costs_one_thread_and_no_report() {
        static TURN: Semaphore = Semaphore::const_new(1);
        let limit = Duration::from_millis(20);
        let source = Source::Json(JsonSource { path: "/mnt/gone/version.json".into(), pointer: String::new() });
        let (release, hang) = std::sync::mpsc::channel::<()>();
        let hangs = move || {
            let _released = hang.recv();
            Ok(())
        };
        let error = in_turn(&TURN, limit, &source, hangs).await.unwrap_err();
        assert!(error.to_string().starts_with("reading /mnt/gone/version.json takes longer than"), "{error}");
        let never = || -> Result<(), SourceError> { panic!("no second thread while the first one hangs") };
        let error = in_turn(&TURN, limit, &source, never).await.unwrap_err();
        assert!(matches!(error, SourceError::Hangs { .. }), "{error}");
        drop(release);
        in_turn(&TURN, Duration::from_secs(60), &source, || Ok(())).await.unwrap();
    }

    #[tokio::test]
    async fn a_value_that_is_no_version_is_refused() {
        let error = value(&shell("printf %02000d 7", None)).await.unwrap_err().to_string();
        assert_eq!(error, "`sh` gives 2000 bytes, and a version has at most 1024");
    }

    #[tokio::test]
    async fn what_would_fill_the_report_is_refused_with_its_source() {
        let many = shell("yes | head -n 1001", Some("(?P<a>y)"));
        let error = entries(&many, &mut ROOM.clone()).await.unwrap_err().to_string();
        assert_eq!(error, "`sh` gives more than 1000 entries");

        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.conf"), format!("a = {}", "\u{1}".repeat(200_000))).unwrap();
        let pattern = folder.path().join("*.conf").display().to_string();
        let large = Source::Files(FilesSource { pattern: pattern.clone(), keys: Vec::new() });
        let mut room = ROOM;
        let error = entries(&large, &mut room).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("{pattern} gives 12000")), "{error}");
        assert_eq!(room, ROOM);
        assert_eq!(entries(&shell("echo y", Some("(?P<a>y)")), &mut room).await.unwrap().len(), 1);
        assert_eq!(room, ROOM - r#"[{"a":"y"}]"#.len());
    }
}
