//! The sandbox as a program: what is left when it is killed.

#![expect(clippy::unwrap_used, reason = "what a test helper cannot do, fails the test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

fn http(endpoint: &str, request: &str, headers: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(endpoint.trim_start_matches("http://")).unwrap();
    let length = body.len();
    write!(
        stream,
        "{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "waited too long until {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_killed_sandbox_leaves_no_worker_behind() {
    let mut sandbox = Command::new(env!("CARGO_BIN_EXE_muster-sandbox"))
        .arg("--workers")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(sandbox.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    let endpoint = ready["endpoint"].as_str().unwrap();
    let scope = "AWS4-HMAC-SHA256 Credential=AKIASANDBOX111111111111/20260101/eu-west-1/ec2/aws4_request";
    let form = format!(
        "Action=RunInstances&Version=2016-11-15&ImageId={}&InstanceType=m5.large&MinCount=1&MaxCount=1",
        muster_sandbox::AMAZON_LINUX_X86_64
    );
    let answer = http(endpoint, "POST /", &format!("authorization: {scope}\r\n"), &form);
    assert!(answer.contains("<instanceId>"), "{answer}");
    let worker = until("the worker runs", || {
        let workers: Vec<Value> = serde_json::from_str(&http(endpoint, "GET /_sandbox/workers", "", "")).unwrap();
        workers.into_iter().next()
    });
    let folder = PathBuf::from(worker["folder"].as_str().unwrap());
    let id = worker["instanceId"].as_str().unwrap();
    let command = r#"{"command": "sleep 600 >/dev/null 2>&1 & echo $!"}"#;
    let headers = "content-type: application/json\r\n";
    let output: Value =
        serde_json::from_str(&http(endpoint, &format!("POST /_sandbox/workers/{id}/run"), headers, command)).unwrap();
    let process = PathBuf::from("/proc").join(output["stdout"].as_str().unwrap().trim());
    assert!(process.exists() && folder.exists());

    sandbox.kill().unwrap();
    sandbox.wait().unwrap();

    until("the folder is gone", || (!folder.exists()).then_some(()));
    until("the process is gone", || {
        let stat = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    });
}

#[test]
fn an_agent_that_is_not_there_is_said_at_the_start() {
    let sandbox = Command::new(env!("CARGO_BIN_EXE_muster-sandbox"))
        .args(["--workers", "--agent", "./no-such-agent"])
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap();
    assert_eq!(sandbox.status.code(), Some(1));
    let said = String::from_utf8(sandbox.stderr).unwrap();
    assert!(said.starts_with("Error: no agent at ./no-such-agent"), "{said}");
}
