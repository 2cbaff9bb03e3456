//! Processes that cannot outlive the one that started them, whichever way that one ends.
//!
//! Two tiny shells do it, since a killed owner runs no code of its own. The *anchor* leads a process group that every
//! process started here joins. The *watchdog* stands outside of that group and holds the read end of a pipe whose only
//! writer is the owner: when the owner is gone, also by SIGKILL, the kernel closes the pipe, and the watchdog kills the
//! group and removes its folder.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Mutex,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

/// `$1` is the process group, `$2` the folder. The watchdog makes the folder itself, so that there is never one without
/// a watchdog. It kills more than once for a process that was just being started, and not until nobody answers, since the
/// dead answer too until somebody reaps them.
const WATCHDOG: &str = r#"
trap '' INT TERM HUP QUIT
umask 077
mkdir -p -- "$2" && echo ready || exit 1
exec >/dev/null
cat
for round in 1 2 3 4; do
    kill -s KILL -- "-$1" || break
    sleep 0.05
done
round=0
while [ -e "$2" ] && [ $round -lt 100 ]; do
    rm -rf -- "$2" || sleep 0.05
    round=$((round + 1))
done
"#;

/// A process group with a folder of its own. Dropping it, or dying, kills all members and removes the folder.
#[derive(Debug)]
pub struct ProcessGroup {
    folder: PathBuf,
    id: i32,
    anchor: Child,
    watchdog: Child,
}

impl ProcessGroup {
    /// Makes the group, and a folder `<name>-<random>` for it in the system's folder for temporary files.
    pub fn new(name: &str) -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("{name}-{}", uuid::Uuid::new_v4().simple()));
        let mut anchor = Command::new("cat")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .spawn()?;
        let id = anchor.id() as i32;
        let watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "muster-watchdog", &id.to_string()])
            .arg(&folder)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .current_dir("/")
            .spawn();
        let mut watchdog = match watchdog {
            Ok(watchdog) => watchdog,
            Err(error) => {
                end(&mut anchor);
                return Err(error);
            }
        };
        let mut answer = String::new();
        if let Some(stdout) = watchdog.stdout.take() {
            BufReader::new(stdout).read_line(&mut answer)?;
        }
        let group = Self { folder, id, anchor, watchdog };
        match answer.trim() {
            "ready" => Ok(group),
            _ => Err(io::Error::other(format!("cannot make the folder {}", group.folder.display()))),
        }
    }

    /// The number that members pass to `process_group`.
    pub fn id(&self) -> i32 {
        self.id
    }

    /// The folder that goes away with the group.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts `command` as a member, with its output in `log`.
    pub fn spawn(&self, mut command: Command, log: &Path) -> io::Result<Process> {
        let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let output = File::options().create(true).append(true).open(log)?;
        let child = command
            .process_group(self.id)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("cannot start {name}: {error}")))?;
        Ok(Process { name, log: log.to_owned(), child: Mutex::new(child) })
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        // The anchor is a member not yet waited for, so the number cannot have passed to another group.
        let _ = killpg(Pid::from_raw(self.id), Signal::SIGKILL);
        end(&mut self.anchor);
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}

/// A member of a [`ProcessGroup`]. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Mutex<Child>,
}

impl Process {
    /// The process id.
    pub fn id(&self) -> u32 {
        self.child().id()
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.child().try_wait().ok().flatten()
    }

    /// Kills it with no chance to tidy up, and waits for its end.
    pub fn kill(&self) {
        end(&mut self.child());
    }

    /// Asks it to end, as Kubernetes does with a container. [`Self::ended`] tells when it has.
    pub fn terminate(&self) -> io::Result<()> {
        let mut child = self.child();
        if child.try_wait()?.is_none() {
            nix::sys::signal::kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM)?;
        }
        Ok(())
    }

    /// An error text for a process that ended when it should not have: its name, its exit status, and the end of its log.
    pub fn unexpected_exit(&self, status: ExitStatus) -> String {
        format!("{} ended unexpectedly ({status}); the end of its log:\n{}", self.name, self.log_tail())
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let mut text = Vec::new();
        let _ = File::open(&self.log).and_then(|mut log| log.read_to_end(&mut text));
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}
