//! Finds the binaries: in the folder of envtest, or built by `make kube`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::environment;

/// Pins the versions, and identifies a build. `hack/kube/build.sh` computes the same.
const GO_MOD: &[u8] = include_bytes!("../../../kube/go.mod");
const GO_SUM: &[u8] = include_bytes!("../../../kube/go.sum");

/// Paths of the programs that make up a Kubernetes API.
#[derive(Debug, Clone)]
pub(super) struct Binaries {
    pub(super) etcd: PathBuf,
    pub(super) apiserver: PathBuf,
    /// Absent with envtest, unless `make kube` ran.
    pub(super) controller_manager: Option<PathBuf>,
}

/// The command-line clients of a cluster.
#[derive(Debug, Clone)]
pub(super) struct ClientBinaries {
    pub(super) kubectl: PathBuf,
    pub(super) helm: PathBuf,
}

/// `<cache>/muster/kube-<version>-<hash of go.mod and go.sum>`.
pub fn built_folder() -> Result<PathBuf> {
    let text = String::from_utf8_lossy(GO_MOD);
    let version = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes v")?.split_whitespace().next())
        .context("hack/kube/go.mod does not require k8s.io/kubernetes")?;
    let hash = Sha256::new().chain_update(GO_MOD).chain_update(GO_SUM).finalize();
    let hash: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    Ok(environment::cache_folder()?.join(format!("kube-{version}-{hash}")))
}

impl Binaries {
    pub(super) fn find() -> Result<Self> {
        let built = built_folder()?;
        let controller_manager = Some(built.join("kube-controller-manager")).filter(|path| path.is_file());
        if let Some(assets) = environment::kubebuilder_assets() {
            let found = Self {
                etcd: assets.join("etcd"),
                apiserver: assets.join("kube-apiserver"),
                controller_manager: Some(assets.join("kube-controller-manager"))
                    .filter(|path| path.is_file())
                    .or(controller_manager),
            };
            for binary in [&found.etcd, &found.apiserver] {
                if !binary.is_file() {
                    bail!("KUBEBUILDER_ASSETS names {}, which has no {}", assets.display(), file_name(binary));
                }
            }
            return Ok(found);
        }
        // Go names a tool after the last part of its package path, go.etcd.io/etcd/server/v3.
        let found = Self { etcd: built.join("server"), apiserver: built.join("kube-apiserver"), controller_manager };
        if !(found.etcd.is_file() && found.apiserver.is_file()) {
            bail!(
                "there is no Kubernetes to test against: run `make kube`, once, or set KUBEBUILDER_ASSETS to a folder of \
                 envtest binaries or MUSTER_TEST_KUBECONFIG to the kubeconfig of a cluster that may be filled"
            );
        }
        Ok(found)
    }
}

impl ClientBinaries {
    pub(super) fn find() -> Result<Self> {
        let built = built_folder()?;
        let folders: Vec<PathBuf> =
            [built].into_iter().chain(environment::kubebuilder_assets()).chain(environment::path()).collect();
        let find = |name: &str| {
            folders
                .iter()
                .map(|folder| folder.join(name))
                .find(|path| path.is_file())
                .with_context(|| format!("there is no {name}: run `make kube`, once, or put {name} in the PATH"))
        };
        Ok(Self { kubectl: find("kubectl")?, helm: find("helm")? })
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
