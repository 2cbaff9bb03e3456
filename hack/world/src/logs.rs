//! Logs of a command that are of interest only if something fails.

use std::{
    cell::Cell,
    fs,
    path::{Display, Path, PathBuf},
};

use anyhow::{Context, Result};
use nix::{sys::signal::kill, unistd::Pid};

use crate::environment;

/// A folder that goes with this value, unless it is kept until the same command runs again.
#[derive(Debug)]
pub(crate) struct Logs {
    folder: PathBuf,
    kept: Cell<bool>,
}

impl Logs {
    /// For one run of `command`.
    pub(crate) fn make(command: &str) -> Result<Self> {
        let all = environment::cache_folder()?.join("logs");
        remove_logs_of_ended_processes(&all, command);
        let folder = all.join(format!("{command}-{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self { folder, kept: Cell::new(false) })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn keep(&self) -> Display<'_> {
        self.kept.set(true);
        self.folder.display()
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        if !self.kept.get() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

fn remove_logs_of_ended_processes(logs: &Path, command: &str) {
    for folder in fs::read_dir(logs).into_iter().flatten().flatten() {
        let name = folder.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(command)?.strip_prefix('-')?.parse().ok());
        if owner.is_some_and(|pid| kill(Pid::from_raw(pid), None).is_err()) {
            let _ = fs::remove_dir_all(folder.path());
        }
    }
}
