//! muster as its chart installs it, with the container of the Deployment as a local process: there are no nodes, but
//! the command, arguments, environment, ServiceAccount and permissions are as in a cluster.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{Container, EnvVar, PodSpec},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::{Api, api::ListParams};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::{KubeApi, environment, process_group::Process};

const READY_WITHIN: Duration = Duration::from_secs(60);
const ENDS_WITHIN: Duration = Duration::from_secs(20);
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
const MAX_METRICS: u64 = 1 << 20;
const PORT_ATTEMPTS: usize = 5;

/// A chart installed by helm.
#[derive(Debug, Clone)]
pub struct Release {
    /// Its name and namespace.
    pub name: String,
    pub namespace: String,
    /// What runs in the place of the image.
    pub program: PathBuf,
}

impl Release {
    /// Runs `helm install`. `settings` are as after `--set`.
    pub async fn install(self, api: &KubeApi, chart: &Path, settings: &[String]) -> Result<Self> {
        let chart = chart.display().to_string();
        let mut arguments = vec!["install", &self.name, &chart, "--namespace", &self.namespace, "--create-namespace"];
        for setting in settings {
            arguments.extend(["--set", setting]);
        }
        api.helm(&arguments).await?;
        Ok(self)
    }

    async fn deployment(&self, api: &KubeApi) -> Result<Deployment> {
        let deployments = Api::<Deployment>::namespaced(api.admin().await?, &self.namespace);
        let ours = ListParams::default().labels(&format!("app.kubernetes.io/instance={}", self.name));
        match <[Deployment; 1]>::try_from(deployments.list(&ours).await?.items) {
            Ok([deployment]) => Ok(deployment),
            Err(found) => bail!("the release {} has {} Deployments instead of one", self.name, found.len()),
        }
    }

    /// Starts the container of the Deployment as replica `ordinal`, and returns when its readiness probe succeeds.
    /// `environment` is what a node or an admission webhook would add, such as AWS credentials.
    pub async fn run_replica(
        &self,
        api: &KubeApi,
        ordinal: usize,
        environment: &[(String, String)],
        logs: &Path,
    ) -> Result<Controller> {
        let deployment = self.deployment(api).await?;
        let spec = deployment.spec.template.spec.context("the Deployment has no Pod template")?;
        let account = spec.service_account_name.clone().unwrap_or_else(|| "default".to_owned());
        let kubeconfig = api.kubeconfig_as_service_account(&self.namespace, &account).await?;
        let pod = Pod { name: format!("{}-{ordinal}", self.name), namespace: &self.namespace, account: &account };
        let log = logs.join(format!("{}.log", pod.name));
        for _ in 0..PORT_ATTEMPTS {
            let image = Image::of(&spec, &pod)?;
            let mut command = Command::new(&self.program);
            command.args(&image.arguments).env_clear().envs(&image.environment).env("KUBECONFIG", &kubeconfig);
            command.envs(environment.iter().cloned());
            let process = api.group().spawn(command, &log)?;
            let controller = Controller { process, probes: image.probes, ready_path: image.ready_path };
            if controller.wait_until_ready().await? {
                return Ok(controller);
            }
        }
        bail!("no port stayed free for the controller in {PORT_ATTEMPTS} attempts")
    }
}

/// A running controller. Dropping it kills it.
#[derive(Debug)]
pub struct Controller {
    process: Process,
    probes: SocketAddr,
    ready_path: String,
}

impl Controller {
    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The address of its probes and metrics.
    pub fn probes(&self) -> SocketAddr {
        self.probes
    }

    /// The value of a counter or gauge, such as `muster_reconcile_total{kind="WorkerFleet"}`. 0 while it is not listed.
    pub async fn metric(&self, name: &str) -> Result<u64> {
        let answer = timeout(READY_WITHIN, get(self.probes, "/metrics", MAX_METRICS)).await;
        let answer = answer.context("the controller did not answer in time")?.context("cannot read its metrics")?;
        let answer = String::from_utf8_lossy(&answer);
        let value = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(Ok(0), str::parse).with_context(|| format!("the metric {name} is not a whole number"))
    }

    /// Waits until it ends or is killed.
    pub async fn ended(&self) -> ExitStatus {
        loop {
            if let Some(status) = self.process.ended() {
                return status;
            }
            // It may be killed while this waits, which needs the child too, so the child cannot be borrowed for the
            // wait.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Stops it as Kubernetes does, and kills it if it takes too long.
    pub async fn stop(self) -> Result<()> {
        self.process.terminate()?;
        let deadline = Instant::now() + ENDS_WITHIN;
        while self.process.ended().is_none() {
            if Instant::now() > deadline {
                bail!("the controller did not end within {ENDS_WITHIN:?}; its log is {}", self.process.log().display());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// False if another program took its port meanwhile.
    async fn wait_until_ready(&self) -> Result<bool> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if let Some(status) = self.process.ended() {
                if self.process.log_tail().contains("ddress already in use") {
                    return Ok(false);
                }
                bail!(self.process.unexpected_exit(status));
            }
            if let Ok(Ok(true)) = timeout(ANSWERS_WITHIN, succeeds(self.probes, &self.ready_path)).await {
                return Ok(true);
            }
            if Instant::now() > deadline {
                bail!(
                    "the controller is not ready after {READY_WITHIN:?}; the end of its log:\n{}",
                    self.process.log_tail()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Whether a GET returns 200, like a probe of kubelet.
async fn succeeds(address: SocketAddr, path: &str) -> std::io::Result<bool> {
    Ok(get(address, path, 64).await?.starts_with(b"HTTP/1.1 200"))
}

/// The answer with its head, as far as `limit` bytes go.
async fn get(address: SocketAddr, path: &str, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(limit).read_to_end(&mut answer).await?;
    Ok(answer)
}

struct Pod<'a> {
    name: String,
    namespace: &'a str,
    account: &'a str,
}

/// The container spec, adapted to a local process.
struct Image {
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    probes: SocketAddr,
    ready_path: String,
}

impl Image {
    fn of(spec: &PodSpec, pod: &Pod<'_>) -> Result<Self> {
        let [container] = spec.containers.as_slice() else {
            bail!("the Deployment's Pods have more than one container")
        };
        let mut environment = BTreeMap::new();
        for variable in container.env.iter().flatten() {
            let value = value(variable, pod)?;
            environment.insert(variable.name.clone(), expand(&value, &environment));
        }
        if container.env_from.as_ref().is_some_and(|sources| !sources.is_empty()) {
            bail!("the container uses environment from ConfigMaps or Secrets, which is not supported here");
        }
        // The first word is the program, which is built locally instead of taken from the image.
        let command = container.command.iter().flatten().skip(1);
        let arguments = command.chain(container.args.iter().flatten()).map(|text| expand(text, &environment)).collect();

        let probe = container.readiness_probe.as_ref().and_then(|probe| probe.http_get.as_ref());
        let probe = probe.context("the container has no readiness probe by HTTP")?;
        let inside = port(container, &probe.port)?;
        // A Pod has its own network and any port; here a free port is used.
        let outside = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let mut image = Self {
            arguments,
            environment,
            probes: outside,
            ready_path: probe.path.clone().unwrap_or_else(|| "/".into()),
        };
        image.listen_on(inside, outside)?;
        Ok(image)
    }

    /// Changes `0.0.0.0:8080` to a free port on loopback in all arguments and variables.
    fn listen_on(&mut self, inside: i32, outside: SocketAddr) -> Result<()> {
        let mut changed = 0;
        for text in self.arguments.iter_mut().chain(self.environment.values_mut()) {
            for wildcard in [format!("0.0.0.0:{inside}"), format!("[::]:{inside}")] {
                if let Some(prefix) = text.strip_suffix(&wildcard) {
                    *text = format!("{prefix}{outside}");
                    changed += 1;
                }
            }
        }
        if changed == 0 {
            bail!("the container is probed on port {inside}, but no argument makes it listen on 0.0.0.0:{inside}");
        }
        Ok(())
    }
}

fn value(variable: &EnvVar, pod: &Pod<'_>) -> Result<String> {
    let Some(source) = &variable.value_from else { return Ok(variable.value.clone().unwrap_or_default()) };
    match source.field_ref.as_ref().map(|field| field.field_path.as_str()) {
        Some("metadata.name") => Ok(pod.name.clone()),
        Some("metadata.namespace") => Ok(pod.namespace.to_owned()),
        Some("spec.serviceAccountName") => Ok(pod.account.to_owned()),
        Some("status.podIP") => Ok(Ipv4Addr::LOCALHOST.to_string()),
        _ => bail!("the container's variable {} has a source that is not supported here", variable.name),
    }
}

/// `$(NAME)` as kubelet expands it: unknown names stay as they are.
fn expand(text: &str, environment: &BTreeMap<String, String>) -> String {
    environment.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("$({name})"), value))
}

fn port(container: &Container, wanted: &IntOrString) -> Result<i32> {
    match wanted {
        IntOrString::Int(number) => Ok(*number),
        IntOrString::String(name) => container
            .ports
            .iter()
            .flatten()
            .find(|port| port.name.as_deref() == Some(name))
            .map(|port| port.container_port)
            .with_context(|| format!("the container has no port named {name}")),
    }
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A program of this workspace, in the folder of the running program.
pub fn binary(name: &str) -> Result<PathBuf> {
    let mut folder = environment::own_folder()?;
    // Tests are one folder deeper.
    if folder.ends_with("deps") {
        folder.pop();
    }
    let path = folder.join(name);
    match fs::exists(&path) {
        Ok(true) => Ok(path),
        _ => bail!("{} is not built: run `cargo build --workspace`", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn image(container: serde_json::Value) -> Result<Image> {
        let spec: PodSpec = serde_json::from_value(json!({"containers": [container]})).expect("a Pod");
        Image::of(&spec, &Pod { name: "muster-0".to_owned(), namespace: "system", account: "muster" })
    }

    fn probe(port: serde_json::Value) -> serde_json::Value {
        json!({"httpGet": {"path": "/readyz", "port": port}})
    }

    #[test]
    fn a_container_runs_as_specified_but_on_a_free_loopback_port() {
        let image = image(json!({
            "name": "muster",
            "command": ["/usr/bin/muster", "controller"],
            "args": ["--pod=$(POD)", "--unknown=$(NOBODY)", "--metrics-addr=0.0.0.0:8080"],
            "env": [
                {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "WHERE", "value": "$(POD) in 0.0.0.0:80800"},
            ],
            "ports": [{"name": "metrics", "containerPort": 8080}],
            "readinessProbe": probe(json!("metrics")),
        }))
        .expect("an image");
        let address = image.probes;
        assert!(address.ip().is_loopback() && address.port() != 8080);
        assert_eq!(
            image.arguments,
            ["controller", "--pod=muster-0", "--unknown=$(NOBODY)", &format!("--metrics-addr={address}")]
        );
        assert_eq!(image.environment["WHERE"], "muster-0 in 0.0.0.0:80800");
        assert_eq!(image.ready_path, "/readyz");
    }

    #[test]
    fn a_container_that_cannot_be_run_as_specified_is_rejected() {
        let secret = json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]);
        let listens = json!(["--addr=0.0.0.0:1"]);
        for (container, reason) in [
            (json!({"name": "m", "args": listens, "readinessProbe": probe(json!(1)), "env": secret}), "variable A"),
            (json!({"name": "m", "args": listens, "readinessProbe": probe(json!(2))}), "no argument makes it listen"),
            (json!({"name": "m", "args": listens, "readinessProbe": probe(json!("p"))}), "no port named p"),
            (json!({"name": "m", "args": listens}), "no readiness probe"),
        ] {
            let refused = image(container).err().expect("refused").to_string();
            assert!(refused.contains(reason), "{refused:?} does not contain {reason:?}");
        }
    }
}
