//! A machine that lacks something is told so before anything is built.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::{Command, Output},
};

use tempfile::TempDir;

/// Runs the check on a machine that has nothing but the usual small programs and `programs`, which are shell scripts.
fn check(programs: &[(&str, &str)]) -> Output {
    let machine: TempDir = tempfile::tempdir().expect("a folder");
    for usual in ["dirname", "head", "mktemp", "rm", "sed", "sort", "tail"] {
        let program =
            ["/usr/bin", "/bin"].iter().map(|folder| Path::new(folder).join(usual)).find(|path| path.exists());
        symlink(program.expect(usual), machine.path().join(usual)).expect("a link");
    }
    for (name, script) in programs {
        let path = machine.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("permissions");
    }
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools.sh");
    Command::new("/bin/sh").arg(tools).arg("--python").env_clear().env("PATH", machine.path()).output().expect("sh")
}

fn complaints(output: &Output) -> Vec<String> {
    let said = String::from_utf8_lossy(&output.stderr);
    said.lines().filter_map(|line| line.strip_prefix("missing: ")).map(str::to_owned).collect()
}

const RUST: &str = "echo rustc 1.95.0";
const GO: &str = "echo go1.26.3";
const NOTHING: &str = "exit 0";

#[test]
fn a_bare_machine_is_told_all_at_once() {
    let output = check(&[]);
    assert!(!output.status.success());
    assert_eq!(complaints(&output), ["Rust 1.95.0", "Go 1.26 or newer", "a C compiler", "Python 3.10 or newer"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("Nothing was built"), "{output:?}");
}

#[test]
fn a_machine_that_has_all_is_left_in_peace() {
    let output = check(&[("cargo", RUST), ("rustc", RUST), ("go", GO), ("cc", NOTHING), ("python3", NOTHING)]);
    assert!(output.status.success() && output.stderr.is_empty() && output.stdout.is_empty(), "{output:?}");
}

#[test]
fn what_is_too_old_or_broken_is_named() {
    let output = check(&[
        ("cargo", "echo cargo 1.80.0"),
        ("rustc", "echo rustc 1.80.0"),
        ("go", "echo go1.9.7"),
        ("cc", "exit 1"),
        ("python3", "case \"$2\" in *ensurepip*) exit 1 ;; esac"),
    ]);
    assert_eq!(
        complaints(&output),
        [
            "Rust 1.95.0 (this is rustc 1.80.0)",
            "Go 1.26 or newer (this is 1.9.7)",
            "what a C compiler needs to make a program (headers of the C library)",
            "Python's venv",
        ]
    );
}
