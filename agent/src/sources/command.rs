//! A command's output, read with a regular expression. Time and output are bounded.

use std::process::{ExitStatus, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};

use super::error::SourceError;
use super::limits::{LARGEST, MOST_ENTRIES};
use crate::config::CommandSource;
use crate::report::Entry;

const COMPLAINT: u64 = 4096;

/// The first group that matched, or the whole match; without a regular expression, the first line that is not empty.
pub(super) async fn value(source: &CommandSource) -> Result<String, SourceError> {
    let output = run(source).await?;
    let program = || source.program.clone();
    match &source.regex {
        Some(regex) => {
            let captures = regex
                .captures(&output)
                .ok_or_else(|| SourceError::NoMatch { program: program(), start: output.chars().take(80).collect() })?;
            let found = captures.iter().skip(1).flatten().next().or_else(|| captures.get(0));
            Ok(found.map_or("", |found| found.as_str().trim()).to_owned())
        }
        None => {
            let line = output.lines().map(str::trim).find(|line| !line.is_empty());
            line.map(str::to_owned).ok_or_else(|| SourceError::NoOutput { program: program() })
        }
    }
}

/// An entry for each match, with a field for each named group. No match means that no process runs. Stops at one entry
/// more than the limit.
pub(super) async fn entries(source: &CommandSource) -> Result<Vec<Entry>, SourceError> {
    let output = run(source).await?;
    let Some(regex) = &source.regex else { return Ok(Vec::new()) };
    let names: Vec<&str> = regex.capture_names().flatten().collect();
    let entry = |captures: regex_lite::Captures<'_>| {
        let fields = names.iter().filter_map(|name| Some((*name, captures.name(name)?.as_str())));
        fields.map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
    };
    Ok(regex.captures_iter(&output).map(entry).take(MOST_ENTRIES + 1).collect())
}

async fn run(source: &CommandSource) -> Result<String, SourceError> {
    let program = || source.program.clone();
    // A separate process group, so that its child processes are killed with it.
    let mut child = Command::new(&source.program)
        .args(&source.arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| SourceError::Start { program: program(), source })?;
    let _group = Group(child.id());
    let Ok(ended) = tokio::time::timeout(source.timeout, collect(&mut child)).await else {
        return Err(SourceError::TimedOut { program: program(), seconds: source.timeout.as_secs() });
    };
    match ended.map_err(|source| SourceError::Output { program: program(), source })? {
        Collected::TooMuch => Err(SourceError::TooMuchOutput { program: program() }),
        Collected::All { status, stderr, stdout: _ } if !status.success() => {
            let stderr = String::from_utf8_lossy(&stderr).trim().chars().take(200).collect();
            Err(SourceError::Failed { program: program(), status, stderr })
        }
        Collected::All { stdout, .. } => Ok(String::from_utf8_lossy(&stdout).into_owned()),
    }
}

/// The processes of a command. They are killed when this value is dropped: after the command has ended, after its
/// timeout, and when the agent is stopped.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let Some(group) = self.0.and_then(|id| i32::try_from(id).ok()) else { return };
        // It is no error if the process has already ended.
        let _gone = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
}

enum Collected {
    /// The output exceeded the limit, so the command was not waited for.
    TooMuch,
    All {
        stdout: Vec<u8>,
        stderr: Vec<u8>,
        status: ExitStatus,
    },
}

async fn collect(child: &mut Child) -> std::io::Result<Collected> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (stdout, stderr) = tokio::try_join!(beginning(stdout, LARGEST + 1), error_output(stderr))?;
    if stdout.len() as u64 > LARGEST {
        return Ok(Collected::TooMuch);
    }
    Ok(Collected::All { stdout, stderr, status: child.wait().await? })
}

async fn beginning(pipe: Option<impl AsyncRead + Unpin>, most: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(most).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// The beginning of the error output of a command. The rest is read too, because a closed pipe would kill the command.
async fn error_output(mut pipe: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let kept = beginning(pipe.as_mut(), COMPLAINT).await?;
    if let Some(mut pipe) = pipe {
        tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use regex_lite::Regex;
    use rstest::rstest;

    use super::*;

    fn shell(script: &str, regex: Option<&str>) -> CommandSource {
        CommandSource {
            program: "sh".into(),
            arguments: vec!["-c".into(), script.into()],
            regex: regex.map(|regex| Regex::new(regex).unwrap()),
            timeout: Duration::from_secs(10),
        }
    }

    #[rstest]
    #[case::first_line("echo; echo '  1.2.3 '; echo more", None, "1.2.3")]
    #[case::group("echo 'app version red-1.8.5 (x86)'", Some(r"version (\S+)"), "red-1.8.5")]
    #[case::group_of_the_branch_that_matched("echo 'b 2'", Some(r"a (\d)|b (\d)"), "2")]
    #[case::loud("head -c 2000000 /dev/zero >&2 && echo 1.2", None, "1.2")]
    #[case::whole_match("echo 'v1.2'", Some(r"\d+\.\d+"), "1.2")]
    #[tokio::test]
    async fn a_version_is_read(#[case] script: &str, #[case] regex: Option<&str>, #[case] expected: &str) {
        assert_eq!(value(&shell(script, regex)).await.unwrap(), expected);
    }

    #[rstest]
    #[case::failed("echo broken >&2; exit 3", None, "`sh` ended with exit status: 3: broken")]
    #[case::no_match("echo nothing", Some("version"), "does not match `regex`: it starts with \"nothing\\n\"")]
    #[case::empty("true", None, "`sh` wrote no text to its standard output")]
    #[case::endless("yes", None, "`sh` wrote more than 1048576 bytes")]
    #[tokio::test]
    async fn errors_state_the_problem(#[case] script: &str, #[case] regex: Option<&str>, #[case] expected: &str) {
        let error = value(&shell(script, regex)).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_killed_with_its_child_processes() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let mut source = shell(&format!("sleep 600 & echo $! > {}; wait", pid.display()), None);
        source.timeout = Duration::from_secs(1);
        let error = value(&source).await.unwrap_err();
        assert!(matches!(error, SourceError::TimedOut { seconds: 1, .. }), "{error}");
        let pid: i32 = std::fs::read_to_string(pid).unwrap().trim().parse().unwrap();
        wait_for_end(pid).await;
    }

    #[tokio::test]
    async fn background_processes_of_a_command_are_killed() {
        let script = "sleep 600 >/dev/null 2>&1 & echo $!";
        let pid: i32 = value(&shell(script, None)).await.unwrap().parse().unwrap();
        wait_for_end(pid).await;
    }

    #[tokio::test]
    async fn a_command_is_killed_when_its_check_is_cancelled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        let source = shell(&format!("sleep 600 & echo $! > {0}.new; mv {0}.new {0}; wait", path.display()), None);
        let mut looking = Box::pin(value(&source));
        let pid: i32 = loop {
            tokio::select! {
                biased;
                ended = &mut looking => panic!("{ended:?}"),
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
            }
            if let Ok(text) = std::fs::read_to_string(&path) {
                break text.trim().parse().unwrap();
            }
        };
        drop(looking);
        wait_for_end(pid).await;
    }

    /// Killed: it disappears as soon as its parent process reaps it.
    async fn wait_for_end(pid: i32) {
        let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        while !state().is_empty() && !state().contains(") Z ") {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let source = CommandSource { program: "/nonexistent/app".into(), ..shell("", None) };
        assert_eq!(value(&source).await.unwrap_err().to_string(), "cannot start `/nonexistent/app`");
    }

    #[tokio::test]
    async fn each_match_is_an_entry() {
        let source = shell("echo 'a=1 b=2'; echo 'a=3'", Some(r"a=(?P<module_A>\d)( b=(?P<module_B>\d))?"));
        let entries = entries(&source).await.unwrap();
        assert_eq!(serde_json::to_string(&entries).unwrap(), r#"[{"module_A":"1","module_B":"2"},{"module_A":"3"}]"#);
    }
}
