//! The only reader of the environment in this package.

use std::{ffi::OsString, path::PathBuf};

use anyhow::{Context, Result};

#[expect(clippy::disallowed_methods, reason = "this module is the package's only reader of the environment")]
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// A cluster to use instead of starting one.
pub(crate) fn test_kubeconfig() -> Option<PathBuf> {
    variable("MUSTER_TEST_KUBECONFIG").map(PathBuf::from)
}

/// The folder of the binaries of setup-envtest.
pub(crate) fn kubebuilder_assets() -> Option<PathBuf> {
    variable("KUBEBUILDER_ASSETS").map(PathBuf::from)
}

/// The cache of this project: `muster` in the cache folder of the user.
pub fn cache_folder() -> Result<PathBuf> {
    variable("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .map(|cache| cache.join("muster"))
        .context("neither XDG_CACHE_HOME nor HOME is set, so there is no cache folder")
}

/// The folders of PATH.
pub(crate) fn path() -> Vec<PathBuf> {
    variable("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default()
}

/// The value of PATH.
pub(crate) fn path_text() -> Option<String> {
    variable("PATH").and_then(|path| path.into_string().ok())
}

/// The folder of the running program.
pub(crate) fn own_folder() -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find the path of this program")?;
    Ok(own.parent().context("a program without a folder")?.to_owned())
}
