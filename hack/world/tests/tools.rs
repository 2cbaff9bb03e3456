//! Missing tools are named before anything is built.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::{Command, Output},
};

use tempfile::TempDir;

/// Runs the check for everything with only the usual small programs and `programs`, which are shell scripts, in the PATH.
fn check(programs: &[(&str, &str)]) -> Output {
    check_for(&["--go", "--world"], "", programs)
}

fn check_for(options: &[&str], assets: &str, programs: &[(&str, &str)]) -> Output {
    let host: TempDir = tempfile::tempdir().expect("a folder");
    for usual in ["dirname", "head", "mktemp", "rm", "sed", "sort", "tail"] {
        let program =
            ["/usr/bin", "/bin"].iter().map(|folder| Path::new(folder).join(usual)).find(|path| path.exists());
        symlink(program.expect(usual), host.path().join(usual)).expect("a link");
    }
    for (name, script) in programs {
        let path = host.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("permissions");
    }
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools.sh");
    Command::new("/bin/sh")
        .arg(tools)
        .args(options)
        .env_clear()
        .env("PATH", host.path())
        .env("KUBEBUILDER_ASSETS", assets)
        .output()
        .expect("sh")
}

fn messages(output: &Output) -> Vec<String> {
    let said = String::from_utf8_lossy(&output.stderr);
    said.lines().filter_map(|line| line.strip_prefix("missing: ")).map(str::to_owned).collect()
}

const RUST: &str = "echo rustc 1.95.0";
const GO: &str = "echo go1.26.3";
const NOTHING: &str = "exit 0";

#[test]
fn all_missing_tools_are_named_in_one_message() {
    let output = check(&[]);
    assert!(!output.status.success());
    assert_eq!(messages(&output), ["Rust 1.95.0", "Go 1.26 or newer", "a C compiler", "Python 3.10 or newer"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("Nothing was built"), "{output:?}");
}

#[test]
fn a_host_with_all_tools_gets_no_message() {
    let output = check(&[("cargo", RUST), ("rustc", RUST), ("go", GO), ("cc", NOTHING), ("python3", NOTHING)]);
    assert!(output.status.success() && output.stderr.is_empty() && output.stdout.is_empty(), "{output:?}");
}

#[test]
fn tools_that_are_too_old_or_broken_are_named() {
    let output = check(&[
        ("cargo", "echo cargo 1.80.0"),
        ("rustc", "echo rustc 1.80.0"),
        ("go", "echo go1.9.7"),
        ("cc", "exit 1"),
        ("python3", "case \"$2\" in *ensurepip*) exit 1 ;; esac"),
    ]);
    assert_eq!(
        messages(&output),
        [
            "Rust 1.95.0 (this is rustc 1.80.0)",
            "Go 1.26 or newer (this is 1.9.7)",
            "what a C compiler needs to make a program (headers of the C library)",
            "Python's venv",
        ]
    );
}

#[test]
fn go_and_python_are_asked_of_those_who_need_them() {
    let compilers = [("cargo", RUST), ("rustc", RUST), ("cc", NOTHING)];
    assert!(check_for(&[], "", &compilers).status.success());
    assert_eq!(messages(&check_for(&["--world"], "", &compilers)), ["Python 3.10 or newer"]);
    assert_eq!(messages(&check_for(&["--go"], "", &compilers)), ["Go 1.26 or newer", "Python 3.10 or newer"]);
    assert_eq!(check_for(&["--python"], "", &compilers).status.code(), Some(2), "there is no such option");
}

#[test]
fn envtest_binaries_that_are_not_there_are_named() {
    let all = [("cargo", RUST), ("rustc", RUST), ("go", GO), ("cc", NOTHING), ("python3", NOTHING)];
    let output = check_for(&["--world"], "/nonexistent", &all);
    assert!(!output.status.success());
    assert_eq!(messages(&output), ["in KUBEBUILDER_ASSETS=/nonexistent: etcd kube-apiserver kubectl"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("setup-envtest use -p path"), "{output:?}");
    assert!(check_for(&["--go"], "/nonexistent", &all).status.success(), "a build of Kubernetes does not use them");
}
