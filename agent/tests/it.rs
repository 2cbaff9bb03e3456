//! The real program on virtual workers.

#![expect(clippy::unwrap_used, reason = "what a test helper cannot do, fails the test")]

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use muster_sandbox::{
    AMAZON_LINUX_X86_64, CallQuery, Fault, FaultAction, Outcome, ReportsSpec, Sandbox, SandboxConfig, WorkersConfig,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const AGENT: &str = env!("CARGO_BIN_EXE_muster-agent");
const ACCOUNT: &str = "111111111111";
const REGION: &str = "ap-northeast-1";
const BUCKET: &str = "app-report-bucket";
const LONG: Duration = Duration::from_secs(30);

/// As people would write it, but that it looks more often.
const CONFIG: &str = r#"
bucket = "app-report-bucket"
prefix = "prod"
check_interval = "1s"

[app_version]
command = ["cat", "$ROOT/app/VERSION"]
regex = 'version (\S+)'

[[processes]]
files = "$ROOT/app/*.conf"

[machine]
proc = "$ROOT/proc"
"#;

const INSTALL: &str = "#!/bin/sh
mkdir app
echo 'app version red-1.8.5' > app/VERSION
printf 'module_A_filename = a-1.bin\\nmodule_B_filename = b-1.bin\\n' > app/one.conf
printf 'module_A_filename = a-2.bin\\n' > app/two.conf
";

async fn sandbox(agent: bool) -> Sandbox {
    let workers = WorkersConfig {
        agent: agent.then(|| AGENT.into()),
        agent_config: Some(CONFIG.to_owned()),
        user_data: true,
        ..WorkersConfig::default()
    };
    let config = SandboxConfig { workers: Some(workers), ..SandboxConfig::default() };
    let sandbox = Sandbox::start(config).await.unwrap();
    sandbox.s3().ensure_bucket(ACCOUNT, REGION, BUCKET).unwrap();
    sandbox
}

async fn post(address: SocketAddr, form: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let scope = format!("AWS4-HMAC-SHA256 Credential=AKIASANDBOX{ACCOUNT}/20260101/{REGION}/ec2/aws4_request");
    let length = form.len();
    let request = format!(
        "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: {scope}\r\ncontent-length: {length}\r\n\r\n{form}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// A running spot worker with a name, a role and user data that installs the application.
async fn worker(sandbox: &Sandbox) -> String {
    let user_data = BASE64_STANDARD.encode(INSTALL).replace('+', "%2B").replace('=', "%3D");
    let form = format!(
        "Action=RunInstances&Version=2016-11-15&ImageId={AMAZON_LINUX_X86_64}&InstanceType=m5.large&MinCount=1\
         &MaxCount=1&UserData={user_data}&IamInstanceProfile.Name=worker&InstanceMarketOptions.MarketType=spot\
         &MetadataOptions.InstanceMetadataTags=enabled&MetadataOptions.HttpTokens=required\
         &TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=Name\
         &TagSpecification.1.Tag.1.Value=web_red_1"
    );
    let answer = post(sandbox.address(), &form).await;
    let (_, rest) = answer.split_once("<instanceId>").unwrap_or_else(|| panic!("{answer}"));
    let id = rest.split_once("</instanceId>").unwrap().0.to_owned();
    sandbox.wait_for_workers(|workers| workers.iter().any(|worker| worker.instance_id == id)).await;
    id
}

async fn puts(sandbox: &Sandbox, count: usize) {
    let good = |calls: &[muster_sandbox::Call]| calls.iter().filter(|call| call.outcome == Outcome::Ok).count();
    let query = CallQuery::operation("s3", "PutObject");
    let waited = sandbox.wait_for_calls(&query, |calls| good(calls) >= count);
    tokio::time::timeout(LONG, waited).await.expect("reports");
}

fn report(sandbox: &Sandbox, id: &str) -> Value {
    let object = sandbox.s3().get(BUCKET, &format!("prod/{id}.json")).unwrap();
    match object.content {
        muster_sandbox::Content::Bytes(bytes) => serde_json::from_slice(&bytes).unwrap(),
        muster_sandbox::Content::Generated { .. } => panic!("nobody generates it"),
    }
}

/// Runs the agent on a worker with these arguments.
async fn agent(sandbox: &Sandbox, id: &str, arguments: &str) -> muster_sandbox::WorkerOutput {
    // User data has had its turn.
    let command = format!(
        "until [ -s app/two.conf ]; do sleep 0.02; done; exec {AGENT} --config etc/muster-agent/agent.toml {arguments}"
    );
    sandbox.run_in_worker(id, &command, LONG).await.unwrap()
}

#[tokio::test]
async fn a_worker_reports_at_start_and_when_its_application_changes() {
    let sandbox = sandbox(true).await;
    let id = worker(&sandbox).await;
    puts(&sandbox, 1).await;
    let mut first = report(&sandbox, &id);
    let update_date = first["update_date"].as_str().unwrap();
    let update_date = jiff::Zoned::strptime("%Y-%m-%dT%H:%M:%S%:z", update_date).unwrap();
    assert!(sandbox.now().duration_since(update_date.timestamp()) < jiff::SignedDuration::from_mins(1));
    let os_start_date: jiff::civil::DateTime = first["os_start_date"].as_str().unwrap().parse().unwrap();
    // The worker's zone need not be the test's.
    let booted = os_start_date.to_zoned(update_date.time_zone().clone()).unwrap().timestamp();
    assert_eq!(booted.as_second(), sandbox.instance(&id).unwrap().running_since.unwrap().as_second());
    first["update_date"] = Value::Null;
    first["os_start_date"] = Value::Null;
    assert_eq!(
        first,
        json!({
            "update_date": null,
            "os_start_date": null,
            "instance_id": id,
            "instance_name": "web_red_1",
            "instance_type": "m5.large",
            "instance_life_cycle": "spot",
            "app_version": "red-1.8.5",
            "processes": [
                {"module_A_filename": "a-1.bin", "module_B_filename": "b-1.bin"},
                {"module_A_filename": "a-2.bin"},
            ],
        })
    );
    sandbox.run_in_worker(&id, "echo 'app version red-1.9.0' > app/VERSION", LONG).await.unwrap();
    puts(&sandbox, 2).await;
    assert_eq!(report(&sandbox, &id)["app_version"], "red-1.9.0");
    sandbox.run_in_worker(&id, "rm app/two.conf", LONG).await.unwrap();
    puts(&sandbox, 3).await;
    assert_eq!(report(&sandbox, &id)["processes"].as_array().unwrap().len(), 1);
    let put = sandbox.calls(&CallQuery::operation("s3", "PutObject")).pop().unwrap();
    assert_eq!(put.principal_arn, Some(format!("arn:aws:sts::{ACCOUNT}:assumed-role/worker/{id}")));
}

#[tokio::test]
async fn a_report_can_be_printed_or_sent_once() {
    let sandbox = sandbox(false).await;
    let id = worker(&sandbox).await;
    let shown = agent(&sandbox, &id, "once --print").await;
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap_or_else(|_| panic!("{shown:?}"));
    assert_eq!(shown["app_version"], "red-1.8.5");
    assert!(sandbox.s3().keys(BUCKET, "").unwrap().is_empty());

    let sent = agent(&sandbox, &id, "once").await;
    assert_eq!(sent.exit_code, Some(0), "{sent:?}");
    let sent = agent(&sandbox, &id, "--prefix '' --key instance-arn once").await;
    assert_eq!(sent.exit_code, Some(0), "{sent:?}");
    assert_eq!(
        sandbox.s3().keys(BUCKET, "").unwrap(),
        [format!("arn:aws:ec2:{REGION}:{ACCOUNT}:instance/{id}.json"), format!("prod/{id}.json")]
    );
}

#[tokio::test]
async fn transient_errors_are_retried_and_permanent_errors_are_logged() {
    let sandbox = sandbox(false).await;
    let id = worker(&sandbox).await;
    let slow = FaultAction::Error { code: "SlowDown".into(), message: None, status: None };
    sandbox.add_fault(Fault::always("s3", "PutObject", slow).count(4));
    let sent = agent(&sandbox, &id, "once").await;
    assert_eq!(sent.exit_code, Some(0), "{sent:?}");
    assert_eq!(sandbox.calls(&CallQuery::operation("s3", "PutObject")).len(), 5);

    let denied = FaultAction::Error { code: "AccessDenied".into(), message: Some("no".into()), status: None };
    sandbox.add_fault(Fault::always("s3", "PutObject", denied));
    let refused = agent(&sandbox, &id, "once --attempts 1").await;
    assert_eq!(refused.exit_code, Some(1));
    let expected = format!("muster-agent: tried once: S3 rejected s3://{BUCKET}/prod/{id}.json with AccessDenied: no");
    assert!(refused.stderr.contains(&expected), "{refused:?}");
}

#[tokio::test]
async fn a_source_that_fails_is_omitted_and_named() {
    let sandbox = sandbox(false).await;
    let id = worker(&sandbox).await;
    let output = sandbox
        .run_in_worker(&id, "until [ -s app/two.conf ]; do sleep 0.02; done; rm app/VERSION", LONG)
        .await
        .unwrap();
    assert_eq!(output.exit_code, Some(0));
    let shown = agent(&sandbox, &id, "once --print").await;
    let report: Value = serde_json::from_str(&shown.stdout).unwrap_or_else(|_| panic!("{shown:?}"));
    assert_eq!((report.get("app_version"), report["processes"].as_array().unwrap().len()), (None, 2));
    assert!(shown.stderr.contains("omitted from the report field=\"app_version\""), "{shown:?}");
    assert!(shown.stderr.contains("`cat` ended with exit status: 1"), "{shown:?}");
}

#[tokio::test]
async fn an_unreadable_source_is_named_and_is_not_an_empty_list() {
    let sandbox = sandbox(false).await;
    let id = worker(&sandbox).await;
    // Root may read everything unless these capabilities are taken from it.
    let command = format!(
        "until [ -s app/two.conf ]; do sleep 0.02; done; chmod 000 app
         drop=; [ \"$(id -u)\" != 0 ] || drop='setpriv --bounding-set=-dac_override,-dac_read_search'
         $drop {AGENT} --config etc/muster-agent/agent.toml once --print; ended=$?; chmod 700 app; exit $ended"
    );
    let shown = sandbox.run_in_worker(&id, &command, LONG).await.unwrap();
    let report: Value = serde_json::from_str(&shown.stdout).unwrap_or_else(|_| panic!("{shown:?}"));
    assert_eq!(report.get("processes"), None, "{shown:?}");
    assert!(shown.stderr.contains("omitted from the report field=\"processes\" error=\"cannot read "), "{shown:?}");
    assert!(shown.stderr.contains("/app: Permission denied"), "{shown:?}");
}

#[tokio::test]
async fn the_agent_waits_for_metadata_that_is_late() {
    let sandbox = sandbox(false).await;
    let id = worker(&sandbox).await;
    let command = format!("AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:1 {AGENT} --bucket b once --attempts 2");
    let output = sandbox.run_in_worker(&id, &command, LONG).await.unwrap();
    assert!(output.stderr.contains("the report was not sent error=\"cannot read"), "{output:?}");
    assert!(output.stderr.contains("muster-agent: tried 2 times: cannot read"), "{output:?}");
}

#[tokio::test]
async fn an_instance_without_a_role_logs_one_line_about_it() {
    let sandbox = sandbox(false).await;
    let id = worker(&sandbox).await;
    let command = format!("AWS_EC2_METADATA_DISABLED=true {AGENT} --bucket b --region eu-west-1 once --attempts 1");
    let output = sandbox.run_in_worker(&id, &command, LONG).await.unwrap();
    let said: Vec<&str> = output.stderr.lines().filter(|line| line.starts_with("muster-agent: ")).collect();
    assert!(said.len() == 1 && said[0].contains("no credentials") && !said[0].contains('{'), "{output:?}");
    assert_eq!(output.stderr.lines().last(), said.last().copied(), "{output:?}");
}

#[tokio::test]
async fn a_closed_output_is_an_error_and_not_a_panic() {
    let sandbox = sandbox(false).await;
    let id = worker(&sandbox).await;
    let command = format!("{AGENT} --bucket b check >/dev/full");
    let output = sandbox.run_in_worker(&id, &command, LONG).await.unwrap();
    assert_eq!(output.exit_code, Some(1), "{output:?}");
    assert!(output.stderr.starts_with("muster-agent: cannot write to the standard output"), "{output:?}");
}

#[tokio::test]
async fn sigterm_stops_the_running_agent() {
    let sandbox = sandbox(false).await;
    let id = worker(&sandbox).await;
    let command = format!(
        "{AGENT} --config etc/muster-agent/agent.toml run & pid=$!; read go < fifo; kill -TERM $pid; wait $pid"
    );
    sandbox.run_in_worker(&id, "mkfifo fifo", LONG).await.unwrap();
    let ended = sandbox.run_in_worker(&id, &command, LONG);
    let told = async {
        puts(&sandbox, 1).await;
        sandbox.run_in_worker(&id, "echo go > fifo", LONG).await.unwrap();
    };
    let (ended, ()) = tokio::join!(ended, told);
    let ended = ended.unwrap();
    assert_eq!(ended.exit_code, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("stopping on a signal"), "{ended:?}");
}

#[tokio::test]
async fn a_host_without_metadata_reports_an_error() {
    let sandbox = sandbox(false).await;
    let id = worker(&sandbox).await;
    let command = format!("AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:1 {AGENT} --bucket b once --attempts 1");
    let output = sandbox.run_in_worker(&id, &command, LONG).await.unwrap();
    assert_eq!(output.exit_code, Some(1));
    assert!(output.stderr.contains("from the instance metadata service (it requires an EC2 instance"), "{output:?}");
}

#[tokio::test]
async fn generated_reports_have_the_same_fields_as_the_agents() {
    let sandbox = sandbox(false).await;
    let id = worker(&sandbox).await;
    let shown = agent(&sandbox, &id, "once --print").await;
    let keys = |text: &[u8]| -> Vec<String> {
        serde_json::from_slice::<Value>(text).unwrap().as_object().unwrap().keys().cloned().collect()
    };
    let generated = ReportsSpec::new(BUCKET, 0..1, sandbox.now()).body(0);
    assert_eq!(keys(shown.stdout.as_bytes()), keys(&generated));
}

#[test]
fn the_example_configuration_is_valid() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("agent.example.toml");
    let config = muster_agent::config::Config::load(Some(&path), Default::default()).unwrap();
    assert_eq!(config.bucket, "app-report-bucket");
}

#[test]
fn units_have_no_ordering_cycle_and_the_boot_report_has_no_random_delay() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    let units = std::fs::read_dir(folder).unwrap().map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap());
    let units: Vec<String> = units.collect();
    let with = |unit: &&String, setting: &str| unit.lines().any(|line| line.starts_with(setting));
    let at_boot: Vec<&String> = units.iter().filter(|unit| with(unit, "OnBootSec=")).collect();
    assert!(at_boot.len() == 1 && !with(&at_boot[0], "RandomizedDelaySec="), "{at_boot:?}");
    // cloud-final.service comes after multi-user.target on Debian and Ubuntu.
    let wanted: Vec<&String> = units.iter().filter(|unit| with(unit, "WantedBy=multi-user.target")).collect();
    assert_eq!(wanted.len(), 1, "{wanted:?}");
    let after = wanted[0].lines().filter(|line| line.starts_with("After="));
    assert!(after.clone().count() == 1 && !after.clone().any(|line| line.contains("cloud-final")), "{wanted:?}");
}
