//! etcd, kube-apiserver and, optionally, kube-controller-manager as local processes.

use std::{
    fs, io,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, config::Kubeconfig};
use serde_json::json;

use super::{
    binaries::Binaries,
    certificates::Certificates,
    kubeconfig::{self, config},
};
use crate::process_group::{Process, ProcessGroup};

/// A free port is found by binding and releasing it, so another program may take it.
const PORT_ATTEMPTS: usize = 5;
const READY_WITHIN: Duration = Duration::from_secs(90);

/// The options of a server.
#[derive(Debug, Default, Clone)]
pub struct Options {
    /// Runs kube-controller-manager too, with the controllers for namespaces and garbage collection.
    pub controller_manager: bool,
    /// The folder of the logs. Default: they are deleted with the folder of the server.
    pub logs: Option<PathBuf>,
}

/// The running processes. They are dropped, and waited for, before their group cleans up.
#[derive(Debug)]
pub(super) struct Server {
    _processes: Vec<Process>,
    pub(super) group: ProcessGroup,
    pub(super) kubeconfig: Kubeconfig,
    pub(super) kubeconfig_path: PathBuf,
}

impl Server {
    pub(super) async fn start(options: &Options) -> Result<Self> {
        let binaries = Binaries::find()?;
        let group = ProcessGroup::new("muster-kube").context("cannot prepare a folder for the API server")?;
        let logs = options.logs.clone().unwrap_or_else(|| group.folder().join("logs"));
        fs::create_dir_all(&logs)?;
        let certificates = Certificates::new(group.folder().join("certificates"))?;
        let launcher = Launcher { group: &group, logs: &logs, binaries: &binaries, certificates: &certificates };

        let (etcd, etcd_port) = launcher.etcd().await?;
        let (apiserver, kubeconfig) = launcher.apiserver(etcd_port).await?;
        let kubeconfig_path = group.folder().join("kubeconfig");
        kubeconfig::write(&kubeconfig_path, &kubeconfig)?;
        let mut processes = vec![apiserver, etcd];
        if options.controller_manager {
            processes.insert(0, launcher.controller_manager(&kubeconfig)?);
        }
        Ok(Self { _processes: processes, group, kubeconfig, kubeconfig_path })
    }
}

struct Launcher<'a> {
    group: &'a ProcessGroup,
    logs: &'a Path,
    binaries: &'a Binaries,
    certificates: &'a Certificates,
}

impl Launcher<'_> {
    async fn etcd(&self) -> Result<(Process, u16)> {
        for attempt in 0..PORT_ATTEMPTS {
            let port = free_port()?;
            let url = format!("http://127.0.0.1:{port}");
            let mut command = Command::new(&self.binaries.etcd);
            command
                .arg(format!("--data-dir={}", self.group.folder().join(format!("etcd-{attempt}")).display()))
                .arg(format!("--listen-client-urls={url}"))
                .arg(format!("--advertise-client-urls={url}"))
                // There are no peers: any port is fine.
                .arg("--listen-peer-urls=http://127.0.0.1:0")
                // The data is not needed after a crash.
                .args(["--unsafe-no-fsync", "--log-level=warn"]);
            let etcd = self.group.spawn(command, &self.logs.join("etcd.log"))?;
            match wait(&etcd, async || tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok())
                .await?
            {
                Outcome::Ready => return Ok((etcd, port)),
                Outcome::PortTaken => {}
            }
        }
        bail!("no port stayed free for etcd in {PORT_ATTEMPTS} attempts")
    }

    async fn apiserver(&self, etcd_port: u16) -> Result<(Process, Kubeconfig)> {
        for _ in 0..PORT_ATTEMPTS {
            let port = free_port()?;
            let mut command = Command::new(&self.binaries.apiserver);
            // Garbage collection takes a fourth of its CPU time by default; memory is not scarce.
            command.envs([("GOGC", "400"), ("GOMEMLIMIT", "2GiB")]);
            command.args([
                format!("--etcd-servers=http://127.0.0.1:{etcd_port}"),
                format!("--secure-port={port}"),
                format!("--cert-dir={}", self.group.folder().join("apiserver").display()),
                format!("--tls-cert-file={}", self.certificates.file("apiserver.crt")),
                format!("--tls-private-key-file={}", self.certificates.file("apiserver.key")),
                format!("--client-ca-file={}", self.certificates.file("ca.crt")),
                format!("--service-account-key-file={}", self.certificates.file("tokens.pub")),
                format!("--service-account-signing-key-file={}", self.certificates.file("tokens.key")),
            ]);
            command.args([
                "--bind-address=127.0.0.1",
                "--advertise-address=127.0.0.1",
                // The other reconcilers refuse a loopback address.
                "--endpoint-reconciler-type=none",
                "--service-account-issuer=https://kubernetes.default.svc",
                "--service-cluster-ip-range=10.0.0.0/24",
                "--authorization-mode=RBAC",
            ]);
            let apiserver = self.group.spawn(command, &self.logs.join("kube-apiserver.log"))?;
            let kubeconfig = self.kubeconfig(port, "admin", &["system:masters"])?;
            let client = Client::try_from(config(&kubeconfig).await?)?;
            match wait(&apiserver, async || answers(&client).await).await? {
                Outcome::Ready => return Ok((apiserver, kubeconfig)),
                Outcome::PortTaken => {}
            }
        }
        bail!("no port stayed free for kube-apiserver in {PORT_ATTEMPTS} attempts")
    }

    /// Only the controllers that delete: there are no nodes, so Deployments would create Pods that never run.
    fn controller_manager(&self, admin: &Kubeconfig) -> Result<Process> {
        let binary = self
            .binaries
            .controller_manager
            .as_ref()
            .context("the envtest binaries have no kube-controller-manager: run `make kube`, once")?;
        let path = self.group.folder().join("controller-manager.kubeconfig");
        kubeconfig::write(&path, admin)?;
        let mut command = Command::new(binary);
        command.args([
            format!("--kubeconfig={}", path.display()),
            format!("--service-account-private-key-file={}", self.certificates.file("tokens.key")),
            format!("--root-ca-file={}", self.certificates.file("ca.crt")),
            "--controllers=namespace-controller,garbage-collector-controller,serviceaccount-controller,\
             root-ca-certificate-publisher-controller,clusterrole-aggregation-controller"
                .to_owned(),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
        ]);
        Ok(self.group.spawn(command, &self.logs.join("kube-controller-manager.log"))?)
    }

    fn kubeconfig(&self, port: u16, user: &str, groups: &[&str]) -> Result<Kubeconfig> {
        let identity = self.certificates.client(user, groups)?;
        let base64 = |text: &str| json!(k8s_openapi::ByteString(text.as_bytes().to_vec()));
        Ok(serde_json::from_value(json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "muster", "cluster": {
                "server": format!("https://127.0.0.1:{port}"),
                "certificate-authority-data": base64(&self.certificates.authority),
            }}],
            "users": [{"name": user, "user": {
                "client-certificate-data": base64(&identity.certificate),
                "client-key-data": base64(&identity.key),
            }}],
            "contexts": [{"name": "muster", "context": {"cluster": "muster", "user": user}}],
            "current-context": "muster",
        }))?)
    }
}

async fn answers(client: &Client) -> bool {
    let Ok(request) = http::Request::get("/readyz").body(Vec::new()) else { return false };
    let ready = tokio::time::timeout(Duration::from_secs(5), client.request_text(request)).await;
    // /readyz does not wait for the default namespaces.
    matches!(ready, Ok(Ok(_))) && matches!(Api::<Namespace>::all(client.clone()).get_opt("default").await, Ok(Some(_)))
}

enum Outcome {
    Ready,
    PortTaken,
}

async fn wait(process: &Process, ready: impl AsyncFn() -> bool) -> Result<Outcome> {
    let deadline = tokio::time::Instant::now() + READY_WITHIN;
    loop {
        if let Some(status) = process.ended() {
            if process.log_tail().contains("address already in use") {
                return Ok(Outcome::PortTaken);
            }
            bail!(process.unexpected_exit(status));
        }
        if ready().await {
            return Ok(Outcome::Ready);
        }
        if tokio::time::Instant::now() > deadline {
            bail!("not ready after {READY_WITHIN:?}; the end of its log:\n{}", process.log_tail());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
