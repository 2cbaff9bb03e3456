//! Kubeconfigs: written for other programs, and read into the configuration of a client.

use std::{fs, path::Path};

use anyhow::Result;
use kube::{
    Config,
    config::{KubeConfigOptions, Kubeconfig},
};

pub(super) async fn config(kubeconfig: &Kubeconfig) -> Result<Config> {
    let mut config = Config::from_custom_kubeconfig(kubeconfig.clone(), &KubeConfigOptions::default()).await?;
    // kube uses HTTPS_PROXY for loopback too, unlike kubectl.
    if matches!(config.cluster_url.host(), Some("127.0.0.1" | "localhost" | "[::1]")) {
        config.proxy_url = None;
    }
    Ok(config)
}

pub(super) fn write(path: &Path, kubeconfig: &Kubeconfig) -> Result<()> {
    // JSON is YAML too.
    Ok(fs::write(path, serde_json::to_vec_pretty(kubeconfig)?)?)
}
