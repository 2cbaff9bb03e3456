//! `make demo` and `make dev`, as people run them.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

const LINE_WITHIN: Duration = Duration::from_secs(180);

/// `muster-world` with a folder of its own for whatever it leaves lying about.
struct Program {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    temporary: TempDir,
}

impl Program {
    fn start(arguments: &[&str]) -> Self {
        let temporary = tempfile::tempdir().expect("a folder");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut child = Command::new(env!("CARGO_BIN_EXE_muster-world"))
            .args(arguments)
            .arg("--root")
            .arg(root)
            .env("TMPDIR", temporary.path())
            .current_dir(temporary.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("muster-world");
        let stdout = BufReader::new(child.stdout.take().expect("stdout"));
        let (send, lines) = channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        Self { child, lines, seen: Vec::new(), temporary }
    }

    /// Reads until a line contains `text`.
    fn wait_for(&mut self, text: &str) {
        while !self.seen.last().is_some_and(|line| line.contains(text)) {
            match self.lines.recv_timeout(LINE_WITHIN) {
                Ok(line) => self.seen.push(line),
                Err(error) => panic!("waited in vain for {text:?} ({error}) after:\n{}", self.seen.join("\n")),
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("a signal");
    }

    /// Waits for its end; then nothing of it may be left. Returns how it ended and what it printed.
    fn end(mut self) -> (ExitStatus, String) {
        while let Ok(line) = self.lines.recv_timeout(LINE_WITHIN) {
            self.seen.push(line);
        }
        let status = self.child.wait().expect("its end");
        let output = self.seen.join("\n");
        let left: Vec<PathBuf> =
            fs::read_dir(self.temporary.path()).expect("a folder").flatten().map(|entry| entry.path()).collect();
        assert!(left.is_empty(), "it has left {left:?} behind after:\n{output}");
        let processes = processes_of(self.temporary.path());
        assert!(processes.is_empty(), "it has left {processes:?} running after:\n{output}");
        (status, output)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command lines of the processes that were told of a folder, by argument or by environment.
fn processes_of(folder: &Path) -> Vec<String> {
    let name = folder.display().to_string();
    fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .map(|process| process.path())
        .filter(|process| {
            ["cmdline", "environ"].iter().any(|file| {
                fs::read(process.join(file)).is_ok_and(|text| String::from_utf8_lossy(&text).contains(&name))
            })
        })
        .filter_map(|process| fs::read(process.join("cmdline")).ok())
        .map(|command| String::from_utf8_lossy(&command).replace('\0', " "))
        .collect()
}

#[test]
fn dev_stays_up_for_whoever_sources_its_env() {
    let mut dev = Program::start(&["dev"]);
    dev.wait_for("Ctrl-C ends all of it");
    let user = Command::new("sh")
        .args(["-c", ". .dev/env && kubectl get awsaccount default --output=name && helm list -A --short"])
        .current_dir(dev.temporary.path())
        .output()
        .expect("a shell");
    assert_eq!(String::from_utf8_lossy(&user.stdout), "awsaccount.muster.dev/default\nmuster\n", "{user:?}");
    dev.signal(Signal::SIGINT);
    let (status, output) = dev.end();
    assert!(status.success(), "{status}:\n{output}");
}
