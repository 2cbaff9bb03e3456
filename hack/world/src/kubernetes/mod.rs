//! A real Kubernetes API for tests, the demo and development.

mod binaries;
mod certificates;
mod kubeconfig;
mod server;
mod tools;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::{Namespace, ServiceAccount},
};
use kube::{
    Api, Client, Config,
    api::{ObjectMeta, PostParams},
    config::Kubeconfig,
};
use tokio::sync::OnceCell;

use self::{binaries::ClientBinaries, kubeconfig::config, server::Server};
use crate::{environment, process_group::ProcessGroup};

pub use self::{binaries::built_folder, server::Options};

/// A Kubernetes API server with RBAC, and clients with different identities.
///
/// It is, in this order: the cluster that `MUSTER_TEST_KUBECONFIG` names, envtest binaries in `KUBEBUILDER_ASSETS`, or
/// what `make kube` built. Its processes end when the value is dropped, or with the process that started them.
#[derive(Debug)]
pub struct KubeApi {
    backend: Backend,
    clients: ClientBinaries,
}

#[derive(Debug)]
enum Backend {
    Started(Server),
    Given { kubeconfig: Kubeconfig, path: PathBuf, group: ProcessGroup },
}

impl KubeApi {
    /// Starts one with the default options, and returns when it answers: about 3 seconds.
    pub async fn start() -> Result<Self> {
        Self::start_with(&Options::default()).await
    }

    /// Starts one with `options`, which a cluster from `MUSTER_TEST_KUBECONFIG` ignores.
    pub async fn start_with(options: &Options) -> Result<Self> {
        let Some(path) = environment::test_kubeconfig() else { return Self::start_own(options).await };
        let clients = ClientBinaries::find()?;
        let kubeconfig =
            Kubeconfig::read_from(&path).with_context(|| format!("MUSTER_TEST_KUBECONFIG names {}", path.display()))?;
        let group = ProcessGroup::new("muster-kube")?;
        Ok(Self { backend: Backend::Given { kubeconfig, path, group }, clients })
    }

    /// Always starts a new server: for tests that need more than a namespace.
    pub async fn start_own(options: &Options) -> Result<Self> {
        let clients = ClientBinaries::find()?;
        Ok(Self { backend: Backend::Started(Server::start(options).await?), clients })
    }

    /// The shared server of this process, started at the first call.
    ///
    /// # Panics
    ///
    /// When there is no Kubernetes: the test fails and says what to do.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Result<KubeApi, String>> = OnceCell::const_new();
        let shared = SHARED.get_or_init(async || Self::start().await.map_err(|error| format!("{error:#}"))).await;
        match shared {
            Ok(api) => api,
            Err(error) => panic!("cannot start a Kubernetes API server: {error}"),
        }
    }

    /// A kubeconfig file for the administrator.
    pub fn kubeconfig(&self) -> &Path {
        match &self.backend {
            Backend::Started(server) => &server.kubeconfig_path,
            Backend::Given { path, .. } => path,
        }
    }

    /// A folder that is deleted with this value.
    pub fn folder(&self) -> &Path {
        self.group().folder()
    }

    /// Starts further processes that end when this value does.
    pub fn group(&self) -> &ProcessGroup {
        match &self.backend {
            Backend::Started(server) => &server.group,
            Backend::Given { group, .. } => group,
        }
    }

    /// The client configuration of the administrator.
    pub async fn config(&self) -> Result<Config> {
        config(self.admin_kubeconfig()).await
    }

    /// A client of the administrator. Each call creates a new one, for the runtime of the caller.
    pub async fn admin(&self) -> Result<Client> {
        Ok(Client::try_from(self.config().await?)?)
    }

    /// Creates a namespace for a test, and returns its name.
    pub async fn namespace(&self) -> Result<String> {
        let name = format!("test-{}", &uuid::Uuid::new_v4().simple().to_string()[..12]);
        let namespace =
            Namespace { metadata: ObjectMeta { name: Some(name.clone()), ..Default::default() }, ..Default::default() };
        Api::all(self.admin().await?)
            .create(&PostParams::default(), &namespace)
            .await
            .with_context(|| format!("cannot create the namespace {name}"))?;
        Ok(name)
    }

    /// A client that impersonates `user` in `groups`, as `kubectl --as` does. RBAC applies.
    pub async fn client_as(&self, user: &str, groups: &[&str]) -> Result<Client> {
        let mut config = self.config().await?;
        config.auth_info.impersonate = Some(user.to_owned());
        config.auth_info.impersonate_groups = Some(groups.iter().map(|group| (*group).to_owned()).collect());
        Ok(Client::try_from(config)?)
    }

    /// A client with a token of the ServiceAccount, which must exist.
    pub async fn client_as_service_account(&self, namespace: &str, name: &str) -> Result<Client> {
        Ok(Client::try_from(self.config_as_service_account(namespace, name).await?)?)
    }

    /// The configuration of [`Self::client_as_service_account`].
    pub async fn config_as_service_account(&self, namespace: &str, name: &str) -> Result<Config> {
        let mut config = config(&self.service_account_kubeconfig(namespace, name).await?).await?;
        config.default_namespace = namespace.to_owned();
        Ok(config)
    }

    /// Writes a kubeconfig file with a token of the ServiceAccount, for other programs.
    pub async fn kubeconfig_as_service_account(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let kubeconfig = self.service_account_kubeconfig(namespace, name).await?;
        let path = self.folder().join(format!("{namespace}-{name}.kubeconfig"));
        kubeconfig::write(&path, &kubeconfig)?;
        Ok(path)
    }

    /// A token of the ServiceAccount, from the API that kubelet uses.
    pub async fn service_account_token(&self, namespace: &str, name: &str, audiences: &[&str]) -> Result<String> {
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: Some(audiences.iter().map(|audience| (*audience).to_owned()).collect()),
                expiration_seconds: Some(24 * 3600),
                ..Default::default()
            }),
            ..Default::default()
        };
        let answer = Api::<ServiceAccount>::namespaced(self.admin().await?, namespace)
            .create_token_request(name, &PostParams::default(), &request)
            .await
            .with_context(|| format!("cannot get a token of the ServiceAccount {namespace}/{name}"))?;
        answer.status.and_then(|status| status.token).context("the answer to a TokenRequest has no token")
    }

    async fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<Kubeconfig> {
        let token = self.service_account_token(namespace, name, &[]).await?;
        let admin = self.admin_kubeconfig();
        let current = admin.current_context.clone().context("the kubeconfig has no current context")?;
        let cluster = admin
            .contexts
            .iter()
            .find(|context| context.name == current)
            .and_then(|context| context.context.as_ref())
            .map(|context| context.cluster.clone())
            .with_context(|| format!("the kubeconfig has no context {current}"))?;
        let mut kubeconfig: Kubeconfig = serde_json::from_value(serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": name, "context": {"cluster": cluster, "user": name, "namespace": namespace}}],
            "current-context": name,
        }))?;
        kubeconfig.clusters = admin.clusters.clone();
        Ok(kubeconfig)
    }

    fn admin_kubeconfig(&self) -> &Kubeconfig {
        match &self.backend {
            Backend::Started(server) => &server.kubeconfig,
            Backend::Given { kubeconfig, .. } => kubeconfig,
        }
    }
}
