//! Workers as what runs on them sees it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{
    AMAZON_LINUX_X86_64, AccountId, Instance, InstanceState, Sandbox, SandboxConfig, WorkerError, WorkerInfo,
    WorkersConfig,
};

const ACCOUNT: &str = "111111111111";
const REGION: &str = "eu-west-1";
const LONG: Duration = Duration::from_secs(20);

async fn sandbox(workers: WorkersConfig) -> Sandbox {
    Sandbox::start(SandboxConfig { workers: Some(workers), ..SandboxConfig::default() }).await.unwrap()
}

/// A request over a connection of its own: status and body.
async fn http(address: SocketAddr, line: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let request =
        format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer[9..12].parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

async fn launch(sandbox: &Sandbox, parameters: &[(&str, &str)]) -> String {
    let form = [
        ("Action", "RunInstances"),
        ("ImageId", AMAZON_LINUX_X86_64),
        ("InstanceType", "m5.large"),
        ("MinCount", "1"),
        ("MaxCount", "1"),
    ];
    let answer = ec2(sandbox, &[&form[..], parameters].concat()).await;
    let (_, rest) = answer.split_once("<instanceId>").unwrap();
    rest.split_once("</instanceId>").unwrap().0.to_owned()
}

async fn ec2(sandbox: &Sandbox, parameters: &[(&str, &str)]) -> String {
    let credential = format!("AWS4-HMAC-SHA256 Credential=AKIASANDBOX{ACCOUNT}/20260101/{REGION}/ec2/aws4_request");
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("Version", "2016-11-15");
    form.extend_pairs(parameters);
    let headers = [("authorization", credential.as_str()), ("content-type", "application/x-www-form-urlencoded")];
    let (status, answer) = http(sandbox.address(), "POST /", &headers, &form.finish()).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

async fn worker(sandbox: &Sandbox, id: &str) -> WorkerInfo {
    let is = |worker: &WorkerInfo| worker.instance_id == id;
    let workers = sandbox.wait_for_workers(|workers| workers.iter().any(is)).await;
    workers.into_iter().find(is).unwrap()
}

struct Metadata {
    address: SocketAddr,
    token: String,
}

impl Metadata {
    async fn of(worker: &WorkerInfo) -> Self {
        let address = worker.metadata_endpoint.strip_prefix("http://").unwrap().parse().unwrap();
        let ttl = [("X-aws-ec2-metadata-token-ttl-seconds", "60")];
        let (status, token) = http(address, "PUT /latest/api/token", &ttl, "").await;
        assert_eq!(status, 200);
        Self { address, token }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let token = [("X-aws-ec2-metadata-token", self.token.as_str())];
        http(self.address, &format!("GET /latest/{path}"), &token, "").await
    }
}

#[tokio::test]
async fn metadata_tells_an_instance_what_it_is() {
    let sandbox = sandbox(WorkersConfig::default()).await;
    let user_data = BASE64_STANDARD.encode("plain text");
    let id = launch(
        &sandbox,
        &[
            ("UserData", &user_data),
            ("IamInstanceProfile.Name", "worker"),
            ("InstanceMarketOptions.MarketType", "spot"),
            ("MetadataOptions.InstanceMetadataTags", "enabled"),
            ("TagSpecification.1.ResourceType", "instance"),
            ("TagSpecification.1.Tag.1.Key", "Name"),
            ("TagSpecification.1.Tag.1.Value", "web red 1"),
            ("TagSpecification.1.Tag.2.Key", "muster.dev:fleet"),
            ("TagSpecification.1.Tag.2.Value", "default/web"),
        ],
    )
    .await;
    let instance = sandbox.instance(&id).unwrap();
    let metadata = Metadata::of(&worker(&sandbox, &id).await).await;
    let cases = [
        ("meta-data/instance-id", id.as_str()),
        ("meta-data/instance-type", "m5.large"),
        ("meta-data/instance-life-cycle", "spot"),
        ("meta-data/ami-id", AMAZON_LINUX_X86_64),
        ("meta-data/ami-launch-index", "0"),
        ("meta-data/local-ipv4", &instance.private_ip.to_string()),
        ("meta-data/placement/region", REGION),
        ("meta-data/placement/availability-zone", &instance.zone),
        ("meta-data/tags/instance/", "Name\nmuster.dev:fleet"),
        ("meta-data/tags/instance/Name", "web red 1"),
        ("meta-data/tags/instance/muster.dev%3Afleet", "default/web"),
        ("meta-data/iam/security-credentials/", "worker"),
        ("meta-data/placement/", "availability-zone\navailability-zone-id\nregion"),
        ("user-data", "plain text"),
    ];
    for (path, expected) in cases {
        assert_eq!(metadata.get(path).await, (200, expected.to_owned()), "{path}");
    }
    let (_, document) = metadata.get("dynamic/instance-identity/document").await;
    let document: Value = serde_json::from_str(&document).unwrap();
    assert_eq!(
        [&document["instanceId"], &document["accountId"], &document["region"]],
        [&json!(id), &json!(ACCOUNT), &json!(REGION)]
    );
    for path in ["meta-data/nothing", "meta-data/spot/instance-action", "meta-data/tags/instance/Nope"] {
        assert_eq!(metadata.get(path).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn metadata_wants_a_token_and_keeps_what_is_off_to_itself() {
    let sandbox = sandbox(WorkersConfig::default()).await;
    let id = launch(&sandbox, &[("MetadataOptions.HttpTokens", "required")]).await;
    let worker = worker(&sandbox, &id).await;
    let metadata = Metadata::of(&worker).await;
    let get = "GET /latest/meta-data/instance-id";
    assert_eq!(http(metadata.address, get, &[], "").await.0, 401);
    assert_eq!(http(metadata.address, get, &[("X-aws-ec2-metadata-token", "made-up")], "").await.0, 401);
    for bad in [vec![], vec![("X-aws-ec2-metadata-token-ttl-seconds", "99999")]] {
        assert_eq!(http(metadata.address, "PUT /latest/api/token", &bad, "").await.0, 400);
    }
    for path in ["meta-data/tags/", "meta-data/iam/info", "user-data"] {
        assert_eq!(metadata.get(path).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn credentials_of_the_profile_are_good_for_its_account() {
    let sandbox = sandbox(WorkersConfig::default()).await;
    let id = launch(&sandbox, &[("IamInstanceProfile.Name", "worker")]).await;
    let metadata = Metadata::of(&worker(&sandbox, &id).await).await;
    let (_, first) = metadata.get("meta-data/iam/security-credentials/worker").await;
    assert_eq!(
        metadata.get("meta-data/iam/security-credentials/worker").await.1,
        first,
        "kept until shortly before the end"
    );
    let credentials: Value = serde_json::from_str(&first).unwrap();
    let text = |name: &str| credentials[name].as_str().unwrap().to_owned();
    let account: AccountId = ACCOUNT.parse().unwrap();
    let caller = sandbox.state.accounts.authenticate(&text("AccessKeyId"), Some(&text("Token"))).unwrap();
    assert_eq!(
        (caller.account, caller.principal_arn),
        (account, format!("arn:aws:sts::{ACCOUNT}:assumed-role/worker/{id}"))
    );
}

#[tokio::test]
async fn user_data_runs_in_the_workers_folder_and_knows_its_world() {
    let sandbox = sandbox(WorkersConfig { user_data: true, ..WorkersConfig::default() }).await;
    let script = "#!/bin/sh\nset -e\nmkdir -p app\necho \"$ROOT $AWS_ENDPOINT_URL\" > app/seen\necho said\nmv app/seen app/done\n";
    let id = launch(&sandbox, &[("UserData", &BASE64_STANDARD.encode(script))]).await;
    let worker = worker(&sandbox, &id).await;
    let output =
        sandbox.run_in_worker(&id, "until [ -e app/done ]; do sleep 0.02; done; cat app/done", LONG).await.unwrap();
    assert_eq!(output.stdout, format!("{} {}\n", worker.folder.display(), sandbox.endpoint()));
    assert_eq!(std::fs::read_to_string(worker.folder.join("console.log")).unwrap(), "said\n");
}

#[tokio::test]
async fn an_archive_of_user_data_runs_in_order() {
    let sandbox = sandbox(WorkersConfig { user_data: true, ..WorkersConfig::default() }).await;
    let archive = "Content-Type: multipart/mixed; boundary=B\nMIME-Version: 1.0\n\n\
        --B\nContent-Type: text/x-shellscript\n\n#!/bin/sh\necho one >> order; exit 1\n\
        --B\nContent-Type: text/cloud-config\n\n#cloud-config\n\
        --B\nContent-Type: text/x-shellscript\n\n#!/bin/sh\necho two >> order; mv order done\n\
        --B\nContent-Type: text/cloud-boothook\n\n#cloud-boothook\n#!/bin/sh\necho \"hook $INSTANCE_ID\" >> order\n\
        --B--\n";
    let id = launch(&sandbox, &[("UserData", &BASE64_STANDARD.encode(archive))]).await;
    worker(&sandbox, &id).await;
    let output = sandbox.run_in_worker(&id, "until [ -e done ]; do sleep 0.02; done; cat done", LONG).await.unwrap();
    assert_eq!(output.stdout, format!("hook {id}\none\ntwo\n"));
}

async fn until_state(sandbox: &Sandbox, id: &str, state: InstanceState) -> Instance {
    let mut events = sandbox.instance_events();
    loop {
        let instance = sandbox.instance(id).unwrap();
        if instance.state == state {
            return instance;
        }
        tokio::time::timeout(LONG, events.recv()).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_machine_that_shuts_itself_down_ends_its_instance() {
    let sandbox = sandbox(WorkersConfig { user_data: true, ..WorkersConfig::default() }).await;
    for (command, behavior, state) in [
        ("shutdown -h now", "terminate", InstanceState::Terminated),
        ("poweroff", "stop", InstanceState::Stopped),
        ("sudo -n systemctl poweroff", "stop", InstanceState::Stopped),
    ] {
        let script = BASE64_STANDARD.encode(format!("#!/bin/sh\necho last words\n{command}\n"));
        let id = launch(&sandbox, &[("UserData", &script), ("InstanceInitiatedShutdownBehavior", behavior)]).await;
        let ended = until_state(&sandbox, &id, state).await;
        assert_eq!(ended.state_reason.unwrap().code, "Client.InstanceInitiatedShutdown", "{command}");
        sandbox.wait_for_workers(|workers| workers.iter().all(|worker| worker.instance_id != id)).await;
        let form = [("Action", "GetConsoleOutput"), ("InstanceId", id.as_str())];
        let answer = ec2(&sandbox, &form).await;
        let (_, rest) = answer.split_once("<output>").unwrap();
        let output = BASE64_STANDARD.decode(rest.split_once("</output>").unwrap().0).unwrap();
        assert_eq!(String::from_utf8(output).unwrap(), "last words\n", "{command}");
    }
}

#[tokio::test]
async fn scripts_run_at_the_first_boot_only() {
    let sandbox = sandbox(WorkersConfig { user_data: true, ..WorkersConfig::default() }).await;
    let script = BASE64_STANDARD.encode("#!/bin/sh\necho ran\npoweroff\n");
    let id = launch(&sandbox, &[("UserData", &script)]).await;
    until_state(&sandbox, &id, InstanceState::Stopped).await;
    sandbox.wait_for_workers(<[WorkerInfo]>::is_empty).await;
    sandbox.start_instance(&id).unwrap();
    worker(&sandbox, &id).await;
    let scripts = sandbox.run_in_worker(&id, "ls user-data var/lib/cloud/scripts", LONG).await.unwrap();
    assert_eq!(scripts.stdout, "user-data\n");
    assert_eq!(sandbox.instance(&id).unwrap().state, InstanceState::Running);
}

#[tokio::test]
async fn spot_instances_are_told_of_their_end() {
    let sandbox = sandbox(WorkersConfig::default()).await;
    let id = launch(&sandbox, &[("InstanceMarketOptions.MarketType", "spot")]).await;
    let metadata = Metadata::of(&worker(&sandbox, &id).await).await;
    for path in ["meta-data/spot/instance-action", "meta-data/events/recommendations/rebalance"] {
        assert_eq!(metadata.get(path).await.0, 404, "{path}");
    }
    sandbox.recommend_rebalance(&id).unwrap();
    let (_, notice) = metadata.get("meta-data/events/recommendations/rebalance").await;
    assert!(serde_json::from_str::<Value>(&notice).unwrap()["noticeTime"].is_string(), "{notice}");
    let before = sandbox.now();
    sandbox.interrupt_spot_instance(&id, Duration::from_secs(120)).unwrap();
    let (_, action) = metadata.get("meta-data/spot/instance-action").await;
    let action: Value = serde_json::from_str(&action).unwrap();
    assert_eq!(action["action"], "terminate");
    let at: jiff::Timestamp = action["time"].as_str().unwrap().parse().unwrap();
    assert!((119..=121).contains(&at.duration_since(before).as_secs()), "{action}");
    assert_eq!(sandbox.instance(&id).unwrap().state, InstanceState::Running);
    sandbox.interrupt_spot_instance(&id, Duration::ZERO).unwrap();
    let ended = until_state(&sandbox, &id, InstanceState::Terminated).await;
    assert_eq!(ended.state_reason.unwrap().code, "Server.SpotInstanceTermination");
}

#[tokio::test]
async fn user_data_that_is_no_script_is_left_alone() {
    let tools = tempfile::tempdir().unwrap();
    let agent = tools.path().join("agent");
    std::fs::write(&agent, "#!/bin/sh\necho \"$@\" > \"$ROOT/agent-ran\"\nexec sleep 600\n").unwrap();
    std::fs::set_permissions(&agent, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let config = WorkersConfig {
        agent: Some(agent),
        agent_config: Some("home = '$ROOT'".to_owned()),
        user_data: true,
        path: None,
    };
    let sandbox = sandbox(config).await;
    let id = launch(&sandbox, &[("UserData", &BASE64_STANDARD.encode("touch was-run"))]).await;
    let root = worker(&sandbox, &id).await.folder.display().to_string();
    // The agent starts when user data has had its turn.
    let command = "until [ -s agent-ran ]; do sleep 0.02; done; cat agent-ran etc/muster-agent/agent.toml; ls";
    let output = sandbox.run_in_worker(&id, command, LONG).await.unwrap().stdout;
    assert!(
        output.starts_with(&format!("--config {root}/etc/muster-agent/agent.toml run\nhome = '{root}'")),
        "{output}"
    );
    assert!(!output.contains("was-run"), "{output}");
}

#[tokio::test]
async fn commands_have_a_code_an_output_and_an_end() {
    let sandbox = sandbox(WorkersConfig::default()).await;
    let id = launch(&sandbox, &[]).await;
    worker(&sandbox, &id).await;
    let output = sandbox.run_in_worker(&id, "echo out; echo err >&2; exit 3", LONG).await.unwrap();
    assert_eq!((output.exit_code, output.stdout.as_str(), output.stderr.as_str()), (Some(3), "out\n", "err\n"));
    let endless = sandbox.run_in_worker(&id, "sleep 600", Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(endless, WorkerError::TimedOut(_)), "{endless}");
    let stranger = sandbox.run_in_worker("i-0", "true", LONG).await.unwrap_err();
    assert!(matches!(stranger, WorkerError::NotRunning(_)), "{stranger}");
    let (status, answer) = http(
        sandbox.address(),
        &format!("POST /_sandbox/workers/{id}/run"),
        &[("content-type", "application/json")],
        r#"{"command": "echo $((6 * 7))"}"#,
    )
    .await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, answer), (200, json!({"exitCode": 0, "stdout": "42\n", "stderr": ""})));
}

#[tokio::test]
async fn nothing_is_left_of_an_instance_that_ends() {
    let sandbox = sandbox(WorkersConfig { user_data: true, ..WorkersConfig::default() }).await;
    let script = BASE64_STANDARD.encode("#!/bin/sh\nsleep 600 &\necho $! > pid\nwait\n");
    let ended = launch(&sandbox, &[("UserData", &script)]).await;
    let kept = launch(&sandbox, &[("UserData", &script)]).await;
    let folders = [worker(&sandbox, &ended).await.folder, worker(&sandbox, &kept).await.folder];
    let mut processes = BTreeMap::new();
    for id in [&ended, &kept] {
        let pid = sandbox.run_in_worker(id, "until [ -s pid ]; do sleep 0.02; done; cat pid", LONG).await.unwrap();
        processes.insert(id.clone(), pid.stdout.trim().to_owned());
    }
    sandbox.terminate_instance(&ended).unwrap();
    sandbox.wait_for_workers(|workers| workers.len() == 1).await;
    assert!(!folders[0].exists() && folders[1].exists());
    assert!(!is_alive(&processes[&ended]) && is_alive(&processes[&kept]));
    sandbox.stop().await;
    assert!(!folders[1].exists());
    assert!(!is_alive(&processes[&kept]));
}

fn is_alive(pid: &str) -> bool {
    // The dead stay visible until whoever adopted them looks.
    std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test]
async fn without_workers_instances_are_rows() {
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    launch(&sandbox, &[]).await;
    assert!(sandbox.workers().is_empty());
}

#[tokio::test]
async fn reports_are_written_by_the_thousand() {
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    sandbox.s3().ensure_bucket(ACCOUNT, REGION, "reports").unwrap();
    let mut spec = crate::ReportsSpec::new("reports", 0..2000, "2026-01-02T03:04:05Z".parse().unwrap());
    spec.prefix = "prod".to_owned();
    spec.app_versions = vec!["1.0.0".to_owned(), "2.0.0".to_owned()];
    assert_eq!(sandbox.write_reports(&spec).unwrap(), 2000);
    let report: Value = serde_json::from_slice(&spec.body(1)).unwrap();
    assert_eq!(report["app_version"], "2.0.0");
    assert_eq!(report["update_date"], "2026-01-02T03:04:05+00:00");
    assert_eq!(sandbox.s3().keys("reports", "prod/").unwrap().len(), 2000);
    assert_eq!(spec.key(1), format!("prod/{}.json", report["instance_id"].as_str().unwrap()));
}
