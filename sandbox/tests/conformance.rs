//! Holds the sandbox to the world: boto3, which parses with AWS's own models, drives it through the scenarios in
//! `conformance/`. The same scenarios run against moto where moto has the operation; `moto_differences.py` lists where
//! moto does otherwise than AWS, and the list must be exact.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;

use anyhow::{Context, ensure};
use muster_sandbox::{ClockMode, Sandbox, SandboxConfig};
use serde::Deserialize;
use sha2::{Digest, Sha256};

#[derive(Debug, Deserialize)]
struct Verdict {
    scenario: String,
    outcome: Outcome,
    detail: String,
    /// Why moto is known to fail it.
    differs: Option<String>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Ok,
    Failed,
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_does_what_aws_does() -> anyhow::Result<()> {
    let config = SandboxConfig { clock: ClockMode::Manual, ..SandboxConfig::default() };
    let sandbox = Sandbox::start(config).await?;
    let verdicts = run(&["sandbox", &sandbox.endpoint()]).await?;
    sandbox.stop().await;
    let failed: Vec<String> = verdicts
        .iter()
        .filter(|verdict| verdict.outcome == Outcome::Failed)
        .map(|verdict| format!("{}: {}", verdict.scenario, verdict.detail))
        .collect();
    ensure!(failed.is_empty(), "{} of {} scenarios failed:\n{}", failed.len(), verdicts.len(), failed.join("\n"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn moto_agrees_but_for_the_listed_differences() -> anyhow::Result<()> {
    let verdicts = run(&["moto"]).await?;
    let wrong: Vec<String> = verdicts
        .iter()
        .filter_map(|Verdict { scenario, outcome, detail, differs }| match (outcome, differs) {
            (Outcome::Ok, None) | (Outcome::Failed, Some(_)) => None,
            (Outcome::Failed, None) => Some(format!("{scenario}: moto fails it, who is right? {detail}")),
            (Outcome::Ok, Some(reason)) => Some(format!("{scenario}: moto passes it, but is said to differ: {reason}")),
        })
        .collect();
    ensure!(wrong.is_empty(), "moto_differences.py is not true:\n{}", wrong.join("\n"));
    Ok(())
}

async fn run(arguments: &[&str]) -> anyhow::Result<Vec<Verdict>> {
    let python = tokio::task::spawn_blocking(python).await??;
    let output = tokio::process::Command::new(&python)
        // Leaves no bytecode beside the sources.
        .arg("-B")
        .arg(conformance_folder().join("run.py"))
        .args(arguments)
        // No profile, proxy or endpoint of the user's reaches boto3.
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("cannot start {}", python.display()))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the scenarios ended early ({}):\n{errors}", output.status);
    let verdicts = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("not a verdict: {line}")))
        .collect::<anyhow::Result<Vec<Verdict>>>()?;
    ensure!(!verdicts.is_empty(), "no scenario ran:\n{errors}");
    Ok(verdicts)
}

fn conformance_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance")
}

/// The interpreter of an environment with the pinned requirements, made once for each set of them.
fn python() -> anyhow::Result<PathBuf> {
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let made = MADE.get_or_init(|| make_environment().map_err(|error| format!("{error:#}")));
    made.clone().map_err(anyhow::Error::msg)
}

fn make_environment() -> anyhow::Result<PathBuf> {
    let requirements = conformance_folder().join("requirements.txt");
    let pinned = std::fs::read(&requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
    let cache = cache_folder()?.join("muster");
    let environment = cache.join(format!("python-{}", &hex::encode(Sha256::digest(&pinned))[..12]));
    if environment.is_dir() {
        return Ok(environment.join("bin/python"));
    }
    eprintln!("Making a Python environment in {} (about 20 s, once) ...", environment.display());
    std::fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    // Made under another name, so that a run that is cut short leaves nothing that looks complete.
    let unfinished = tempfile::tempdir_in(&cache).context("cannot make a folder for a Python environment")?;
    let python = unfinished.path().join("bin/python");
    finish(std::process::Command::new("python3").args(["-m", "venv"]).arg(unfinished.path()))
        .context("the conformance test needs python3 with its venv module (on Debian: apt install python3-venv)")?;
    finish(
        std::process::Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
            .arg(&requirements),
    )
    .context("pip cannot install what the conformance test needs")?;
    match std::fs::rename(unfinished.path(), &environment) {
        Ok(()) => {}
        // Somebody else was faster.
        Err(_) if environment.is_dir() => {}
        Err(error) => return Err(error).with_context(|| format!("cannot make {}", environment.display())),
    }
    Ok(environment.join("bin/python"))
}

fn finish(command: &mut std::process::Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {command:?}"))?;
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{command:?} failed ({}):\n{out}{errors}", output.status);
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the user's cache folder is known by the environment only")]
fn cache_folder() -> anyhow::Result<PathBuf> {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    from("XDG_CACHE_HOME")
        .or_else(|| from("HOME").map(|home| home.join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set: where may the Python environment be kept?")
}
