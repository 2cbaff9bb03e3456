//! `muster report`: which versions run where.

use std::{io::Write, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use http::{Request, Uri};
use jiff::Timestamp;
use kube::{Api, Client, Config, ResourceExt, api::ListParams};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::Value;

use crate::{
    client::{Error, cluster, secret, table},
    clock::Clock,
    crd::fleet_report::{FleetReport, FleetReportStatus, OutlierReason},
};

#[derive(Args, Clone)]
pub struct ReportArgs {
    /// The FleetReport. Default: all in the namespace or, with --url, the one that the key opens.
    name: Option<String>,
    #[arg(short, long)]
    namespace: Option<String>,
    /// The context of the kubeconfig.
    #[arg(long, conflicts_with = "url")]
    context: Option<String>,
    /// Ask the API of muster at this address instead of Kubernetes. The key is in --key-file or MUSTER_API_KEY, or a token
    /// in --token-file or MUSTER_API_TOKEN.
    #[arg(long, env = "MUSTER_API_URL")]
    url: Option<String>,
    /// A file with the key.
    #[arg(long, requires = "url")]
    key_file: Option<PathBuf>,
    /// From the environment only: every user of the machine can read arguments.
    #[arg(long, env = "MUSTER_API_KEY", hide = true, hide_env_values = true)]
    key: Option<String>,
    #[arg(long, env = "MUSTER_API_TOKEN", hide = true, hide_env_values = true)]
    token: Option<String>,
    /// A file with a token of Kubernetes for the audience muster.
    #[arg(long, requires = "url", conflicts_with = "key_file")]
    token_file: Option<PathBuf>,
    /// A file with the certificates that sign the certificate of the API. Default: those of this machine.
    #[arg(long, requires = "url")]
    ca_file: Option<PathBuf>,
    /// `wide`, `json` and `csv` list instances, which only the API knows.
    #[arg(short, long, default_value = "table")]
    output: Output,
    /// Only instances with a value of this field; needs --url.
    #[arg(long, requires = "url")]
    field: Option<String>,
    /// Only instances whose field has this value.
    #[arg(long, requires = "field")]
    value: Option<String>,
    /// Only instances of this group, as <name of the groupBy>:<group>; needs --url.
    #[arg(long, requires = "url")]
    group: Option<String>,
    /// Only instances in these states, separated by commas; needs --url.
    #[arg(long, requires = "url")]
    state: Option<String>,
    /// Repeat every five seconds.
    #[arg(short, long)]
    watch: bool,
    /// Exit with 1 unless all expected instances report, and as expected. For pipelines.
    #[arg(long)]
    fail_behind: bool,
}

impl std::fmt::Debug for ReportArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReportArgs").field("name", &self.name).field("url", &self.url).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Wide,
    Json,
    Csv,
}

const PERIOD: Duration = Duration::from_secs(5);

/// What is shown once, and whether all is as expected.
struct Shown {
    text: String,
    is_fine: bool,
}

/// Prints the report. Returns whether a pipeline may go on.
///
/// # Errors
/// What could not be read, and why.
pub async fn run(args: ReportArgs, out: &mut impl Write) -> Result<bool, Error> {
    loop {
        let shown = match &args.url {
            Some(url) => over_http(&args, url).await?,
            None => from_cluster(&args).await?,
        };
        if args.watch {
            // The cursor goes to the corner, and what was there is cleared.
            write!(out, "\u{1b}[H\u{1b}[2J")?;
        }
        out.write_all(shown.text.as_bytes())?;
        out.flush()?;
        if !args.watch {
            return Ok(shown.is_fine || !args.fail_behind);
        }
        tokio::time::sleep(PERIOD).await;
    }
}

async fn from_cluster(args: &ReportArgs) -> Result<Shown, Error> {
    if matches!(args.output, Output::Wide | Output::Csv) {
        return Err("instances are listed only with --url, because their number has no limit in a status".into());
    }
    let (client, namespace) = cluster(args.context.as_deref(), args.namespace.clone()).await?;
    let api = Api::<FleetReport>::namespaced(client, &namespace);
    let reports = match &args.name {
        Some(name) => vec![api.get(name).await?],
        None => api.list(&ListParams::default()).await?.items,
    };
    if reports.is_empty() {
        return Err(
            format!("there is no FleetReport in namespace {namespace}: name another one with --namespace").into()
        );
    }
    let is_fine = reports.iter().all(is_up_to_date);
    let text = if args.output == Output::Json {
        let all: Vec<_> = reports.iter().map(|report| (report.name_any(), &report.status)).collect();
        serde_json::to_string_pretty(&all.into_iter().collect::<std::collections::BTreeMap<_, _>>())? + "\n"
    } else {
        reports.iter().map(of_status).collect::<Vec<_>>().join("\n")
    };
    Ok(Shown { text, is_fine })
}

fn is_up_to_date(report: &FleetReport) -> bool {
    let status = report.status.as_ref();
    let conditions = status.map(|status| status.common.conditions.as_slice()).unwrap_or_default();
    let is = |type_: &str| conditions.iter().any(|c| c.type_ == type_ && c.status == "True");
    is("UpToDate") && is("Collected")
}

/// What a status knows.
fn of_status(report: &FleetReport) -> String {
    let status = report.status.clone().unwrap_or_default();
    let counts = status.reports.unwrap_or_default();
    let collected = status.last_collected_time.as_ref().map_or("never collected".into(), |at| age(at.0));
    let optional = |count: Option<i64>, what: &str| count.map(|n| format!(", {n} {what}")).unwrap_or_default();
    let mut text = format!(
        "{}: {} fresh, {} behind, {} stale{}{}; {collected}\n",
        report.name_any(),
        counts.fresh,
        counts.behind,
        counts.stale,
        optional(counts.missing, "missing"),
        optional(counts.ghost, "ghosts"),
    );
    let conditions = status.common.conditions.iter();
    let problem = conditions.clone().find(|c| c.type_ == "Ready" && c.status != "True");
    let behind = conditions.clone().find(|c| c.type_ == "UpToDate" && c.status == "False");
    for condition in problem.into_iter().chain(behind) {
        text += &format!("{}: {}\n", condition.reason, crate::text::visible(&condition.message, 500));
    }
    let versions = status.versions.iter().map(|v| vec![v.field.clone(), v.value.clone(), v.count.to_string()]);
    text += &table(&["FIELD", "VALUE", "INSTANCES"], versions);
    if !status.outliers.is_empty() {
        text += &table(&["INSTANCE", "", "FIELD", "VALUE", "SINCE"], outliers(&status));
    }
    text
}

fn outliers(status: &FleetReportStatus) -> impl Iterator<Item = Vec<String>> + '_ {
    status.outliers.iter().map(|outlier| {
        let reason = match outlier.reason {
            OutlierReason::Behind => "behind",
            OutlierReason::Missing => "missing",
            OutlierReason::Ghost => "ghost",
        };
        let since = outlier.since.0.to_string();
        vec![outlier.instance.clone(), reason.into(), outlier.field.clone(), outlier.value.clone(), since]
    })
}

fn age(at: Timestamp) -> String {
    let seconds = Clock.now().duration_since(at).as_secs().max(0);
    match seconds {
        0..120 => format!("collected {seconds} s ago"),
        120..7200 => format!("collected {} min ago", seconds / 60),
        _ => format!("collected {} h ago", seconds / 3600),
    }
}

async fn over_http(args: &ReportArgs, url: &str) -> Result<Shown, Error> {
    let ask = Ask::new(args, url)?;
    let versions: Value = serde_json::from_str(&ask.get("versions", "").await?)?;
    let count = |state: &str| versions["instances"][state].as_i64().unwrap_or_default();
    let failed = versions["failedSources"].as_array().is_some_and(|failed| !failed.is_empty());
    let is_fine = count("fresh") > 0 && count("behind") + count("missing") == 0 && !failed;
    let text = match args.output {
        Output::Table => counted(&versions),
        Output::Json => ask.get("instances", &query(args, "json")).await?,
        Output::Csv => ask.get("instances", &query(args, "csv")).await?,
        Output::Wide => {
            let envelope: Value =
                serde_json::from_str(&ask.get("instances", &(query(args, "json") + "&envelope=true")).await?)?;
            wide(&versions, &envelope)
        }
    };
    Ok(Shown { text, is_fine })
}

/// The API, as the caller may ask it.
struct Ask {
    client: Client,
    /// With the path of the FleetReport.
    base: String,
    key: Option<String>,
}

impl Ask {
    fn new(args: &ReportArgs, url: &str) -> Result<Self, Error> {
        let address: Uri =
            url.trim_end_matches('/').parse().map_err(|error| format!("{url} is not an address: {error}"))?;
        let key = secret(args.key_file.as_deref(), args.key.as_ref())?.filter(|_| args.token_file.is_none());
        let token = match key {
            Some(_) => None,
            None => secret(args.token_file.as_deref(), args.token.as_ref())?,
        };
        if key.is_none() && token.is_none() {
            return Err(
                "the API needs a key (--key-file or MUSTER_API_KEY) or a token (--token-file or MUSTER_API_TOKEN)"
                    .into(),
            );
        }
        let mut config = Config::new(address);
        config.auth_info.token = token.map(|token| token.into());
        config.default_retry = false;
        if let Some(file) = &args.ca_file {
            let text = std::fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
            let certificates = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
            let certificates =
                certificates.map_err(|error| format!("{} has no certificates: {error}", file.display()))?;
            config.root_cert = Some(certificates.into_iter().map(|one| one.to_vec()).collect());
        }
        let base = match (&args.namespace, &args.name) {
            (Some(namespace), Some(name)) => format!("/v1/namespaces/{namespace}/fleetreports/{name}/"),
            (None, None) => "/".into(),
            _ => {
                return Err(
                    "with --url, give both the name and --namespace, or neither for the one that the key opens".into(),
                );
            }
        };
        Ok(Self { client: Client::try_from(config)?, base, key })
    }

    async fn get(&self, what: &str, query: &str) -> Result<String, Error> {
        let mut request = Request::get(format!("{}{what}{query}", self.base));
        if let Some(key) = &self.key {
            request = request.header("x-api-key", key);
        }
        let response = self.client.send(request.body(kube::client::Body::empty())?).await?;
        let status = response.status();
        let bytes = http_body_util::BodyExt::collect(response.into_body()).await?.to_bytes();
        let text = String::from_utf8(bytes.to_vec())?;
        if status.is_success() {
            return Ok(text);
        }
        let told = serde_json::from_str::<Value>(&text).ok().and_then(|body| Some(body["error"].as_str()?.to_owned()));
        Err(format!("the API answered {status}: {}", told.unwrap_or_else(|| crate::text::visible(&text, 200))).into())
    }
}

fn query(args: &ReportArgs, format: &str) -> String {
    let pairs = [("field", &args.field), ("value", &args.value), ("group", &args.group), ("state", &args.state)];
    let pairs = pairs.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
    let encoded =
        |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    let pairs = pairs.map(|(name, value)| format!("&{name}={}", encoded(value)));
    format!("?format={format}{}", pairs.collect::<String>())
}

fn summary(versions: &Value) -> String {
    let counts = ["fresh", "behind", "stale", "missing", "ghost"];
    let counts = counts.map(|state| format!("{} {state}", versions["instances"][state]));
    let at = versions["collectedAt"].as_str().and_then(|at| at.parse().ok());
    format!("{}; {}\n", counts.join(", "), at.map_or("never collected".into(), age))
}

fn counted(versions: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let fields = versions["fields"].as_array().into_iter().flatten();
    let rows = fields.flat_map(|field| {
        let values = field["values"].as_array().into_iter().flatten();
        values.map(|one| vec![text(&field["name"]), text(&one["value"]), text(&one["count"]), text(&one["behind"])])
    });
    summary(versions) + &table(&["FIELD", "VALUE", "INSTANCES", "BEHIND"], rows)
}

fn wide(versions: &Value, envelope: &Value) -> String {
    let names: Vec<_> =
        versions["fields"].as_array().into_iter().flatten().filter_map(|field| field["name"].as_str()).collect();
    let header: Vec<_> = ["INSTANCE", "STATE", "REPORTED"].into_iter().chain(names.iter().copied()).collect();
    let rows = envelope["instances"].as_array().into_iter().flatten().map(|row| {
        let cell = |name: &str| row[name].as_str().unwrap_or("-").to_owned();
        let values = names.iter().map(|name| {
            let values = row["fields"][name].as_array().into_iter().flatten().filter_map(Value::as_str);
            values.collect::<Vec<_>>().join(" ")
        });
        [cell("instance"), cell("state"), cell("reportedAt")].into_iter().chain(values).collect()
    });
    summary(versions) + &table(&header, rows.collect::<Vec<Vec<String>>>())
}
