//! A command's output, read with a regular expression. Time and output are bounded.

use std::process::{ExitStatus, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};

use super::{Entry, LARGEST, SourceError};
use crate::config::CommandSource;

/// The first group of the match, or all of it; without a regular expression, the first line that is not empty.
pub(super) async fn value(source: &CommandSource) -> Result<String, SourceError> {
    let output = run(source).await?;
    let found = match &source.regex {
        Some(regex) => regex
            .captures(&output)
            .and_then(|captures| captures.get(1).or_else(|| captures.get(0)))
            .map(|found| found.as_str().trim().to_owned()),
        None => output.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned),
    };
    found.ok_or_else(|| no_match(source, &output))
}

/// An entry for each match, with a field for each named group. No match is no process, which is a fact too.
pub(super) async fn entries(source: &CommandSource) -> Result<Vec<Entry>, SourceError> {
    let output = run(source).await?;
    let Some(regex) = &source.regex else { return Ok(Vec::new()) };
    let names: Vec<&str> = regex.capture_names().flatten().collect();
    let entry = |captures: regex_lite::Captures<'_>| {
        let fields = names.iter().filter_map(|name| Some((*name, captures.name(name)?.as_str())));
        fields.map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
    };
    Ok(regex.captures_iter(&output).map(entry).collect())
}

fn no_match(source: &CommandSource, output: &str) -> SourceError {
    SourceError::NoMatch { program: source.program.clone(), start: output.chars().take(80).collect() }
}

async fn run(source: &CommandSource) -> Result<String, SourceError> {
    let program = || source.program.clone();
    // A group of its own, so that what it starts ends with it.
    let mut child = Command::new(&source.program)
        .args(&source.arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| SourceError::Start { program: program(), source })?;
    let group = child.id();
    let ended = tokio::time::timeout(source.timeout, collect(&mut child)).await;
    if !matches!(ended, Ok(Ok(_))) {
        end(group);
    }
    let Ok(ended) = ended else {
        return Err(SourceError::TimedOut { program: program(), seconds: source.timeout.as_secs() });
    };
    let Collected { stdout, stderr, status } =
        ended.map_err(|source| SourceError::Output { program: program(), source })?;
    let Some(stdout) = stdout else {
        end(group);
        return Err(SourceError::TooMuchOutput { program: program() });
    };
    if !status.is_some_and(|status| status.success()) {
        let stderr = String::from_utf8_lossy(&stderr.unwrap_or_default()).trim().chars().take(200).collect();
        return Err(SourceError::Failed { program: program(), status: status.unwrap_or_default(), stderr });
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

struct Collected {
    /// None: more than is taken.
    stdout: Option<Vec<u8>>,
    stderr: Option<Vec<u8>>,
    /// None when the command was not waited for.
    status: Option<ExitStatus>,
}

async fn collect(child: &mut Child) -> std::io::Result<Collected> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (stdout, stderr) = tokio::try_join!(bounded(stdout), bounded(stderr))?;
    let status = if stdout.is_some() { Some(child.wait().await?) } else { None };
    Ok(Collected { stdout, stderr, status })
}

async fn bounded(pipe: Option<impl AsyncRead + Unpin>) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(LARGEST + 1).read_to_end(&mut bytes).await?;
    }
    Ok((bytes.len() as u64 <= LARGEST).then_some(bytes))
}

fn end(group: Option<u32>) {
    let Some(group) = group.and_then(|id| i32::try_from(id).ok()) else { return };
    // Gone already is what is wanted.
    let _gone = killpg(Pid::from_raw(group), Signal::SIGKILL);
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
    #[case::whole_match("echo 'v1.2'", Some(r"\d+\.\d+"), "1.2")]
    #[tokio::test]
    async fn a_version_is_read(#[case] script: &str, #[case] regex: Option<&str>, #[case] expected: &str) {
        assert_eq!(value(&shell(script, regex)).await.unwrap(), expected);
    }

    #[rstest]
    #[case::failed("echo broken >&2; exit 3", None, "`sh` ended with exit status: 3: broken")]
    #[case::no_match("echo nothing", Some("version"), "does not match `regex`: it starts with \"nothing\\n\"")]
    #[case::empty("true", None, "does not match")]
    #[case::endless("yes", None, "`sh` wrote more than 1048576 bytes")]
    #[tokio::test]
    async fn what_is_wrong_is_said(#[case] script: &str, #[case] regex: Option<&str>, #[case] expected: &str) {
        let error = value(&shell(script, regex)).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_ended_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let mut source = shell(&format!("sleep 600 & echo $! > {}; wait", pid.display()), None);
        source.timeout = Duration::from_secs(1);
        let error = value(&source).await.unwrap_err();
        assert!(matches!(error, SourceError::TimedOut { seconds: 1, .. }), "{error}");
        let pid: i32 = std::fs::read_to_string(pid).unwrap().trim().parse().unwrap();
        let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Killed, and gone as soon as whoever adopted it looks.
        while !state().is_empty() && !state().contains(") Z ") {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
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
