//! The first build on a machine: whatever ends it, nothing of it goes on. `cargo` and `go` are shell scripts here.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use tempfile::TempDir;

/// Shorter than the `sleep 60` of the scripts: what has ended in this time was ended.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

const SLEEPS: &str = r#"
sleep 60 &
echo "sleeping: $(basename $0) at nice $(nice)" >&2
touch $MACHINE/$(basename $0)-sleeps
wait"#;
const BUILDS: &str = "exit 0";
const CARGO_FAILS: &str = "until [ -e $MACHINE/go-sleeps ]; do sleep 0.1; done; echo error: no field >&2; exit 101";
const GO_FAILS: &str =
    "until [ -e $MACHINE/cargo-sleeps ]; do sleep 0.1; done; echo a.go:1:2: undefined: b >&2; exit 1";
/// Creates the binaries, which Go names after the packages.
const GO_BUILDS: &str = r#"
mkdir -p $GOBIN
for package in "$@"; do
    case $package in
    */v3) package=server ;;
    */cmd/*) ;;
    *) continue ;;
    esac
    echo >$GOBIN/$(basename $package) && chmod +x $GOBIN/$(basename $package)
done"#;

struct Machine {
    folder: TempDir,
}

impl Machine {
    /// `cargo` and `go` say what `cargo build` and `go install` do.
    fn new(cargo: &str, go: &str) -> Self {
        let machine = Self { folder: tempfile::tempdir().expect("a folder") };
        machine.program("rustc", "echo rustc 1.95.0");
        machine.program("cargo", &format!("[ \"$1\" = build ] || exit 0\n{cargo}"));
        machine.program("go", &go_script("echo a; echo b", go));
        // Those of this machine shall not be used.
        machine.program("kubectl", "exit 1");
        machine.program("helm", "exit 1");
        machine
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.folder.path().join("bin").join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("permissions");
    }

    /// Starts a script of `hack` in a process group of its own, and without a terminal.
    fn start(&self, script: &str, arguments: &[&str], assets: &str) -> Run<'_> {
        let folder = self.folder.path();
        let path =
            std::env::join_paths([folder.join("bin"), "/usr/local/bin".into(), "/usr/bin".into(), "/bin".into()]);
        let mut child = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(script))
            .args(arguments)
            .env("PATH", path.expect("a PATH"))
            .env("MACHINE", folder)
            .env("XDG_CACHE_HOME", folder.join("cache"))
            .env("KUBEBUILDER_ASSETS", assets)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("a script");
        let stderr = BufReader::new(child.stderr.take().expect("stderr"));
        Run { machine: self, child, stderr, said: String::new() }
    }

    fn programs(&self) -> Run<'_> {
        self.start("programs.sh", &[], "")
    }

    /// The binaries that were built, and nothing else may be in the cache.
    fn built(&self) -> Vec<String> {
        let folders = names(&self.folder.path().join("cache/muster"));
        assert!(folders.len() <= 1 && folders.iter().all(|name| !name.contains("building")), "{folders:?}");
        folders.iter().flat_map(|name| names(&self.folder.path().join("cache/muster").join(name))).collect()
    }

    /// The command lines of the processes that know of this machine.
    fn processes(&self) -> Vec<String> {
        let name = self.folder.path().display().to_string();
        fs::read_dir("/proc")
            .expect("/proc")
            .flatten()
            .map(|process| process.path())
            .filter(|process| {
                let environment = fs::read(process.join("environ")).unwrap_or_default();
                String::from_utf8_lossy(&environment).contains(&name)
            })
            .map(|process| String::from_utf8_lossy(&fs::read(process.join("cmdline")).unwrap_or_default()).into_owned())
            .collect()
    }
}

struct Run<'a> {
    machine: &'a Machine,
    child: Child,
    stderr: BufReader<ChildStderr>,
    said: String,
}

impl Run<'_> {
    fn wait_for(&mut self, texts: &[&str]) {
        while !texts.iter().all(|text| self.said.contains(text)) {
            assert_ne!(self.stderr.read_line(&mut self.said).expect("a line"), 0, "no {texts:?} in:\n{}", self.said);
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Waits for its end; then nothing of it may run any more. Returns how it ended and what it said.
    fn end(mut self) -> (ExitStatus, String) {
        let asked = Instant::now();
        let status = self.child.wait().expect("its end");
        let left = self.machine.processes();
        self.stderr.read_to_string(&mut self.said).expect("text");
        assert!(left.is_empty(), "{left:?} are left after:\n{}", self.said);
        assert!(asked.elapsed() < ENDS_WITHIN, "it has waited for what it should end:\n{}", self.said);
        (status, self.said)
    }
}

fn go_script(list: &str, install: &str) -> String {
    format!("case $1 in\nenv) echo go1.26.3 ;;\nlist) {list} ;;\ninstall) {install}\n;;\nesac")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn ctrl_c_ends_both_builds() {
    let machine = Machine::new(SLEEPS, SLEEPS);
    let mut run = machine.programs();
    run.wait_for(&["sleeping: cargo", "sleeping: go"]);
    killpg(run.pid(), Signal::SIGINT).expect("Ctrl-C");
    assert_eq!(run.end().0.code(), Some(130));
    assert!(machine.built().is_empty());
}

#[test]
fn sigterm_ends_both_builds() {
    let machine = Machine::new(SLEEPS, SLEEPS);
    let mut run = machine.programs();
    run.wait_for(&["sleeping: cargo", "sleeping: go"]);
    kill(run.pid(), Signal::SIGTERM).expect("SIGTERM");
    assert_eq!(run.end().0.code(), Some(143));
    assert!(machine.built().is_empty());
}

#[test]
fn a_signal_while_modules_are_fetched_ends_both_builds() {
    let machine = Machine::new(SLEEPS, BUILDS);
    machine.program("go", &go_script(SLEEPS, BUILDS));
    let mut run = machine.programs();
    run.wait_for(&["sleeping: cargo"]);
    while !machine.folder.path().join("go-sleeps").exists() {
        std::thread::yield_now();
    }
    killpg(run.pid(), Signal::SIGINT).expect("Ctrl-C");
    assert_eq!(run.end().0.code(), Some(130));
    assert!(machine.built().is_empty());
}

#[test]
fn a_failed_build_of_muster_ends_that_of_kubernetes() {
    let machine = Machine::new(CARGO_FAILS, SLEEPS);
    let (status, said) = machine.programs().end();
    assert_eq!(status.code(), Some(101), "{said}");
    assert!(said.contains("error: no field"), "{said}");
    assert!(said.lines().last().expect("a line").contains("This failed, see its errors above: cargo build"), "{said}");
    assert!(machine.built().is_empty());
}

#[test]
fn a_failed_build_of_kubernetes_ends_that_of_muster() {
    let machine = Machine::new(SLEEPS, GO_FAILS);
    let fetches_nothing = Machine::new(SLEEPS, BUILDS);
    fetches_nothing.program("go", &go_script(GO_FAILS, BUILDS));
    for machine in [machine, fetches_nothing] {
        let (status, said) = machine.programs().end();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains("sleeping: cargo") && said.contains("undefined: b"), "{said}");
        assert!(said.lines().last().expect("a line").contains("hack/kube/build.sh"), "{said}");
        assert!(machine.built().is_empty());
    }
}

#[test]
fn kubernetes_alone_ends_with_its_script() {
    let ways: [fn(Pid) -> nix::Result<()>; 2] = [|pid| killpg(pid, Signal::SIGINT), |pid| kill(pid, Signal::SIGTERM)];
    for way in ways {
        let machine = Machine::new(BUILDS, SLEEPS);
        let mut run = machine.start("kube/build.sh", &["--all"], "");
        run.wait_for(&["sleeping: go"]);
        way(run.pid()).expect("a signal");
        let (status, said) = run.end();
        assert!(!status.success(), "{said}");
        assert!(machine.built().is_empty());
    }
}

#[test]
fn kubernetes_gets_the_time_that_rust_leaves_and_alone_all() {
    let machine = Machine::new(SLEEPS, SLEEPS);
    let own = Command::new("nice").output().expect("nice").stdout;
    let own = format!("at nice {}", String::from_utf8_lossy(&own));
    let mut run = machine.programs();
    run.wait_for(&[&format!("sleeping: cargo {own}"), "sleeping: go at nice 19\n"]);
    kill(run.pid(), Signal::SIGTERM).expect("SIGTERM");
    run.end();
    let mut run = machine.start("kube/build.sh", &[], "");
    run.wait_for(&[&format!("sleeping: go {own}")]);
    kill(run.pid(), Signal::SIGTERM).expect("SIGTERM");
    run.end();
}

#[test]
fn both_builds_succeed_and_the_second_time_nothing_of_kubernetes_is_built() {
    let machine = Machine::new(BUILDS, GO_BUILDS);
    let (status, said) = machine.programs().end();
    assert!(status.success() && said.contains("Kubernetes: done in"), "{said}");
    assert_eq!(machine.built(), ["helm", "kube-apiserver", "kubectl", "server"]);
    let (status, said) = machine.programs().end();
    assert!(status.success() && said.is_empty(), "{said}");
}

#[test]
fn the_demo_uses_the_clients_of_the_path_if_their_versions_fit() {
    let go_mod = include_str!("../../kube/go.mod");
    let minor = go_mod.split_once("k8s.io/kubernetes v1.").and_then(|(_, rest)| rest.split_once('.')).expect("v1").0;
    let minor: u32 = minor.parse().expect("a number");
    for (kubectl, helm, used) in
        [(minor, 4, true), (minor + 1, 4, true), (minor - 1, 4, true), (minor - 2, 4, false), (minor, 3, false)]
    {
        let machine = Machine::new(BUILDS, GO_BUILDS);
        machine.program("kubectl", &format!("echo Client Version: v1.{kubectl}.2; echo Kustomize Version: v5.7.1"));
        machine.program("helm", &format!("echo v{helm}.0.1+g12500dd"));
        let (status, said) = machine.programs().end();
        assert!(status.success(), "{said}");
        assert_eq!(said.contains("Using"), used, "kubectl 1.{kubectl}, helm {helm}:\n{said}");
        let expected: &[&str] =
            if used { &["kube-apiserver", "server"] } else { &["helm", "kube-apiserver", "kubectl", "server"] };
        assert_eq!(machine.built(), expected);
        assert!(machine.start("kube/build.sh", &[], "").end().0.success());
        assert_eq!(machine.built().len(), 4, "the tests use pinned versions");
    }
}

#[test]
fn with_envtest_and_helm_go_is_not_needed() {
    let machine = Machine::new(BUILDS, "exit 1");
    machine.program("go", "exit 1");
    for binary in ["etcd", "kube-apiserver", "kubectl"] {
        machine.program(binary, "exit 1");
    }
    let assets = machine.folder.path().join("bin");
    let (status, said) = machine.start("programs.sh", &[], assets.to_str().expect("UTF-8")).end();
    assert!(status.success() && said.is_empty(), "{said}");
    let (status, said) = machine.start("programs.sh", &["--all"], assets.to_str().expect("UTF-8")).end();
    assert!(!status.success() && said.contains("missing: Go"), "{said}");
    assert!(machine.built().is_empty());
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_is_built() {
    let machine = Machine::new("echo cargo runs >&2", "echo go runs >&2");
    for (script, arguments) in [
        ("programs.sh", &["--al"][..]),
        ("programs.sh", &["--all", "x"]),
        ("kube/build.sh", &["--al"]),
        ("tools.sh", &["x"]),
    ] {
        let (status, said) = machine.start(script, arguments, "").end();
        assert_eq!(status.code(), Some(2), "{said}");
        assert!(said.starts_with(&format!("usage: hack/{script} [--")) && said.lines().count() == 1, "{said}");
    }
    let (status, said) = machine.start("programs.sh", &[], "/nonexistent").end();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("KUBEBUILDER_ASSETS=/nonexistent: etcd kube-apiserver kubectl"), "{said}");
    assert!(!said.contains("runs"), "{said}");
    assert!(machine.built().is_empty());
}
