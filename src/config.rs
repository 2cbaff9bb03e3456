//! Arguments and environment, read once and validated. Only the AWS SDK and kube read the environment too, for
//! credentials.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    path::PathBuf,
};

use clap::Args;

use crate::{clock::Timings, lease::LeaseName};

/// The arguments of the controller.
#[derive(Args, Clone, Debug)]
pub struct ControllerArgs {
    /// Name of this cluster. Instances are tagged with it, so that clusters can share an AWS account.
    #[arg(long, env = "MUSTER_CLUSTER_NAME", value_parser = cluster_name)]
    pub cluster_name: String,
    /// Namespaces to watch, separated by commas. Default: all.
    #[arg(long, env = "MUSTER_NAMESPACES", value_delimiter = ',')]
    pub namespaces: Vec<String>,
    /// Label selector for the AwsAccounts to use. Default: all.
    #[arg(long, env = "MUSTER_ACCOUNT_SELECTOR")]
    pub account_selector: Option<String>,
    /// Name of the Lease for leader election. Without it there is no leader election: never run two replicas.
    #[arg(long, env = "MUSTER_LEASE_NAME", requires = "lease_namespace")]
    pub lease_name: Option<String>,
    /// Namespace of the Lease.
    #[arg(long, env = "MUSTER_LEASE_NAMESPACE")]
    pub lease_namespace: Option<String>,
    /// Name of the Secret with the key of this release, which muster creates. Hashes of values are keyed with it, so that
    /// nobody can find a value by trying. Without it, each process has its own key.
    #[arg(long, env = "MUSTER_KEY_SECRET_NAME", requires = "key_secret_namespace")]
    pub key_secret_name: Option<String>,
    /// Namespace of the Secret.
    #[arg(long, env = "MUSTER_KEY_SECRET_NAMESPACE")]
    pub key_secret_namespace: Option<String>,
    /// Name of this replica, usually the name of its Pod.
    #[arg(long, env = "POD_NAME", default_value = "muster")]
    pub pod_name: String,
    /// Address of /healthz, /readyz and /metrics.
    #[arg(long, env = "MUSTER_METRICS_ADDR", default_value = "0.0.0.0:8080")]
    pub metrics_addr: SocketAddr,
    /// Address of the API for reports, for example 0.0.0.0:8443. Default: there is none.
    #[arg(long, env = "MUSTER_API_ADDR")]
    pub api_addr: Option<SocketAddr>,
    /// Folder with tls.crt and tls.key for the API. They are read again when they change.
    #[arg(long, env = "MUSTER_API_TLS_DIR", requires = "api_addr")]
    pub api_tls_dir: Option<PathBuf>,
    /// Serve the API without TLS, for example behind a proxy in the same Pod.
    #[arg(long, env = "MUSTER_API_INSECURE", requires = "api_addr")]
    pub api_insecure: bool,
    /// Address of this replica for the others, usually the IP address of its Pod. Needed for the API with leader election.
    #[arg(long, env = "POD_IP")]
    pub pod_ip: Option<IpAddr>,
    /// Maximum number of objects of one kind that are reconciled at the same time.
    #[arg(long, env = "MUSTER_CONCURRENCY", default_value = "16")]
    pub concurrency: NonZeroU16,
    /// Seconds between full sweeps of EC2.
    #[arg(long, env = "MUSTER_SWEEP_SECONDS", default_value = "60", value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub sweep_seconds: u32,
    /// Maximum number of MiB that all FleetReports hold in memory. A namespace gets an equal share of three quarters of it.
    #[arg(long, env = "MUSTER_REPORT_MEMORY_MIB", default_value = "192", value_parser = clap::value_parser!(u32).range(1..))]
    pub report_memory_mib: u32,
    /// Maximum number of objects that all FleetReports hold in memory, shared in the same way.
    #[arg(long, env = "MUSTER_REPORT_OBJECTS", default_value = "250000", value_parser = clap::value_parser!(u32).range(1..))]
    pub report_objects: u32,
}

/// Valid configuration.
#[derive(Clone, Debug)]
pub struct Config {
    pub cluster_name: String,
    pub namespaces: Namespaces,
    pub account_selector: Option<String>,
    pub lease: Option<LeaseName>,
    /// Where the key of the release is. `None`: each process has its own.
    pub key_secret: Option<SecretName>,
    pub pod_name: String,
    pub metrics_addr: SocketAddr,
    /// `None`: there is no API.
    pub api: Option<ApiConfig>,
    pub concurrency: NonZeroU16,
    pub timings: Timings,
    pub report_limits: ReportLimits,
}

/// How the API is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiConfig {
    pub addr: SocketAddr,
    pub tls: ApiTls,
    /// The address of this replica for the others.
    pub pod_ip: Option<IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiTls {
    Insecure,
    /// With `tls.crt` and `tls.key` in this folder.
    From(PathBuf),
    /// Neither was configured, so the API is refused.
    Missing,
}

/// What all FleetReports together may hold in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportLimits {
    pub bytes: u64,
    pub objects: u64,
}

impl Config {
    /// Whether a Secret holds the key of the release.
    pub fn is_key(&self, namespace: &str, name: &str) -> bool {
        self.key_secret.as_ref().is_some_and(|key| (&*key.namespace, &*key.name) == (namespace, name))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretName {
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The namespaces that are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespaces {
    All,
    Only(Vec<String>),
}

impl From<ControllerArgs> for Config {
    fn from(args: ControllerArgs) -> Self {
        let namespaces: Vec<_> = args.namespaces.into_iter().filter(|n| !n.is_empty()).collect();
        let sweep = std::time::Duration::from_secs(args.sweep_seconds.into());
        let timings = Timings::default();
        Self {
            cluster_name: args.cluster_name,
            namespaces: if namespaces.is_empty() { Namespaces::All } else { Namespaces::Only(namespaces) },
            account_selector: args.account_selector.filter(|s| !s.is_empty()),
            lease: args.lease_name.zip(args.lease_namespace).map(|(name, namespace)| LeaseName { namespace, name }),
            key_secret: args
                .key_secret_name
                .zip(args.key_secret_namespace)
                .map(|(name, namespace)| SecretName { namespace, name }),
            pod_name: args.pod_name,
            metrics_addr: args.metrics_addr,
            api: args.api_addr.map(|addr| ApiConfig {
                addr,
                tls: match args.api_tls_dir {
                    Some(dir) => ApiTls::From(dir),
                    None if args.api_insecure => ApiTls::Insecure,
                    None => ApiTls::Missing,
                },
                pod_ip: args.pod_ip,
            }),
            concurrency: args.concurrency,
            report_limits: ReportLimits {
                bytes: u64::from(args.report_memory_mib) << 20,
                objects: args.report_objects.into(),
            },
            timings: Timings { sweep, progress: timings.progress.min(sweep), ..timings },
        }
    }
}

/// The name is the value of a tag. EC2 allows 256 characters, some of them only if metadata tags are disabled.
fn cluster_name(name: &str) -> Result<String, String> {
    let valid = (1..=100).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'));
    if valid { Ok(name.into()) } else { Err("use 1 to 100 letters, digits, '-', '_', '.' or ':'".into()) }
}
