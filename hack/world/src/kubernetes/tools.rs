//! Runs kubectl and helm.

use std::{ffi::OsStr, path::Path, process::Stdio};

use anyhow::{Context, Result, bail};
use tokio::{io::AsyncWriteExt, process::Command};

use super::KubeApi;

impl KubeApi {
    /// Runs kubectl as the administrator and returns its output. An error contains its error output.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        run(self.command(&self.clients.kubectl), arguments, "").await
    }

    /// The same with an input: `kubectl_with_input(&["apply", "-f", "-"], manifest)`.
    pub async fn kubectl_with_input(&self, arguments: &[&str], input: &str) -> Result<String> {
        run(self.command(&self.clients.kubectl), arguments, input).await
    }

    /// Runs helm as the administrator and returns its output.
    pub async fn helm(&self, arguments: &[&str]) -> Result<String> {
        run(self.command(&self.clients.helm), arguments, "").await
    }

    /// The folders of kubectl and helm.
    pub fn tool_folders(&self) -> Vec<&Path> {
        let mut folders: Vec<&Path> =
            [&self.clients.kubectl, &self.clients.helm].into_iter().filter_map(|path| path.parent()).collect();
        folders.dedup();
        folders
    }

    /// The folders of their caches and settings, so that those of the user are not used.
    pub fn tool_environment(&self) -> Vec<(&'static str, std::path::PathBuf)> {
        let home = self.folder().join("tools");
        vec![
            ("KUBECONFIG", self.kubeconfig().to_owned()),
            ("KUBECACHEDIR", home.join("kubectl")),
            ("HELM_CACHE_HOME", home.join("helm/cache")),
            ("HELM_CONFIG_HOME", home.join("helm/config")),
            ("HELM_DATA_HOME", home.join("helm/data")),
        ]
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.envs(self.tool_environment());
        command
    }
}

async fn run(mut command: Command, arguments: &[&str], input: &str) -> Result<String> {
    let program = command.as_std().get_program().to_owned();
    let name = Path::new(&program).file_name().unwrap_or(OsStr::new("program")).to_string_lossy().into_owned();
    let mut child = command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    let write = async move {
        // A program may close its input without reading it; that is no error.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
    };
    let ((), output) = tokio::join!(write, child.wait_with_output());
    let output = output?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        bail!("{name} {}: {}", arguments.join(" "), words.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
