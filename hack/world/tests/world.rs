//! `make demo` and `make dev`, as people run them.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
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
            // Nothing goes through a proxy that is there for the world outside.
            .env("HTTP_PROXY", "http://127.0.0.1:1")
            .env("HTTPS_PROXY", "http://127.0.0.1:1")
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
        assert!(self.leftovers().is_empty(), "it has left {:?} behind after:\n{output}", self.leftovers());
        (status, output)
    }

    /// Files that it has not removed, and processes that it has not ended.
    fn leftovers(&self) -> Vec<String> {
        let folder = self.temporary.path();
        let files = fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path().display().to_string());
        files.chain(processes_of(folder)).collect()
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
fn the_demo_shows_which_versions_run_where_and_updates_after_a_change() {
    let (status, output) = Program::start(&["demo"]).end();
    assert!(status.success(), "{status}:\n{output}");
    let rows: Vec<Vec<&str>> = output.lines().map(|line| line.split_whitespace().collect()).collect();
    for row in [["app", "1.8.5", "3"], ["app", "1.9.0", "1"], ["app", "1.8.5", "2"], ["app", "1.9.0", "2"]] {
        assert!(rows.iter().any(|found| found == &row), "no row {row:?} in:\n{output}");
    }
    assert!(output.contains("workerfleet.muster.dev/web   True"), "{output}");
    assert!(output.contains("fleetreport.muster.dev/web   True"), "{output}");
}

#[test]
fn a_demo_that_is_interrupted_at_any_step_leaves_no_processes_or_folders() {
    for step in ["Starting a Kubernetes API server", "Installing muster", "Waiting for four workers", "Updating i-"] {
        let mut demo = Program::start(&["demo"]);
        demo.wait_for(step);
        demo.signal(Signal::SIGINT);
        let (status, output) = demo.end();
        assert_eq!(status.code(), Some(130), "{output}");
        assert!(output.ends_with("Stopped; nothing is left running."), "{output}");
    }
}

#[test]
fn a_demo_whose_output_is_closed_ends_and_leaves_no_processes_or_folders() {
    let mut demo = Program::start(&["demo"]);
    demo.wait_for("Starting a Kubernetes API server");
    // As `| head -1` does: the reading end of the pipe closes.
    demo.lines = channel().1;
    let status = demo.child.wait().expect("its end");
    assert_eq!(status.code(), Some(130));
    assert!(demo.leftovers().is_empty(), "it has left {:?} behind", demo.leftovers());
}

#[test]
fn a_killed_demo_leaves_no_running_processes() {
    let mut demo = Program::start(&["demo"]);
    demo.wait_for("Updating i-");
    demo.signal(Signal::SIGKILL);
    demo.child.wait().expect("its end");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !demo.leftovers().is_empty() {
        assert!(Instant::now() < deadline, "still there: {:?}", demo.leftovers());
        std::thread::yield_now();
    }
}

#[test]
fn dev_runs_until_it_is_stopped_and_its_env_file_works() {
    let mut dev = Program::start(&["dev"]);
    dev.wait_for("Ctrl-C ends all of it");
    let user = Command::new("sh")
        .args(["-c", ". .dev/env && kubectl get awsaccount default --output=name && helm list -A --short"])
        .current_dir(dev.temporary.path())
        .output()
        .expect("a shell");
    assert_eq!(String::from_utf8_lossy(&user.stdout), "awsaccount.muster.dev/default\nmuster\n", "{user:?}");
    kill(controller_of(dev.temporary.path()), Signal::SIGKILL).expect("a signal");
    dev.wait_for("The controller has ended (signal: 9 (SIGKILL)); it is restarted.");
    dev.wait_for("The controller runs again");
    dev.signal(Signal::SIGINT);
    let (status, output) = dev.end();
    assert!(status.success(), "{status}:\n{output}");
}

/// The process that runs muster, whose kubeconfig is in the folder.
fn controller_of(folder: &Path) -> Pid {
    let name = folder.display().to_string();
    let mut processes = fs::read_dir("/proc").expect("/proc").flatten().filter(|process| {
        let text = |file: &str| fs::read(process.path().join(file)).unwrap_or_default();
        String::from_utf8_lossy(&text("cmdline")).contains("/muster\0controller\0")
            && String::from_utf8_lossy(&text("environ")).contains(&name)
    });
    let process = processes.next().expect("a controller");
    Pid::from_raw(process.file_name().to_str().expect("digits").parse().expect("a process id"))
}
