//! The application's version and processes, read from the configured sources.

mod command;
mod error;
mod files;
mod json;
mod limits;
mod open;
mod read;

use std::time::Duration;

use tokio::sync::Semaphore;

use crate::config::Source;
use crate::report::Entry;
pub use error::SourceError;
use limits::{LONGEST_VALUE, MOST_ENTRIES};

/// A file system that hangs must not delay the report.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

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

/// A list of objects, which reduces the `room` that is left for processes in the report.
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

/// Reads files in a separate thread, one source at a time. If a file system hangs, only this thread hangs: the agent
/// still reports the other sources and still stops on a signal.
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
    async fn a_pipe_is_rejected_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let error = value(&Source::Json(JsonSource { path, pointer: String::new() })).await.unwrap_err();
        assert!(error.to_string().ends_with("/pipe is not a regular file"), "{error}");
    }

    #[tokio::test]
    async fn a_file_system_that_hangs_blocks_one_thread_and_no_report() {
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
    async fn a_value_that_is_not_a_version_is_rejected() {
        let error = value(&shell("printf %02000d 7", None)).await.unwrap_err().to_string();
        assert_eq!(error, "`sh` has 2000 bytes, and a version can have at most 1024");
    }

    #[tokio::test]
    async fn a_value_that_would_fill_the_report_is_rejected_with_its_source() {
        let many = shell("yes | head -n 1001", Some("(?P<a>y)"));
        let error = entries(&many, &mut ROOM.clone()).await.unwrap_err().to_string();
        assert_eq!(error, "`sh` has more than 1000 entries");

        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.conf"), format!("a = {}", "\u{1}".repeat(200_000))).unwrap();
        let pattern = folder.path().join("*.conf").display().to_string();
        let large = Source::Files(FilesSource { pattern: pattern.clone(), keys: Vec::new() });
        let mut room = ROOM;
        let error = entries(&large, &mut room).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("{pattern} has 12000")), "{error}");
        assert_eq!(room, ROOM);
        assert_eq!(entries(&shell("echo y", Some("(?P<a>y)")), &mut room).await.unwrap().len(), 1);
        assert_eq!(room, ROOM - r#"[{"a":"y"}]"#.len());
    }
}
